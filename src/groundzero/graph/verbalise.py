"""A graph in words: sentences, questions with their answers, and gaps to fill, each with the statements it rests on.

A stream in bounded memory, in the order of entities, and the same for the same graph and seed. What has no readable
name is left out; questions about a name that several things bear are not asked.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal as OneOf
from typing import NamedTuple

from pydantic import Field

from groundzero.graph.derived import entity_label
from groundzero.graph.folding import form
from groundzero.graph.nouns import Entity, EntityId, RelationId, Statement, StatementId, Transaction
from groundzero.graph.phrasing import Phrasing, phrase
from groundzero.graph.store import Reader
from groundzero.settings import Settings

Kind = OneOf["sentence", "question", "inverse", "cloze", "description"]
KINDS: tuple[Kind, ...] = ("sentence", "question", "inverse", "cloze", "description")
GAP = "____"
_MAX_INCOMING = 500
_MAX_CACHED = 200_000


class VerbaliseSettings(Settings):
    """What is said, and in how many ways."""

    kinds: tuple[Kind, ...] = KINDS
    """sentence; question (for the object); inverse (for the subject); cloze (a sentence with a gap); description."""
    paraphrases: int = Field(default=2, ge=1)
    """Ways to say one thing, at most."""
    max_answers: int = Field(default=10, ge=1)
    """Questions with more answers are not asked."""
    seed: int = 1337
    """Decides which of several ways is taken."""


class Verbalised(NamedTuple):
    """One sentence or question."""

    kind: Kind
    text: str
    answers: tuple[str, ...]
    """All right answers to a question, in the order of the statements; empty for sentences."""
    statements: tuple[StatementId, ...]
    """What it says or asks for; empty for descriptions, which are names and no statements."""
    subject: EntityId
    """What it is about."""
    relation: RelationId | None

    @property
    def answer(self) -> str:
        """The answers in words: `Lima`, `Lima and Cusco`; empty for sentences."""
        *others, last = self.answers or ("",)
        return f"{', '.join(others)} and {last}" if others else last


@dataclass(slots=True)
class VerbaliseReport:
    """What was left unsaid."""

    entities: int = 0
    """Entities looked at."""
    unnamed: int = 0
    """Statements with an end that has no readable name."""
    ambiguous: int = 0
    """Entities whose name others bear, so that no question is asked about them."""


def verbalise(
    reader: Reader,
    settings: VerbaliseSettings | None = None,
    *,
    at: Transaction | None = None,
    report: VerbaliseReport | None = None,
) -> Iterator[Verbalised]:
    """All that the graph says, in words."""
    speaker = _Speaker(reader, settings or VerbaliseSettings(), at, report or VerbaliseReport())
    for entity in reader.entities(at=at):
        speaker.report.entities += 1
        said: set[str] = set()  # a relation and its inverse say the same
        for row in speaker.about(entity):
            if row.text not in said:
                said.add(row.text)
                yield row


class _Speaker:
    def __init__(
        self, reader: Reader, settings: VerbaliseSettings, at: Transaction | None, report: VerbaliseReport
    ) -> None:
        self.report = report
        self._reader, self._settings, self._at = reader, settings, at
        self._phrasings: dict[RelationId, Phrasing] = {
            relation.id: phrase(relation) for relation in reader.relations(at=at)
        }
        self._names: dict[EntityId, str] = {}

    def about(self, entity: Entity) -> Iterator[Verbalised]:
        """Everything with this entity as its subject, and questions that it is the given end of."""
        kinds = self._settings.kinds
        name = self._remember(entity)
        if not name:
            self.report.unnamed += len(self._reader.outgoing(entity.id, at=self._at))
            return
        clear = len(self._reader.named(entity.label, at=self._at)) <= 1
        self.report.ambiguous += not clear
        if "description" in kinds and entity.description and clear:
            yield from self._description(entity, name)
        for relation, statements in _by_relation(self._reader.outgoing(entity.id, at=self._at)).items():
            named = [(each, self._object(each)) for each in statements]
            self.report.unnamed += sum(not text for _, text in named)
            named = [(each, text) for each, text in named if text]
            yield from self._sentences(relation, name, named)
            if "question" in kinds and clear and named:
                yield from self._questions("question", relation, entity.id, name, named)
        if "inverse" in kinds and clear:
            incoming = self._reader.incoming(entity.id, limit=_MAX_INCOMING, at=self._at)
            if len(incoming) < _MAX_INCOMING:  # of a hub not all subjects are known, so that no answer would be whole
                for relation, statements in _by_relation(incoming).items():
                    named = [(each, self._name(each.subject)) for each in statements]
                    if all(text for _, text in named):
                        yield from self._questions("inverse", relation, entity.id, name, named)

    def _sentences(
        self, relation: RelationId, name: str, named: Sequence[tuple[Statement, str]]
    ) -> Iterator[Verbalised]:
        templates = self._phrasings[relation].sentences
        for statement, object_ in named:
            for template in self._some(templates, "sentence", statement.id):
                if "sentence" in self._settings.kinds:
                    text = _filled(template, name, object_)
                    yield Verbalised("sentence", text, (), (statement.id,), statement.subject, relation)
            if "cloze" in self._settings.kinds and len(named) == 1:
                (template,) = self._some(templates, "cloze", statement.id, 1)
                text = _filled(template, name, GAP)
                yield Verbalised("cloze", text, (object_,), (statement.id,), statement.subject, relation)

    def _questions(
        self, kind: Kind, relation: RelationId, about: EntityId, name: str, named: Sequence[tuple[Statement, str]]
    ) -> Iterator[Verbalised]:
        answers = tuple(dict.fromkeys(text for _, text in named))
        if len(answers) > self._settings.max_answers:
            return
        phrasing = self._phrasings[relation]
        templates = phrasing.questions if kind == "question" else phrasing.inverse
        ids = tuple(statement.id for statement, _ in named)
        for template in self._some(templates, kind, ids[0]):
            yield Verbalised(kind, _filled(template, name, name), answers, ids, about, relation)

    def _description(self, entity: Entity, name: str) -> Iterator[Verbalised]:
        text = entity.description.rstrip(".")
        first = text.split()[0].lower() if text.split() else ""
        article = "" if first in ("a", "an", "the") or text[:1].isupper() or text[:1].isdigit() else _article(text)
        yield Verbalised("description", f"{name} is {article}{text}.", (), (), entity.id, None)
        yield Verbalised("description", f"What is {name}?", (f"{article}{text}",), (), entity.id, None)

    def _some(self, templates: Sequence[str], kind: str, about: int, count: int | None = None) -> list[str]:
        """As many of the templates as are wanted; which ones depends on nothing but the seed and what it is about."""
        count = min(count or self._settings.paraphrases, len(templates))
        if count == len(templates):
            return list(templates)
        return random.Random(f"{self._settings.seed}:{kind}:{about}").sample(list(templates), count)

    def _object(self, statement: Statement) -> str:
        if statement.literal is not None:
            return statement.literal.value
        assert statement.object is not None
        return self._name(statement.object)

    def _name(self, entity: EntityId) -> str:
        """What an entity is called; empty where it has no readable name."""
        if entity not in self._names:
            self._remember(self._reader.entity(entity, at=self._at))
        return self._names[entity]

    def _remember(self, entity: Entity) -> str:
        if len(self._names) >= _MAX_CACHED:
            self._names.clear()
        name = entity.label if entity.label != entity.key else entity_label(entity.key)
        self._names[entity.id] = name
        return name


def _by_relation(statements: Sequence[Statement]) -> dict[RelationId, list[Statement]]:
    """Statements by relation, without those that another source repeats."""
    groups: dict[RelationId, dict[tuple[object, ...], Statement]] = {}
    for statement in statements:
        ends = (statement.subject, statement.object, statement.literal)
        groups.setdefault(statement.relation, {}).setdefault(ends, statement)
    return {relation: list(group.values()) for relation, group in groups.items()}


def _filled(template: str, subject: str, object_: str) -> str:
    """A template with its slots filled, beginning with a capital and ending in one full stop."""
    text = template.replace("{subject}", "\0").replace("{object}", object_).replace("\0", subject)
    if text.endswith("..") and not text.endswith("..."):
        text = text[:-1]
    return text[:1].upper() + text[1:] if not template.startswith("{") else text


def _article(text: str) -> str:
    """`a ` or `an ` where a description begins with what looks like a countable noun."""
    first = form(text).partition(" ")[0]
    if first.endswith("s") and not first.endswith("ss"):
        return ""
    return "an " if first[:1] in ("a", "e", "i", "o", "u") else "a "
