"""What the graph lacks where a question is refused: the first hop of the way asked for that leads nowhere.

Gaps are remembered by it (`remember`), and a prediction fills it in (`predict`).
"""

from __future__ import annotations

from collections.abc import Sequence

from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId
from groundzero.ground.answer import Missing, Reason
from groundzero.ground.hops import Hop
from groundzero.ground.hypotheses import Asked, Hypothesis
from groundzero.ground.refusal import EXPLAINED, is_explained
from groundzero.ground.words import SILENT

MOST = 5
"""Entities that a hop is looked for from: "the birthplaces of the children of E" may want one of each child."""
RIVAL = 0.35
"""Entities of one name whose readings score within this are both possible; a prediction would be of either."""


def absent_hops(asked: Asked, best: Hypothesis) -> tuple[int, ...]:
    """The way asked for that the graph does not have: one hop where it says all, however well more would fit.

    "Place of birth" is of birth, and of a place: a second hop from there to a continent scores higher than none.
    """
    if len(best.absent) < 2 or len(best.branches) > 1:
        return best.absent
    mentioned = frozenset(place for link in best.links for place in link.words)
    match_N = asked.scorer.match(asked.words, mentioned)[:, best.absent[0]]
    telling = [
        place
        for place, word in enumerate(asked.words)
        if place not in mentioned | asked.shape.said and not {word.text, word.stem} & SILENT
    ]
    return best.absent[:1] if telling and bool((match_N[telling] >= EXPLAINED).all()) else best.absent


def what_is_missing(
    question: str, graph: Graph, asked: Asked, readings: Sequence[Hypothesis], reason: Reason
) -> Missing | None:
    """What would have to be said for the best reading to be answered; None where nothing is missing that has a name."""
    best = readings[0]
    if reason == "no_relation" or len(best.branches) > 1:
        return Missing(best.starts)
    if reason != "no_fact":
        return None
    table, start, codes = asked.scorer.table, best.starts[0], absent_hops(asked, best)
    for place, code in enumerate(codes):
        reached = asked.search.ends(start, codes[:place])[:MOST].tolist() if place else [start]
        lacking = tuple(entity for entity in reached if not _leads_on(graph, entity, table.hops[code]))
        if lacking:
            whole = len(codes) == 1 and _is_whole(question, asked, readings, code)
            return Missing(lacking, table.hops[code].relation, table.hops[code].inverse, whole)
    return None


def _leads_on(graph: Graph, entity: EntityId, hop: Hop) -> bool:
    """Whether the graph says anything of an entity by this hop, literals included."""
    if hop.inverse:
        return bool(graph.store.incoming(entity, hop.relation, limit=1))
    return bool(graph.store.outgoing(entity, hop.relation))


def _is_whole(question: str, asked: Asked, readings: Sequence[Hypothesis], code: int) -> bool:
    """Whether one hop, from the entity of the best reading, is all that the question asks for."""
    best = readings[0]
    mentioned = {place for link in best.links for place in link.words}
    rest = tuple(place for place in range(len(asked.words)) if place not in mentioned | asked.shape.said)
    hop = Hypothesis(0.0, best.links, best.starts, ((code,),), ((rest,),))
    rivals = (each for each in readings if each.links == best.links and each.starts != best.starts)
    return (
        asked.shape.kind == "things"
        and is_explained(question, asked, hop)
        and not any(best.score - each.score < RIVAL for each in rivals)
    )
