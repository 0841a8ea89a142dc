"""The batch that is running: requests in the first rows of the cache, without gaps, and the model's pass over them.

Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from groundzero.generate.counts import TokenCounts
from groundzero.generate.generation import Generation
from groundzero.generate.prefix import PrefixCache, model_version, salt_of
from groundzero.generate.sampling import RowSettings
from groundzero.generate.side_inputs import hash_side_inputs, pad_side_inputs
from groundzero.model.cache import KVCache
from groundzero.model.gpt import GPT
from groundzero.model.islands import MAINLAND, island_positions

PREFILL_TOKENS = 2048
"""Most tokens, over all rows, that one forward pass reads; bounds the memory of a long prompt."""


class LiveRows:
    """The running requests; the place in the list is the row of the cache.

    Args:
        vocabulary: ids the tokenizer knows; the model may have more, which are never chosen.
        max_rows: how many run at once.
        capacity: tokens a row of the cache holds, allocated once; grows as needed when None.
    """

    def __init__(
        self, model: GPT, vocabulary: int, max_rows: int, capacity: int | None, prefixes: PrefixCache | None
    ) -> None:
        self.model, self.vocabulary, self.max_rows, self.prefixes = model, vocabulary, max_rows, prefixes
        self._capacity = capacity
        self._live: list[Generation] = []
        self._cache: KVCache | None = None
        self._batch: tuple[RowSettings, Any] | None = None  # settings and side inputs, until the batch changes
        self._seen_version: Any = None
        self._version = 0
        self.counts: TokenCounts | None = None
        """Tokens of each row, while some row has a penalty."""

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Generation]:
        return iter(self._live)

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values."""
        return self._cache.nbytes if self._cache is not None else 0

    @property
    def sampling_device(self) -> torch.device:
        """Where tokens are chosen: with the model, but for Apple's GPU, which has no float64."""
        device = self.model.device
        return torch.device("cpu") if device.type == "mps" else device

    @property
    def settings(self) -> RowSettings:
        """The sampling settings of the rows."""
        return self._settings_and_side_inputs()[0]

    def join(self, fresh: Sequence[Generation]) -> None:
        """Give requests the next rows: shortest first and repeated prompts last, so that neighbours read together."""
        if not fresh:
            return
        version = self._weights_version()
        cache = self._with_rows(len(self._live) + len(fresh))
        for generation in fresh:
            evidence = hash_side_inputs(generation.side_inputs) + generation.evidence_digest
            generation.salt = salt_of(version, evidence)
        for generation in _reading_order(fresh):
            generation.begin()
            generation.row = len(self._live)
            self._live.append(generation)
            if self.prefixes is not None:
                restored = self.prefixes.restore(
                    cache, generation.row, generation.read_ids, generation.salt, generation.read_islands
                )
                generation.cached_tokens = restored
        self._count(fresh)
        self._batch = None

    def release_finished(self) -> None:
        """Close the gaps: the last row moves into the place of a finished one."""
        if not any(generation.finished for generation in self._live):
            return
        cache = self._cache
        assert cache is not None
        for row in reversed(range(len(self._live))):
            generation = self._live[row]
            if not generation.finished:
                continue
            if self.prefixes is not None and generation.handle.error is None:
                self.prefixes.keep(cache, row, generation.read_ids, generation.salt, generation.read_islands)
            last = self._live.pop()
            if last is not generation:
                cache.copy_row(last.row, row)
                if self.counts is not None:
                    self.counts.move(last.row, row)
                self._live[row] = last
                last.row = row
            cache.truncate(len(self._live), 0)
        if not any(generation.config.penalised for generation in self._live):
            self.counts = None
        self._batch = None

    def read_missing(self, context: int) -> None:
        """Bring every row to the state in which only its newest token is missing.

        What is missing is a new prompt, the kept part of a full context, or what an interruption left out.
        """
        cache = self._cache
        assert cache is not None
        leaders: dict[Any, Generation] = {}
        followers: list[tuple[Generation, Generation]] = []
        for generation in self._live:
            if generation.n_read == cache.lengths[generation.row]:
                continue
            if generation.n_read < cache.lengths[generation.row]:  # the context slid: the same tokens, other places
                cache.truncate(generation.row, 0)
            leader = leaders.setdefault(generation.reading, generation)
            if leader is not generation:
                followers.append((leader, generation))
        for group in _groups(list(leaders.values()), cache, context):
            self._read(group, cache)
        for leader, generation in followers:  # several samples of one prompt: read once
            cache.copy_row(leader.row, generation.row)
        if self.prefixes is not None:
            for generation in leaders.values():
                self.prefixes.keep(cache, generation.row, generation.read_ids, generation.salt, generation.read_islands)

    def next_logits(self) -> Tensor:
        """Run every row's newest token through the model; logits_BV of what follows, float32.

        For a row that may copy they are the log-probabilities of the mixture: from here on, the model's own.
        """
        assert self._cache is not None
        newest_B1 = torch.tensor([generation.ids[-1:] for generation in self._live], device=self.model.device)
        _, side_inputs = self._settings_and_side_inputs()
        rows = self._cache.rows(0, len(self._live))
        places: dict[str, Any] = {}
        if any(generation.islands is not None for generation in self._live):
            positions = [[generation.newest_position] for generation in self._live]
            places["positions_BT"] = torch.tensor(positions, device=self.model.device)
        if not any(generation.copier for generation in self._live):
            logits_BTV, _ = self.model(newest_B1, cache=rows, side_inputs=side_inputs, **places)
            return self._known(logits_BTV)
        hidden_BTD = self.model.hidden(newest_B1, cache=rows, side_inputs=side_inputs, **places)
        logits_BV = self._known(self.model.logits(hidden_BTD)).clone()
        for generation in self._live:
            if generation.copier is not None:
                row = generation.row
                logits_BV[row] = generation.copier.mix(hidden_BTD[row, -1], logits_BV[row], generation.ids)
        return logits_BV

    def _known(self, logits_BTV: Tensor) -> Tensor:
        """The last token's scores over the tokenizer's ids, where tokens are chosen, float32."""
        return logits_BTV[:, -1, : self.vocabulary].to(self.sampling_device, torch.float32)

    def _read(self, group: Sequence[Generation], cache: KVCache) -> None:
        """Read the missing tokens of neighbouring rows, padded at the end to the longest.

        What the padding leaves in the cache lies after every real token, is never seen by one, and is cut off.
        """
        first, stop = group[0].row, group[-1].row + 1
        missing = [generation.read_ids[cache.lengths[generation.row] :] for generation in group]
        longest = max(map(len, missing))
        ids_BT = torch.tensor([ids + [0] * (longest - len(ids)) for ids in missing], device=self.model.device)
        side_inputs = self._side_inputs_of(group)
        places = _Places.of(group, cache, longest)
        done = 0
        for chunk_BT in torch.split(ids_BT, max(1, PREFILL_TOKENS // len(group)), dim=1):
            given: dict[str, Any] = {} if places is None else places.between(done, done + chunk_BT.shape[1])
            self.model.hidden(chunk_BT, cache=cache.rows(first, stop), side_inputs=side_inputs, **given)
            done += chunk_BT.shape[1]
        for generation in group:
            cache.truncate(generation.row, generation.n_read)

    def _with_rows(self, needed: int) -> KVCache:
        """The cache with at least this many rows; doubled, up to the most allowed, when there are too few."""
        if self._cache is None or self._cache.batch_size < needed:
            old = self._cache
            rows = min(self.max_rows, max(needed, 2 * old.batch_size if old is not None else 1))
            self._cache = self.model.new_cache(rows, self._capacity)
            for generation in self._live:
                assert old is not None
                self._cache.write_row(generation.row, *old.read_row(generation.row))
        return self._cache

    def _count(self, fresh: Sequence[Generation]) -> None:
        """Enter new requests into the table of seen tokens, if any request needs one."""
        assert self._cache is not None
        if self.counts is None and not any(generation.config.penalised for generation in fresh):
            return
        concerned: Iterable[Generation] = fresh
        if self.counts is None or self.counts.rows < self._cache.batch_size:
            self.counts = TokenCounts(self._cache.batch_size, self.vocabulary, self.sampling_device)
            concerned = self._live
        for generation in concerned:
            prompt, answer = generation.ids[: generation.n_prompt], generation.ids[generation.n_prompt :]
            self.counts.set_row(generation.row, prompt, answer)

    def _weights_version(self) -> int:
        """Counts up when the weights change; then no prefix of before is found again."""
        if self.prefixes is not None:
            version = model_version(self.model)
            if version != self._seen_version:
                self._seen_version = version
                self._version += 1
                self.prefixes.clear()
        return self._version

    def _settings_and_side_inputs(self) -> tuple[RowSettings, Any]:
        if self._batch is None:
            settings = RowSettings.stack([generation.config for generation in self._live], self.sampling_device)
            self._batch = settings, self._side_inputs_of(self._live)
        return self._batch

    def _side_inputs_of(self, group: Sequence[Generation]) -> Any:
        padded = pad_side_inputs([generation.side_inputs for generation in group], self.model.device)
        return self.model.prepare_side_inputs(padded)


@dataclass(frozen=True)
class _Places:
    """Islands and positions of the tokens of neighbouring rows, those in the cache among them.

    Shapes: S tokens held and read at last, the padding included.
    """

    islands_BS: Tensor
    positions_BS: Tensor
    held_B1: Tensor
    """Tokens in the cache before."""

    @classmethod
    def of(cls, group: Sequence[Generation], cache: KVCache, n_new: int) -> _Places | None:
        """None where no row has islands."""
        if all(generation.islands is None for generation in group):
            return None
        held = [cache.lengths[generation.row] for generation in group]
        longest = max(held) + n_new
        rows = [generation.read_islands or [] for generation in group]
        islands = [row + [MAINLAND] * (longest - len(row)) for row in rows]
        device = cache.keys_LBKSE.device
        parts = (islands, [island_positions(row) for row in islands], [[length] for length in held])
        return cls(*(torch.tensor(part, device=device) for part in parts))

    def between(self, first: int, stop: int) -> dict[str, Tensor]:
        """What the model needs for the new tokens [first, stop)."""
        n_key = int(self.held_B1.max()) + stop
        places_BT = self.held_B1 + torch.arange(first, stop, device=self.held_B1.device)
        return {"islands_BS": self.islands_BS[:, :n_key], "positions_BT": self.positions_BS.gather(1, places_BT)}


def _reading_order(fresh: Sequence[Generation]) -> list[Generation]:
    first: dict[Any, Generation] = {}
    for generation in fresh:
        first.setdefault(generation.reading, generation)
    leaders = set(map(id, first.values()))
    return sorted(fresh, key=lambda generation: (id(generation) not in leaders, generation.n_read))


def _groups(missing: Sequence[Generation], cache: KVCache, context: int) -> Iterator[list[Generation]]:
    """Runs of neighbouring rows that lack about the same number of tokens, so that padding costs little."""
    group: list[Generation] = []
    for generation in missing:
        both = [*group, generation]
        lengths = [cache.lengths[member.row] for member in both]
        lacks = [member.n_read - length for member, length in zip(both, lengths, strict=True)]
        neighbours = not group or generation.row == group[-1].row + 1
        alike = max(lacks) <= 16 + min(lacks) * 5 // 4
        fits = max(lengths) + max(lacks) <= context and len(both) * max(lacks) <= PREFILL_TOKENS
        if group and not (neighbours and alike and fits):
            yield group
            both = [generation]
        group = both
    if group:
        yield group
