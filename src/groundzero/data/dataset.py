"""A prepared dataset, read through memory maps: two streams of token ids and where their documents start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from groundzero.data.manifest import FileRecord, Manifest, ShardRecord, SplitRecord, read_manifest
from groundzero.errors import FormatError, InputError
from groundzero.run import sha256_of

Split = Literal["train", "validation"]
TOKENIZER = "tokenizer.json"
TOKEN_BYTES = "token_bytes.npy"  # noqa: S105  a file name

# Hashing 32 MB takes 20 ms; above that only sizes and headers are checked unless asked for.
_ALWAYS_HASH_BELOW = 32 * 2**20

_REMEDY = "Prepare the dataset again with `gz data prepare`."


class TokenStream:
    """One split: the ids of all its documents end to end, in as many arrays as there are shards.

    Attributes:
        starts: int64, the index of each document's first token, ascending from 0.
        dtype: of the ids.
    """

    def __init__(self, shards: Sequence[npt.NDArray[Any]], starts: npt.NDArray[np.int64]) -> None:
        assert len(shards) > 0
        assert len(starts) > 0 and starts[0] == 0
        self._shards = list(shards)
        self._ends = np.cumsum([len(shard) for shard in shards])
        self.starts = starts
        self.dtype = shards[0].dtype

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def documents(self) -> int:
        """How many documents."""
        return len(self.starts)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Ids `start` to `stop`: a view of one shard, or a copy where it spans several."""
        assert 0 <= start <= stop <= len(self)
        if len(self._shards) == 1:
            return self._shards[0][start:stop]
        first, last = np.searchsorted(self._ends, [start, max(stop - 1, start)], side="right")
        parts = []
        for index in range(int(first), int(last) + 1):
            offset = int(self._ends[index]) - len(self._shards[index])
            parts.append(self._shards[index][max(start - offset, 0) : stop - offset])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def document(self, index: int) -> npt.NDArray[Any]:
        """The ids of one document, its framing included."""
        stop = int(self.starts[index + 1]) if index + 1 < len(self.starts) else len(self)
        return self.read(int(self.starts[index]), stop)


class TokenDataset:
    """Two token streams and what is known of them.

    Attributes:
        train, validation: the streams.
        manifest: counts, sources, tokenizer, settings; None for a dataset made in memory.
        path: its folder; None in memory.
        token_bytes: length in bytes of each id's text (0 for control ids), for bits per byte; None when not known.
    """

    def __init__(
        self,
        train: TokenStream,
        validation: TokenStream,
        *,
        manifest: Manifest | None = None,
        path: Path | None = None,
        token_bytes: npt.NDArray[Any] | None = None,
        tokenizer_fingerprint: str = "",
    ) -> None:
        self.train = train
        self.validation = validation
        self.manifest = manifest
        self.path = path
        self.token_bytes = token_bytes
        self.tokenizer_fingerprint = manifest.tokenizer.fingerprint if manifest else tokenizer_fingerprint

    @classmethod
    def open(cls, path: Path | str, *, verify: bool | None = None) -> Self:
        """Map a prepared dataset.

        Sizes, versions and headers are always checked. Hashes are when `verify` is true, or when it is None and the
        dataset is below 32 MB.

        Raises:
            InputError: there is none at `path`.
            FormatError: a file is missing, truncated, altered, or of a version this release does not read.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        records = manifest.all_files()
        if verify is None:
            verify = sum(record.bytes for record in records) < _ALWAYS_HASH_BELOW
        for record in records:
            _check_file(folder, record, verify)
        token_bytes = None
        if any(record.name == TOKEN_BYTES for record in manifest.files):
            token_bytes = _map(folder / TOKEN_BYTES, np.dtype("<u4"), manifest.tokenizer.vocab_size)
        streams = {name: _open_stream(folder, split, manifest.dtype) for name, split in manifest.splits.items()}
        if set(streams) != {"train", "validation"}:
            raise FormatError(f"{folder} lacks a split: it has {sorted(streams)}.", remedy=_REMEDY)
        return cls(streams["train"], streams["validation"], manifest=manifest, path=folder, token_bytes=token_bytes)

    @classmethod
    def from_ids(
        cls,
        train: npt.ArrayLike,
        validation: npt.ArrayLike,
        *,
        train_starts: npt.ArrayLike = (0,),
        validation_starts: npt.ArrayLike = (0,),
        token_bytes: npt.ArrayLike | None = None,
        tokenizer_fingerprint: str = "",
    ) -> Self:
        """A dataset in memory, from ids that are already encoded.

        Args:
            train, validation: ids of all documents end to end.
            train_starts, validation_starts: index of each document's first token, ascending from 0.
            token_bytes: length in bytes of each id's text, where bits per byte are wanted.

        Raises:
            InputError: a split is empty, an id is negative, or the starts do not ascend from 0.
        """
        return cls(
            _stream_of("training", train, train_starts),
            _stream_of("validation", validation, validation_starts),
            token_bytes=None if token_bytes is None else np.asarray(token_bytes, dtype=np.uint32),
            tokenizer_fingerprint=tokenizer_fingerprint,
        )

    def stream(self, split: Split) -> TokenStream:
        """The stream of a split by its name."""
        return self.train if split == "train" else self.validation

    @property
    def tokenizer_path(self) -> Path | None:
        """The tokenizer.json that travels with the dataset."""
        return self.path / TOKENIZER if self.path else None

    @property
    def starts_with_bos(self) -> bool:
        """True when every document is framed as <BOS> text <EOS>, so that a prompt should start with <BOS> too."""
        return self.manifest is not None and self.manifest.framing == "document"

    def check_tokenizer(self, fingerprint: str) -> None:
        """Refuse a tokenizer other than the one that made the ids.

        Raises:
            InputError: the fingerprints differ.
        """
        if self.tokenizer_fingerprint and fingerprint != self.tokenizer_fingerprint:
            raise InputError(
                f"{self.path or 'The dataset'} was made with another tokenizer ({self.tokenizer_fingerprint[:12]}, "
                f"not {fingerprint[:12]}).",
                remedy="Use the dataset's own tokenizer.json, or prepare the text again.",
            )


def _stream_of(name: str, ids: npt.ArrayLike, starts: npt.ArrayLike) -> TokenStream:
    ids_N = np.asarray(ids)
    starts_D = np.asarray(starts, dtype=np.int64)
    if ids_N.ndim != 1 or ids_N.size == 0:
        raise InputError(f"The {name} ids are empty or not one row.", remedy="Give a flat list of token ids.")
    if ids_N.dtype.kind not in "iu" or ids_N.min() < 0:
        raise InputError(f"The {name} ids are not all whole numbers from 0.", remedy="Give token ids.")
    ascending = starts_D.size > 0 and starts_D[0] == 0 and bool((np.diff(starts_D) > 0).all())
    if not ascending or starts_D[-1] >= ids_N.size:
        raise InputError(f"The {name} starts do not ascend from 0 to below {ids_N.size}.", remedy="Mend them.")
    return TokenStream([ids_N], starts_D)


def _open_stream(folder: Path, split: SplitRecord, dtype: str) -> TokenStream:
    starts = _map(folder / split.starts.name, np.dtype("<i8"), split.documents)
    shards = [_map(folder / shard.name, np.dtype(dtype).newbyteorder("<"), shard.tokens) for shard in split.shards]
    if not shards or split.tokens != sum(len(shard) for shard in shards) or len(starts) == 0 or starts[0] != 0:
        raise FormatError(f"{folder} is damaged: shards and manifest disagree.", remedy=_REMEDY)
    return TokenStream(shards, starts)


def _check_file(folder: Path, record: FileRecord | ShardRecord, verify: bool) -> None:
    path = folder / record.name
    try:
        size = path.stat().st_size
        if size != record.bytes:
            raise FormatError(f"{path} is damaged: {size} bytes instead of {record.bytes}.", remedy=_REMEDY)
        if verify and sha256_of(path) != record.sha256:
            raise FormatError(f"{path} is damaged: its hash does not match the manifest.", remedy=_REMEDY)
    except FileNotFoundError:
        raise FormatError(f"{path} is missing from the dataset.", remedy=_REMEDY) from None
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.", remedy="Give a readable folder.") from None


def _map(path: Path, dtype: np.dtype[Any], length: int) -> npt.NDArray[Any]:
    """A read-only array on the file; a plain ndarray, because slicing an np.memmap costs 2 us instead of 0.2."""
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        raise FormatError(f"{path} is damaged: it is not a .npy file.", remedy=_REMEDY) from None
    if mapped.dtype != dtype or mapped.shape != (length,):
        raise FormatError(
            f"{path} is damaged: it holds {mapped.dtype} {mapped.shape}, not {dtype} {(length,)}.", remedy=_REMEDY
        )
    return np.asarray(mapped)
