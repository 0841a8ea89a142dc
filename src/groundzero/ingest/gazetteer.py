"""Names of known entities in a text: labels and aliases, and the forms that English makes of them.

A form leads to every entity that it may mean, each with the kind of the form, and those who ask decide: `French` is a
language by its label, a country by its adjective, a people by a part of its name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal as OneOf

from groundzero.graph.nouns import Entity, EntityId
from groundzero.ingest.words import Sentence, demonyms, feminine, fold, plural, words

FormKind = OneOf["name", "inflected", "demonym", "part", "stem", "word"]
"""In order of trust: a label or alias; its plural or feminine; an adjective of it; most of its words; a word akin; one
rare word of several, which hints at it and does not name it."""

_LONGEST = 12  # words of a name
_STEM = 4  # letters that two words must share to be akin: piano and pianist
_GENERIC = {"music", "language", "people", "religion", "literature"}
"""Last words of common nouns that are often left out."""
_COMMON_PART = 4  # a word of more names than this stands for none of them


@dataclass(frozen=True, slots=True)
class Mention:
    """Words `start` to `end` of a sentence and what they may mean."""

    start: int
    end: int
    meanings: tuple[tuple[EntityId, FormKind], ...]


_Meaning = tuple[EntityId, FormKind, bool]
"""An entity, the kind of the form, and whether the form is written with a capital."""


class Gazetteer:
    """Forms of names, found word by word, longest first.

    Args:
        entities: those to be found.
        most: names beyond which only they are found, and no forms of them: plurals, adjectives, parts. Of a million
            names, parts would fit too much, and fill gigabytes.
    """

    def __init__(self, entities: Iterable[Entity], *, most: int = 200_000) -> None:
        self._forms: dict[str, list[_Meaning]] = defaultdict(list)
        self._stems: dict[str, list[tuple[str, EntityId]]] = defaultdict(list)
        names = [(entity.id, name) for entity in entities for name in (entity.label, *entity.aliases)]
        for entity, name in names:
            self._add(words(name), entity, "name", proper=not name[:1].islower())
        if len(names) <= most:
            self._derive(names)

    def find(self, sentence: Sentence) -> list[Mention]:
        """Mentions from left to right; where forms overlap, the longest that begins first."""
        found, i = [], 0
        while i < len(sentence.words):
            mention = self._longest(sentence, i)
            if mention is None:
                i += 1
            else:
                found.append(mention)
                i = mention.end
        return found

    def meanings(self, name: str) -> list[EntityId]:
        """What has exactly this name."""
        return [entity for entity, kind, _ in self._forms.get(" ".join(words(name)), ()) if kind == "name"]

    def _longest(self, sentence: Sentence, i: int) -> Mention | None:
        """The longest mention that begins at word `i`. A proper name is one only with a capital: `Epic`, not `epic`."""
        capital = sentence.capitals[i]
        for j in range(min(len(sentence.words), i + _LONGEST), i, -1):
            known = self._forms.get(" ".join(sentence.words[i:j]))
            if known:
                meanings = [(entity, kind) for entity, kind, proper in known if capital or not proper]
                if j == i + 1:
                    meanings += self._akin(sentence.words[i], meanings)
                if meanings:
                    return Mention(i, j, tuple(meanings))
        akin = self._akin(sentence.words[i], [])
        return Mention(i, i + 1, tuple(akin)) if akin else None

    def _akin(self, word: str, known: list[tuple[EntityId, FormKind]]) -> list[tuple[EntityId, FormKind]]:
        stem = word[:_STEM]
        if len(stem) < _STEM or stem not in self._stems:
            return []
        have = {entity for entity, _ in known}
        return [
            (entity, "stem")
            for other, entity in self._stems[stem]
            if entity not in have and _shared(word, other) >= max(_STEM, min(len(word), len(other)) - 3)
        ]

    def _add(self, form: tuple[str, ...], entity: EntityId, kind: FormKind, *, proper: bool) -> None:
        if not form or len(form) > _LONGEST or (len(form) == 1 and len(form[0]) < 2):
            return
        meanings = self._forms[" ".join(form)]
        if all(known != entity for known, _, _ in meanings):
            meanings.append((entity, kind, proper))

    def _derive(self, names: list[tuple[EntityId, str]]) -> None:
        spread = Counter(word for _, name in names for word in set(words(name)))
        for entity, name in names:
            for adjective in demonyms().get(fold(name), ()):
                self._add(words(adjective), entity, "demonym", proper=True)
            if name[:1].islower():
                self._inflect(words(name), entity)
        for entity, name in names:
            form = words(name)
            if not form:
                continue
            if name[:1].islower():
                self._parts_of_noun(form, entity)
            else:
                self._parts_of_name(name, form, entity, spread)

    def _inflect(self, form: tuple[str, ...], entity: EntityId) -> None:
        *rest, noun = form
        for other in (plural(noun), feminine(noun), plural(feminine(noun))):
            self._add((*rest, other), entity, "inflected", proper=False)

    def _parts_of_noun(self, form: tuple[str, ...], entity: EntityId) -> None:
        """`actor` for `film actor`, `rock` for `rock music`; words akin to it where it is short."""
        if len(form) > 1:
            self._add(form[1:], entity, "part", proper=False)
            self._add((*form[1:-1], plural(form[-1])), entity, "part", proper=False)
            if form[-1] in _GENERIC:
                self._add(form[:-1], entity, "part", proper=False)
        if len(form) == 1 + (form[-1] in _GENERIC) and len(form[0]) >= _STEM:
            self._stems[form[0][:_STEM]].append((form[0], entity))

    def _parts_of_name(self, name: str, form: tuple[str, ...], entity: EntityId, spread: Counter[str]) -> None:
        """`Columbia` for `Columbia Records`, `Turing` for `Alan Turing`: all but one word, or one that is rare."""
        if len(form) < 2:
            return
        capitals = {fold(word) for word in name.split() if word[0].isupper()}
        for part in (form[:-1], form[1:]):
            alone = len(part) == 1
            if not alone or (len(part[0]) > 2 and spread[part[0]] <= _COMMON_PART * 3 and part[0] in capitals):
                self._add(part, entity, "part", proper=True)
        for word in form:
            if len(word) > 3 and spread[word] <= _COMMON_PART and word in capitals:
                self._add((word,), entity, "part" if len(form) == 2 else "word", proper=True)


def _shared(one: str, other: str) -> int:
    """Letters that two words have in common at their beginning."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
