"""What looks wrong in a graph, learned from the graph itself: no schema is asked for.

A relation is *functional* where nearly all its subjects have one object; several objects then contradict each other.
The *types* of its ends are those that nearly all its ends have; an end of another type is an outlier. Nothing is
changed by looking; `quarantine` sets conflicting facts aside, with their sources, and never merges them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from typing import Literal as OneOf

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from groundzero.graph.folding import form
from groundzero.graph.lint_tables import Functionality, Table, read_table
from groundzero.graph.nouns import Entity, EntityId, Literal, RelationId, Statement, StatementId, Transaction
from groundzero.graph.store import Reader, Store, Writer
from groundzero.settings import Settings

Check = OneOf["contradiction", "duplicate", "type", "cardinality", "cycle", "dangling", "name"]
CHECKS: tuple[Check, ...] = ("contradiction", "duplicate", "type", "cardinality", "cycle", "dangling", "name")


class LintSettings(Settings):
    """How sure lint has to be before it speaks."""

    functional: float = Field(default=0.95, ge=0.5, le=1)
    """Share of a relation's subjects with one object, from which it is functional (its 95 % lower bound)."""
    typed: float = Field(default=0.97, ge=0.5, le=1)
    """Share of a relation's typed ends that the common types must cover before others are outliers."""
    rare_type: float = Field(default=0.01, ge=0, le=0.5)
    """Share of ends below which a type is not common."""
    min_subjects: int = Field(default=20, ge=2)
    """Subjects (or ends) of a relation below which nothing is learned about it."""
    examples: int = Field(default=1000, ge=1)
    """Findings of each kind that are kept; all are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that looks wrong."""

    check: Check
    message: str
    statements: tuple[StatementId, ...] = ()
    entities: tuple[EntityId, ...] = ()
    relation: RelationId | None = None
    quarantine: tuple[StatementId, ...] = ()
    """Those of `statements` that cannot all be true, and have no better support than the others."""


@dataclass(slots=True)
class LintReport:
    """All findings, and what was learned on the way."""

    transaction: Transaction
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))
    functional: list[RelationId] = field(default_factory=list)
    """Relations found to be functional."""
    inverse_functional: list[RelationId] = field(default_factory=list)
    settings: LintSettings = field(default_factory=LintSettings)

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it unless there are too many of its kind."""
        self.counts[finding.check] += 1
        if self.counts[finding.check] <= self.settings.examples or finding.quarantine:
            self.findings.append(finding)


def lint(reader: Reader, *, checks: Iterable[Check] = CHECKS, settings: LintSettings | None = None) -> LintReport:
    """Look at the whole graph, as it is now."""
    report = LintReport(reader.transaction(), settings=settings or LintSettings())
    wanted = set(checks)
    table = read_table(reader)
    functionality = Functionality.learn(table, report.settings.min_subjects)
    report.functional = functionality.relations(report.settings.functional)
    report.inverse_functional = functionality.relations(report.settings.functional, inverse=True)
    lint_ = _Lint(reader, table, report)
    for check, run in (
        ("contradiction", lint_.contradictions), ("duplicate", lint_.duplicates), ("type", lint_.types),
        ("cardinality", lint_.cardinalities), ("cycle", lint_.cycles), ("dangling", lint_.dangling),
        ("name", lint_.names),
    ):  # fmt: skip
        if check in wanted:
            for finding in run():
                report.add(finding)
    return report


def quarantine(store: Store, report: LintReport) -> list[tuple[StatementId, StatementId]]:
    """Set the conflicting facts of a report aside: each is retired and kept again as quarantined, with its source,
    span and confidence; returns (old id, new id) of each. What has changed since the report is left alone."""
    moved: list[tuple[StatementId, StatementId]] = []
    wanted = dict.fromkeys(id_ for finding in report.findings for id_ in finding.quarantine)
    if not wanted:
        return moved
    with store.writer() as writer:
        for id_ in wanted:
            statement = store.statement(id_)
            if statement is not None and statement.retired is None and statement.status == "accepted":
                moved.append((id_, _set_aside(writer, statement)))
    return moved


def _set_aside(writer: Writer, statement: Statement) -> StatementId:
    writer.retire(statement.id)
    value: Any = statement.literal if statement.literal is not None else statement.object
    return writer.add_statement(
        statement.subject,
        statement.relation,
        value,
        source=statement.source,
        start=statement.start,
        end=statement.end,
        confidence=statement.confidence,
        valid_from=statement.valid_from,
        valid_to=statement.valid_to,
        status="quarantined",
    )


class _Lint:
    """The checks, over one reading of the graph."""

    def __init__(self, reader: Reader, table: Table, report: LintReport) -> None:
        self._reader, self._table, self._report, self._settings = reader, table, report, report.settings
        self._entities: dict[EntityId, Entity] = {entity.id: entity for entity in reader.entities()}
        self._relations = {relation.id: relation for relation in reader.relations()}

    def contradictions(self) -> Iterator[Finding]:
        """Subjects of a functional relation with several objects that do not hold at different times."""
        for relation in self._report.functional:
            for subject, ids in self._table.several_objects(relation):
                found = [self._statement(id_) for id_ in ids]
                groups = _conflicting(found)
                if len(groups) < 2:
                    continue
                label = self._relations[relation].label
                objects = ", ".join(self._object(group[0]) for group in groups[:4])
                yield Finding(
                    "contradiction",
                    f"{self._label(subject)} has {len(groups)} objects of {label}, which has one elsewhere: {objects}",
                    tuple(each.id for group in groups for each in group),
                    (subject,),
                    relation,
                    tuple(sorted(each.id for group in _unsupported(groups) for each in group)),
                )

    def duplicates(self) -> Iterator[Finding]:
        """One fact said twice by one source; entities that share name and type."""
        for ids in self._table.repeated():
            statements = [self._statement(id_) for id_ in ids]
            by_source: dict[int | None, list[Statement]] = defaultdict(list)
            for statement in statements:
                by_source[statement.source].append(statement)
            for same in by_source.values():
                if len(same) > 1:
                    yield Finding(
                        "duplicate", f"Said {len(same)} times by one source: {self._words(same[0])}", _ids(same)
                    )

    def names(self) -> Iterator[Finding]:
        """Several entities that nothing tells apart: the same name, and types in common or none."""
        called: dict[str, list[EntityId]] = defaultdict(list)
        for entity in self._entities.values():
            if entity.label != entity.key or not entity.key.startswith("_:"):
                called[form(entity.label)].append(entity.id)
        for name, ids in called.items():
            if len(ids) < 2 or not name:
                continue
            types = [set(self._entities[id_].types) for id_ in ids]
            if any(one & other or not (one and other) for i, one in enumerate(types) for other in types[:i]):
                keys = ", ".join(self._entities[id_].key for id_ in ids[:5])
                yield Finding("name", f"{len(ids)} entities are called {self._label(ids[0])}: {keys}", (), tuple(ids))

    def types(self) -> Iterator[Finding]:
        """Ends whose type hardly any other end of the relation has."""
        for relation in self._table.relations():
            for side in ("subject", "object"):
                yield from self._type_outliers(relation, side)

    def cardinalities(self) -> Iterator[Finding]:
        """Subjects with far more objects than others of the relation have."""
        for relation in self._table.relations():
            subjects_S, counts_S = self._table.objects_per_subject(relation)
            if len(counts_S) < self._settings.min_subjects:
                continue
            limit = _far_out(counts_S)
            for subject, count in zip(subjects_S[counts_S > limit], counts_S[counts_S > limit], strict=True):
                usual = int(np.median(counts_S))
                yield Finding(
                    "cardinality",
                    f"{self._label(int(subject))} has {count} objects of {self._relations[relation].label}; "
                    f"{usual} is usual, {limit} is many",
                    (),
                    (int(subject),),
                    relation,
                )

    def cycles(self) -> Iterator[Finding]:
        """Circles in relations that otherwise have none, such as `part of`; and statements of a thing about itself."""
        for relation in self._table.relations():
            for ids in self._table.loops(relation):
                yield Finding("cycle", f"About itself: {self._words(self._statement(ids))}", (ids,), (), relation)
            for circle in self._table.rare_circles(relation, min_subjects=self._settings.min_subjects):
                shown = " -> ".join(self._label(entity) for entity in circle[:6])
                label = self._relations[relation].label
                yield Finding("cycle", f"A circle of {len(circle)} in {label}: {shown}", (), tuple(circle), relation)

    def dangling(self) -> Iterator[Finding]:
        """Objects of which nothing is known but that they are mentioned, not even a name; entities nobody mentions;
        relations without statements."""
        subjects, objects = self._table.mentioned()
        for entity in self._entities.values():
            if entity.id not in subjects and entity.id not in objects:
                yield Finding("dangling", f"No statement mentions {self._label(entity.id)}", (), (entity.id,))
            elif entity.label == entity.key and entity.id not in subjects:
                yield Finding("dangling", f"Nothing is known of {entity.key}, not even a name", (), (entity.id,))
        used = set(self._table.relations())
        for relation in self._relations.values():
            if relation.id not in used:
                yield Finding("dangling", f"No statement uses the relation {relation.label}", (), (), relation.id)

    def _type_outliers(self, relation: RelationId, side: str) -> Iterator[Finding]:
        ids_N, ends_N = self._table.ends(relation, side)
        typed = [(id_, end) for id_, end in zip(ids_N.tolist(), ends_N.tolist(), strict=True) if self._types_of(end)]
        ends = {end for _, end in typed}
        if len(ends) < self._settings.min_subjects:
            return
        counts: dict[str, int] = defaultdict(int)
        for end in ends:
            for name in self._types_of(end):
                counts[name] += 1
        common = {name for name, count in counts.items() if count >= max(2, self._settings.rare_type * len(ends))}
        outliers = {end for end in ends if not common & set(self._types_of(end))}
        if not outliers or len(outliers) > (1 - self._settings.typed) * len(ends):
            return
        usual = ", ".join(sorted(common, key=lambda name: -counts[name])[:3])
        for id_, end in typed:
            if end in outliers:
                words = self._words(self._statement(id_))
                kinds = ", ".join(self._types_of(end))
                message = f"{words}: the {side} is of type {kinds}; usual is {usual}"
                yield Finding("type", message, (id_,), (end,), relation)

    def _types_of(self, entity: EntityId) -> tuple[str, ...]:
        return self._entities[entity].types if entity in self._entities else ()

    def _statement(self, id_: StatementId) -> Statement:
        found = self._reader.statement(id_)
        assert found is not None, id_
        return found

    def _label(self, entity: EntityId) -> str:
        known = self._entities[entity]
        return known.label if known.label == known.key else f"{known.label} ({known.key})"

    def _object(self, statement: Statement) -> str:
        return statement.literal.value if statement.literal else self._label(_entity(statement))

    def _words(self, statement: Statement) -> str:
        relation = self._relations[statement.relation].label
        return f"{self._label(statement.subject)} {relation} {self._object(statement)}"


def _conflicting(statements: list[Statement]) -> list[list[Statement]]:
    """Statements grouped by object, without those that hold at another time than all others; fewer than two groups
    are no conflict. Dates that say the same less precisely are one object."""
    groups: dict[Any, list[Statement]] = defaultdict(list)
    for statement in statements:
        groups[statement.object or statement.literal].append(statement)
    merged: list[list[Statement]] = []
    for group in groups.values():
        twin = next((other for other in merged if _compatible(other[0].literal, group[0].literal)), None)
        if twin is None:
            merged.append(list(group))
        else:
            twin.extend(group)
    return [
        group
        for group in merged
        if any(_same_time(one, two) for other in merged if other is not group for one in group for two in other)
    ]


def _compatible(one: Literal | None, two: Literal | None) -> bool:
    """1952 and 1952-03-11; 42 and 42.0; texts in different languages."""
    if one is None or two is None:
        return False
    if one.language != two.language:
        return True
    short, long = sorted((one.value, two.value), key=len)
    if long.startswith(short + "-") and short[:1].isdigit():
        return True
    try:
        return float(short) == float(long)
    except ValueError:
        return form(short) == form(long)


def _same_time(one: Statement, two: Statement) -> bool:
    """Whether two statements may hold at once, for all that is known of when they do."""
    return not ((one.valid_to and one.valid_to <= two.valid_from) or (two.valid_to and two.valid_to <= one.valid_from))


def _unsupported(groups: list[list[Statement]]) -> list[list[Statement]]:
    """The groups to set aside: all but one that has more sources than any other, or is much surer."""

    def sources(group: list[Statement]) -> int:
        return len({statement.source for statement in group})

    def sure(group: list[Statement]) -> float:
        return max(statement.confidence for statement in group)

    ranked = sorted(groups, key=lambda group: (sources(group), sure(group)), reverse=True)
    best, second = ranked[0], ranked[1]
    wins = sources(best) > sources(second) or sure(best) >= sure(second) + 0.2
    return ranked[1:] if wins else ranked


def _far_out(counts_S: NDArray[np.int64]) -> int:
    """Tukey's outer fence on a logarithmic scale, and never fewer than ten."""
    logs_S = np.log2(counts_S)
    low, high = np.quantile(logs_S, (0.25, 0.75))
    return max(10, int(2 ** (high + 3 * max(high - low, 0.5))))


def _entity(statement: Statement) -> EntityId:
    assert statement.object is not None
    return statement.object


def _ids(statements: list[Statement]) -> tuple[StatementId, ...]:
    return tuple(statement.id for statement in statements)
