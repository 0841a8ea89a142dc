"""Safetensors: how the weights of a model lie in a file, and how to read a file from strangers without trusting it.

Weights used to travel as Python pickles, and a pickle is a program: to open one is to run it. A safetensors file
(Hugging Face 2022) is only data, in a format that fits in three lines:

    8 bytes     N, the length of the header, a little-endian integer
    N bytes     the header, JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest    the numbers themselves, row by row; offsets count from here

The header may hold one more key, `__metadata__`: a note of strings to strings. Numbers are little-endian.

A reader can find any tensor by its name and fetch it alone, or some rows of it, without reading the rest: that is what
`SafetensorsFile` does, with a seek and a read. (Mapping the file into memory would do as well, but then a file that
somebody cuts short while it is open kills the process instead of raising an error.)

A file may be damaged, or made to do damage. What can a header say to a careless reader?

    "I am 2^60 bytes long"                      and memory is full          -> N is at most 100 MB, and fits in the file
    "a" at 0-24, "b" at 12-36                   and b changes with a        -> tensors follow each other exactly,
    "a" at 0-24, file of 1 GB                   and something rides along      from the first byte to the last
    shape [2, 3], 20 bytes                      and a read beyond the end   -> bytes = product of the shape x item size
    [[[[[[...                                   and the stack overflows     -> refused, as is all that is not the format
    "a" twice                                   and readers disagree        -> refused

Every refusal is a `ValueError` that names the file and what is wrong with it. Nothing in a file is ever executed.

BF16 (bfloat16) is float32 without its lower 16 bits: the range of a float32 with 3 decimal digits. NumPy has no such
type, so it is widened on reading (exactly) and, for the names that `write` is given, rounded on writing.

Run me: `python -m groundzero.reference.safetensors`
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]

MAX_HEADER_BYTES = 100_000_000
"""The limit of the original implementation."""
METADATA = "__metadata__"

STORED: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("u1"),  # 0 is false, all else is true
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "I16": np.dtype("<i2"),
    "U16": np.dtype("<u2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # widened to float32 on reading
    "I32": np.dtype("<i4"),
    "U32": np.dtype("<u4"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I64": np.dtype("<i8"),
    "U64": np.dtype("<u8"),
}
"""How the numbers of each dtype lie in the file; in the order by which the original implementation sorts them."""
_NAMES = {dtype.newbyteorder("="): name for name, dtype in STORED.items() if name not in {"BF16", "BOOL"}}


@dataclass(frozen=True)
class TensorInfo:
    """What the header says of one tensor."""

    dtype: str
    """A key of `STORED`."""
    shape: tuple[int, ...]
    """Rows first; () for a single number."""
    start: int
    """Where its bytes begin, from the end of the header."""
    stop: int
    """Where they end."""


@dataclass(frozen=True)
class Header:
    """A header that was found to be consistent with the length of its file."""

    tensors: dict[str, TensorInfo]
    """By name, in the order of their bytes."""
    metadata: dict[str, str]
    """The note."""


class SafetensorsFile:
    """A file whose header has been checked, and whose tensors are read when asked for. A context manager.

    Raises:
        ValueError: it is not a sound safetensors file.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file = self.path.open("rb")
        try:
            self._header, self._data_start = _read_header(self._file, self.path)
        except BaseException:
            self._file.close()
            raise

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What there is, by name."""
        return self._header.tensors

    @property
    def metadata(self) -> Mapping[str, str]:
        """The note that the writer left."""
        return self._header.metadata

    def read(self, name: str, rows: slice | None = None) -> AnyArray:
        """A tensor, or some of its rows (a slice of the first axis, of step 1), as a fresh array.

        Raises:
            KeyError: no such tensor.
            ValueError: rows of a tensor that has none, or the file was cut short meanwhile.
        """
        info = self.tensors[name]
        first, shape = 0, info.shape
        if rows is not None:
            if not shape or rows.step not in {None, 1}:
                raise ValueError(f"{name} of shape {list(shape)} has no rows {rows}.")
            first, last, _ = rows.indices(shape[0])
            shape = (max(0, last - first), *shape[1:])
        stored = STORED[info.dtype]
        array = np.empty(shape, stored)
        self._file.seek(self._data_start + info.start + first * math.prod(shape[1:]) * stored.itemsize)
        if array.nbytes and self._file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise ValueError(f"{self.path} was cut short while it was open: {name} is not whole.")
        return _decode(array, info.dtype)

    def close(self) -> None:
        """Let go of the file; arrays that were read stay."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path | str) -> dict[str, AnyArray]:
    """All tensors of a file, by name.

    Raises:
        ValueError: it is not a sound safetensors file.
        OSError: it cannot be read.
    """
    with SafetensorsFile(path) as file:
        return {name: file.read(name) for name in file.tensors}


def write(
    path: Path | str,
    tensors: Mapping[str, AnyArray],
    *,
    metadata: Mapping[str, str] | None = None,
    bfloat16: Collection[str] = (),
) -> None:
    """Write tensors to a file, byte for byte as the original implementation does.

    Args:
        metadata: a note; strings only.
        bfloat16: names of float tensors to be rounded to BF16.

    Raises:
        ValueError: a dtype or a name that the format does not know.
        OSError: the disk refused; a file that was there before is untouched.
    """
    path, described = Path(path), dict[str, Any]()
    if metadata:
        if not all(type(word) is str for item in metadata.items() for word in item):
            raise ValueError("Metadata of a safetensors file are strings; turn numbers into text first.")
        described[METADATA] = dict(metadata)
    if METADATA in tensors:
        raise ValueError(f"A tensor cannot be called {METADATA}.")
    dtypes = {name: "BF16" if name in bfloat16 else _dtype_name(name, array) for name, array in tensors.items()}
    # Widest items first, so that every tensor starts at a multiple of its item's size.
    rank = list(STORED).index
    names = sorted(tensors, key=lambda name: (-rank(dtypes[name]), name.encode()))
    end = 0
    for name in names:
        start, end = end, end + tensors[name].size * STORED[dtypes[name]].itemsize
        described[name] = {"dtype": dtypes[name], "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    header = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)  # the numbers begin at a multiple of 8 too
    if len(header) > MAX_HEADER_BYTES:
        raise ValueError(f"The header would have {len(header)} bytes; the format allows {MAX_HEADER_BYTES}.")
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for name in names:
                encoded = _encode(tensors[name], dtypes[name])
                file.write(encoded.reshape(-1).view(np.uint8).data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


# ---------------------------------------------------------------------- reading the header, suspiciously


def _read_header(file: BufferedReader, path: Path) -> tuple[Header, int]:
    """The header of a file, and where its data begin."""
    size = os.fstat(file.fileno()).st_size
    if size < 8:
        raise ValueError(f"{path} is no safetensors file: it has {size} bytes, and the length of the header takes 8.")
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"{path}: the header claims {length} bytes; the format allows {MAX_HEADER_BYTES}.")
    if 8 + length > size:
        raise ValueError(f"{path} is cut short: the header claims {length} bytes, and {size - 8} follow.")
    try:
        return parse_header(file.read(length), size - 8 - length), 8 + length
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_header(raw: bytes, n_data_bytes: int) -> Header:
    """Check a header against the format and the number of bytes that follow it.

    Raises:
        ValueError: it breaks a rule; the message says which.
    """
    if not raw.startswith(b"{"):
        raise ValueError("the header does not begin with a brace.")
    try:
        content = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_refuse, parse_float=_refuse
        )
    except RecursionError:
        raise ValueError("the header is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"the header is not JSON: {error}") from None
    metadata = content.pop(METADATA, None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{METADATA} does not hold strings only.")
    "".join((*content, *metadata, *metadata.values())).encode()  # half a surrogate pair is no text: a ValueError
    tensors = {name: _parse_tensor(name, described) for name, described in content.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)))
    expected = 0
    for name, info in ordered.items():
        if info.start != expected:
            relation = "overlaps the one before it" if info.start < expected else "leaves a gap before it"
            raise ValueError(f"tensor {name!r} {relation}: it starts at {info.start}, not at {expected}.")
        expected = info.stop
    if expected != n_data_bytes:
        raise ValueError(f"the tensors take {expected} bytes, and {n_data_bytes} follow the header.")
    return Header(ordered, metadata)


def _parse_tensor(name: str, described: object) -> TensorInfo:
    if not isinstance(described, dict) or set(described) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} is not described by dtype, shape and data_offsets.")
    dtype, shape, offsets = described["dtype"], described["shape"], described["data_offsets"]
    if not isinstance(dtype, str) or dtype not in STORED:
        raise ValueError(f"tensor {name!r} has the dtype {dtype!r}; known are {', '.join(STORED)}.")
    if not _is_counts(shape) or len(shape) > 32 or math.prod(size or 1 for size in shape) >= 2**56:
        raise ValueError(f"tensor {name!r} has a shape that no array can have.")
    if not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"tensor {name!r} has data_offsets that are not a beginning and an end.")
    n_bytes = math.prod(shape) * STORED[dtype].itemsize
    if offsets[1] - offsets[0] != n_bytes:
        raise ValueError(
            f"tensor {name!r} of shape {shape} and dtype {dtype} takes {n_bytes} bytes; "
            f"its data_offsets {offsets} hold {offsets[1] - offsets[0]}."
        )
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _is_counts(value: object) -> bool:
    """Whether this is a list of whole numbers from 0; those of JSON are endless, those of a file are not."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**48 for item in value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(text: str) -> None:
    raise ValueError(f"{text[:20]} is not a whole number")


# ---------------------------------------------------------------------- numbers to bytes and back


def _dtype_name(name: str, array: AnyArray) -> str:
    if array.dtype == np.bool_:
        return "BOOL"
    found = _NAMES.get(array.dtype.newbyteorder("="))
    if found is None:
        raise ValueError(f"{name} is {array.dtype}, which safetensors cannot hold; convert it first.")
    return found


def _encode(array: AnyArray, dtype: str) -> AnyArray:
    """The array as it lies in the file."""
    if dtype == "BF16":
        return round_to_bfloat16(array)
    return np.ascontiguousarray(array, STORED[dtype])


def _decode(array: AnyArray, dtype: str) -> AnyArray:
    """What lay in the file as an array to compute with, in the byte order of this machine."""
    if dtype == "BF16":
        widened: AnyArray = (array.astype(np.uint32) << 16).view(np.float32)
        return widened
    if dtype == "BOOL":
        return array.astype(np.bool_)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def round_to_bfloat16(x: AnyArray) -> AnyArray:
    """The upper halves of float32 numbers as uint16, rounded to the nearest, ties to even; not-a-numbers stay.

    To round, add just under half of what is cut off, and one more where the last kept bit is odd.
    """
    x = np.ascontiguousarray(x, np.float32)
    bits = x.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return np.where(np.isnan(x), (bits >> 16) | 0x40, rounded).astype("<u2")


# ---------------------------------------------------------------------- demonstration


def demo() -> None:
    """Take a small file apart, read one row of it, and offer the reader some poisoned ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.safetensors"
        weight = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)
        write(path, {"weight": weight, "steps": np.array([7], np.int64)}, metadata={"made by": "hand"})
        _demo_anatomy(path.read_bytes())
        with SafetensorsFile(path) as file:
            row = file.read("weight", slice(1, 2))[0]
            print(f"\nOne row alone, with a seek and a read of 12 bytes: weight[1] = {row}")
        third = np.array([1 / 3], np.float32)
        write(path, {"third": third}, bfloat16={"third"})
        print(f"BF16 keeps 16 of 32 bits: 1/3 = {third[0]:.9f} comes back as {read(path)['third'][0]:.9f}")
    print("\nWhat a stranger might send, and what the reader says:\n")
    sound = '{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}'
    for what, header in {
        "data that nobody asked for": sound.replace("24", "20").replace("[2,3]", "[5]") + "}",
        "a shape beyond its bytes": sound.replace("[2,3]", "[2,4]") + "}",
        "a tensor inside another": sound + ',"b":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}}',
        "the same name twice": sound + "," + sound[1:] + "}",
        "a pickle": "cos\nsystem\n(S'rm -rf ~'\ntR.",
        "a bottomless pit": '{"a":' * 100_000,
    }.items():
        try:
            parse_header(header.encode(), 24)
        except ValueError as error:
            print(f"  {what:27} {str(error)[:110]}")


def _demo_anatomy(raw: bytes) -> None:
    length = int.from_bytes(raw[:8], "little")
    print(f"A file of {len(raw)} bytes. Its first 8, {raw[:8].hex(' ')}, say: the header has {length} bytes.\n")
    for name, described in json.loads(raw[8 : 8 + length]).items():
        print(f"  {name:13} {described}")
    numbers = raw[8 + length :]
    print(f"\nThen come {len(numbers)} bytes of numbers. The first 8 are one I64, the rest six F32:\n")
    print(f"  {numbers[:8].hex(' ')}  -> {np.frombuffer(numbers[:8], '<i8')}")
    print(f"  {numbers[8:20].hex(' ')} ...  -> {np.frombuffer(numbers[8:], '<f4')}")


if __name__ == "__main__":
    demo()
