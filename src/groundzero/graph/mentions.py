"""Which entities a text names: every label and alias at once, by an automaton over folded words.

Names and text are compared as forms (`folding`), word by word, so that "new york" is found in "New-York," and not in
"New Yorkers". The automaton is the base; names that came or went since are a dictionary beside it, looked up by runs
of words, so that a new name costs microseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import ahocorasick_rs

from groundzero.graph.folding import placed_tokens, tokens
from groundzero.graph.nouns import EntityId

# Around every word, so that a name can only be found from the start of a word to the end of one.
_OPEN, _CLOSE = "\x01", "\x02"


class Mention(NamedTuple):
    """A stretch of text that names something."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    surface: str
    entities: tuple[EntityId, ...]
    """Ascending; more than one where the name is shared."""


class MentionIndex:
    """Names to entities.

    Args:
        names: (entity, name) of every living label and alias; a name may come often.
    """

    def __init__(self, names: Iterable[tuple[EntityId, str]]) -> None:
        entities_of: dict[str, set[EntityId]] = defaultdict(set)
        for entity, name in names:
            if pattern := _pattern(tokens(name)):
                entities_of[pattern].add(entity)
        self._entities = [tuple(sorted(entities)) for entities in entities_of.values()]
        self._words = {word for pattern in entities_of for word in pattern[1:-1].split(_CLOSE + _OPEN)}
        self._automaton = ahocorasick_rs.AhoCorasick(
            entities_of, matchkind=ahocorasick_rs.MatchKind.Standard, store_patterns=False
        )
        self._forms_of: dict[EntityId, set[str]] = {}
        self._entities_of: dict[str, set[EntityId]] = defaultdict(set)
        self._longest = 0

    @property
    def size(self) -> int:
        """Different names in the base."""
        return len(self._entities)

    @property
    def words(self) -> frozenset[str]:
        """Every folded word of every name, also of names that went since: what a misspelling may be of."""
        return frozenset(self._words)

    @property
    def delta(self) -> int:
        """How many entities were renamed since the base was built."""
        return len(self._forms_of)

    def rename(self, entity: EntityId, names: Iterable[str]) -> None:
        """From now on `entity` has these labels and aliases and no other."""
        for form in self._forms_of.get(entity, ()):
            self._entities_of[form].discard(entity)
        forms = set()
        for name in names:
            words = tokens(name)
            if words:
                forms.add(_pattern(words))
                self._words.update(words)
                self._longest = max(self._longest, len(words))
        for form in forms:
            self._entities_of[form].add(entity)
        self._forms_of[entity] = forms

    def find(self, text: str, *, overlapping: bool = False) -> list[Mention]:
        """Names in `text`, from left to right; of those that overlap the leftmost and longest, or all of them."""
        placed = placed_tokens(text)
        found: dict[tuple[int, int], set[EntityId]] = defaultdict(set)
        self._find_base(placed, found)
        if self._longest:
            self._find_delta(placed, found)
        places = {(placed[first][1], placed[last - 1][2]): each for (first, last), each in found.items()}
        return chosen(text, places, overlapping=overlapping)

    def _find_base(self, placed: Sequence[tuple[str, int, int]], found: dict[tuple[int, int], set[EntityId]]) -> None:
        joined = _pattern([token for token, _, _ in placed])
        opens, closes = {}, {}
        place = 0
        for number, (token, _, _) in enumerate(placed):
            opens[place] = number
            place += len(token) + 2
            closes[place] = number + 1
        for pattern, start, end in self._automaton.find_matches_as_indexes(joined, overlapping=True):
            living = {each for each in self._entities[pattern] if each not in self._forms_of}
            if living:
                found[opens[start], closes[end]] |= living

    def _find_delta(self, placed: Sequence[tuple[str, int, int]], found: dict[tuple[int, int], set[EntityId]]) -> None:
        words = [_pattern([token]) for token, _, _ in placed]
        for first in range(len(words)):
            form = ""
            for last in range(first, min(first + self._longest, len(words))):
                form += words[last]
                if entities := self._entities_of.get(form):
                    found[first, last + 1] |= entities


def chosen(text: str, found: Mapping[tuple[int, int], set[EntityId]], *, overlapping: bool) -> list[Mention]:
    """Mentions from left to right; of those that overlap the leftmost and longest, or all of them."""
    mentions = []
    taken = 0
    for (start, end), entities in sorted(found.items(), key=lambda each: (each[0][0], -each[0][1])):
        if entities and (overlapping or start >= taken):
            taken = end
            mentions.append(Mention(start, end, text[start:end], tuple(sorted(entities))))
    return mentions


def _pattern(words: Sequence[str]) -> str:
    return "".join(f"{_OPEN}{word}{_CLOSE}" for word in words)
