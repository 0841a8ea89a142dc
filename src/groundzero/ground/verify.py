"""Checking an answer against the graph, with no model: the query is run again at the answer's transaction.

An answer passes where every statement it cites is there, says what the citation says and was believed then; where the
query leads to the answers it names by exactly the statements it cites; and where path and text are what those
statements come to. A prediction passes where the graph is silent as it says, and where it cites nothing. Whatever a
store cannot show (its past, sources, what an embedding foretells) is said in `unchecked`, never passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundzero.errors import FormatError, InputError
from groundzero.graph.nouns import Statement, Transaction
from groundzero.graph.store import Store
from groundzero.ground.answer import UNASKED, Answer
from groundzero.ground.facts import Facts
from groundzero.ground.query import Query, Result, cited, label_of, run
from groundzero.ground.respond import CANDIDATES, CITED, citation_of
from groundzero.ground.wording import path_in_words, predicted_text, text_of

_KEYS = {
    "question": str, "text": str, "status": str, "reason": str, "probability": (int, float), "citations": list,
    "path": list, "query": (dict, type(None)), "candidates": list, "graph": dict, "facts_retrieved": int,
    "channels": dict, "tokens_generated": int, "seconds": dict,
}  # fmt: skip
_STATUSES = ("asserted", "predicted", "unknown")
_REASONS = ("no_entity", "no_relation", "no_fact", "ambiguous", "contradiction", *sorted(UNASKED))


@dataclass(slots=True)
class Verification:
    """What checking an answer came to; true where nothing was wrong."""

    problems: list[str] = field(default_factory=list)
    """What is wrong, a line each."""
    unchecked: list[str] = field(default_factory=list)
    """What could not be checked, a line each."""
    statements: int = 0
    """Cited statements that were looked up."""

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def as_json(self) -> dict[str, Any]:
        """`{ok, problems, unchecked, statements}`."""
        return {
            "ok": self.ok, "problems": self.problems, "unchecked": self.unchecked, "statements": self.statements
        }  # fmt: skip


def read_answer(path: Path) -> dict[str, Any]:
    """The answer in a file that `gz ask --json` wrote.

    Raises:
        InputError: there is no such file.
        FormatError: it holds no answer.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.", remedy="Write one with `gz ask ... --json > answer.json`.")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON.", remedy="Give an answer as `gz ask --json` prints it.") from error
    return check_shape(raw)


def check_shape(raw: object) -> dict[str, Any]:
    """`raw` as an answer object. Raises FormatError where keys are missing or of the wrong type."""
    if not isinstance(raw, dict):
        raise FormatError("An answer is a JSON object.", remedy="Give an answer as `gz ask --json` prints it.")
    for key, kind in _KEYS.items():
        if key not in raw:
            raise FormatError(f"The answer has no {key!r}.", remedy="Give an answer as `gz ask --json` prints it.")
        if not isinstance(raw[key], kind) or isinstance(raw[key], bool):  # type: ignore[arg-type]
            raise FormatError(f"The answer's {key!r} is of the wrong type.", remedy="Give an answer as it was printed.")
    if raw["query"] is not None:
        Query.from_json(raw["query"])
    if not isinstance(raw["graph"].get("transaction"), int) or not isinstance(raw["graph"].get("id"), str):
        raise FormatError("The answer does not say which graph it is from.", remedy="Give an answer as it was printed.")
    return raw


def verify(answer: Answer | Mapping[str, Any], store: Store) -> Verification:
    """Check an answer against a store.

    Raises:
        FormatError: it is no answer.
    """
    raw = check_shape(answer.as_json() if isinstance(answer, Answer) else dict(answer))
    found = Verification()
    if raw["status"] not in _STATUSES:
        found.problems.append(f"There is no status {raw['status']!r}.")
    transaction = raw["graph"]["transaction"]
    at = _transaction(transaction, store, found)
    if found.problems:
        return found
    if raw["status"] == "unknown":
        _check_refusal(raw, found)
        return found
    if raw["graph"]["id"] != store.location:
        found.unchecked.append(f"The answer is from {raw['graph']['id']}; it was checked against {store.location}.")
    if raw["status"] == "predicted":
        _check_prediction(raw, store, at, found)
        return found
    statements = _check_citations(raw, store, transaction, at, found)
    if raw["query"] is None:
        found.problems.append("An asserted answer has no query.")
    elif not found.problems:
        _check_replay(raw, statements, store, at, found)
    return found


def _transaction(transaction: int, store: Store, found: Verification) -> Transaction | None:
    """What to read at; problems where there was no such transaction."""
    latest = store.transaction()
    if not store.capabilities.as_of:
        found.unchecked.append("The store does not keep its past: it was checked as it is now.")
        return None
    if not 0 <= transaction <= latest:
        found.problems.append(f"There is no transaction {transaction}; the latest is {latest}.")
    return transaction


def _check_refusal(raw: Mapping[str, Any], found: Verification) -> None:
    if raw["reason"] not in _REASONS:
        found.problems.append(f"There is no reason {raw['reason']!r}.")
    for key in ("citations", "path"):
        if raw[key]:
            found.problems.append(f"A refusal has {key}.")
    found.unchecked.append("A refusal claims nothing of the graph: nothing was replayed.")


def _check_prediction(raw: Mapping[str, Any], store: Store, at: Transaction | None, found: Verification) -> None:
    """That it claims no fact, that the graph is silent, and that it says what its candidates do."""
    for key in ("citations", "path"):
        if raw[key]:
            found.problems.append(f"A prediction has {key}: what is predicted is no fact.")
    query = None if raw["query"] is None else Query.from_json(raw["query"])
    if query is None or query.constraints or query.aggregate or len(query.branch.steps) != 1:
        found.problems.append("A prediction is of one hop from one entity, which its query must say.")
        return
    said = list(cited(run(query, store, at)))
    if said:
        found.problems.append(f"The graph says it, by S{said[0].id}: there is nothing to predict.")
    candidates = [each if isinstance(each, dict) else {} for each in raw["candidates"]]
    scores = [score for each in candidates if isinstance(score := each.get("score"), (int, float))]
    if not scores or len(scores) < len(candidates) or not all(0 <= score <= 1 for score in scores):
        found.problems.append("A prediction needs candidates with a probability each.")
        return
    if scores != sorted(scores, reverse=True) or scores[0] != raw["probability"]:
        found.problems.append("The probability is not that of the likeliest candidate.")
    names = [str(each.get("entity")) for each in candidates]
    unknown = next((name for name in names if not store.named(name, at=at) and store.find_entity(name) is None), None)
    if unknown is not None:
        found.problems.append(f"Nothing in the graph is called {unknown!r}.")
    if raw["tokens_generated"]:
        found.unchecked.append("The text was worded by a language model: it was not checked.")
    elif raw["text"] != predicted_text(query, names[0], raw["probability"], store, at):
        found.problems.append("The text is not what the query and the candidates say.")
    found.unchecked.append(
        "A prediction is not in the graph: that it says nothing was checked, not how likely this is."
    )


def _check_citations(
    raw: Mapping[str, Any], store: Store, transaction: Transaction, at: Transaction | None, found: Verification
) -> list[Statement]:
    """The cited statements; problems where one is not there, was not believed then, or says something else."""
    statements: list[Statement] = []
    for place, citation in enumerate(raw["citations"]):
        number = citation.get("id") if isinstance(citation, dict) else None
        if not isinstance(number, int) or isinstance(number, bool):
            found.problems.append(f"Citation {place + 1} has no statement id.")
            continue
        statement = store.statement(number) if 0 < number < 2**63 else None
        if statement is None:
            found.problems.append(f"S{number} is no statement of this graph.")
            continue
        found.statements += 1
        if statement.status != "accepted":
            found.problems.append(f"S{number} is quarantined.")
        if at is not None and not _believed(statement, transaction):
            found.problems.append(f"S{number} was not believed at transaction {transaction}.")
        actual = citation_of(statement, store, at)
        for key in ("subject", "relation", "object", "source", "start", "end"):
            if citation.get(key) != getattr(actual, key):
                found.problems.append(
                    f"S{number}: {key} is {getattr(actual, key)!r}, not {citation.get(key)!r} as cited."
                )
        statements.append(statement)
    return statements


def _believed(statement: Statement, transaction: Transaction) -> bool:
    return statement.added <= transaction and (statement.retired is None or statement.retired > transaction)


def _check_replay(
    raw: Mapping[str, Any], statements: list[Statement], reader: Facts, at: Transaction | None, found: Verification
) -> None:
    """Run the query and compare everything that the answer says with what it leads to."""
    query = Query.from_json(raw["query"])
    result = run(query, reader, at)
    needed = [each.id for each in cited(result)]
    given = [each.id for each in statements]
    if given != needed[:CITED]:
        missing = [f"S{each}" for each in needed[:CITED] if each not in given]
        extra = [f"S{each}" for each in given if each not in needed]
        said = (
            f" It lacks {', '.join(missing[:5])}."
            if missing
            else f" It does not rest on {', '.join(extra[:5])}."
            if extra
            else ""
        )
        found.problems.append(f"The query rests on other statements than the answer cites.{said}")
    if not result.answers and result.number is None:
        found.problems.append("The query leads to nothing.")
        return
    _check_candidates(raw, query, result, reader, at, found)
    path = [
        {"from": step.origin, "relation": step.relation, "to": step.to}
        for step in path_in_words(result, query, reader, at)
    ]
    if raw["path"] != path:
        found.problems.append("The path is not the one that the query takes.")
    if raw["facts_retrieved"] < len(given):
        found.problems.append("Fewer facts were retrieved than are cited.")
    if raw["tokens_generated"]:
        found.unchecked.append("The text was worded by a language model: its statements were checked, not its words.")
    elif raw["text"] != text_of(query, result, reader, at):
        found.problems.append("The text is not what the cited statements say.")


def _check_candidates(
    raw: Mapping[str, Any], query: Query, result: Result, reader: Facts, at: Transaction | None, found: Verification
) -> None:
    """The first candidates must be the answers; those behind them are of other readings, which are not claimed."""
    aggregate = query.aggregate
    if aggregate is not None and aggregate.kind == "count":
        labels = [str(result.number)]
    elif aggregate is not None and aggregate.kind == "exists":
        labels = ["yes" if result.holds else "no"]
    else:
        labels = [label_of(node, reader, at) for node in list(result.answers)[:CANDIDATES]]
    given = [each.get("entity") if isinstance(each, dict) else None for each in raw["candidates"][: len(labels)]]
    for label, claimed in zip(labels, [*given, *[None] * len(labels)], strict=False):
        if claimed != label:
            found.problems.append(f"The query leads to {label!r}, not to {claimed!r}.")
            return


__all__ = ["Verification", "check_shape", "read_answer", "verify"]
