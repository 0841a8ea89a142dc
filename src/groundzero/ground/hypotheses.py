"""Every way to read a question: which mention it starts from, which entity that is, and which hops its words ask for.

Shapes: N words, C hops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from groundzero.graph.nouns import EntityId
from groundzero.ground.alignment import Reading
from groundzero.ground.conjunction import Mentioned, conjunctions
from groundzero.ground.link import Link
from groundzero.ground.scorer import PathScorer
from groundzero.ground.search import PathSearch
from groundzero.ground.shape import Shape
from groundzero.ground.words import Word

REACHED = 3.0
"""Of a path that leads to what a yes-or-no question asks about: it hardly does so by chance."""
KEPT = 8
"""Paths of one reading that are compared with those of others."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A question read as a path from an entity, or as one from each of two."""

    score: float
    """Of the words, with what is known of the entities before any question."""
    links: tuple[Link, ...]
    """The mentions that it explains."""
    starts: tuple[EntityId, ...]
    """Where each branch starts."""
    branches: tuple[tuple[int, ...], ...]
    """Hops of each branch."""
    stretches: tuple[tuple[tuple[int, ...], ...], ...]
    """Places of the words that each hop of each branch got."""
    lead: float = 0.0
    """By how much a path that the graph does not have here would explain the words better."""
    absent: tuple[int, ...] = ()
    """Hops of that path."""
    target: EntityId | None = None
    """Of a yes-or-no question: what is asked to be among the answers."""
    reached: bool = False
    """Whether it is."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far to look."""

    max_hops: int
    beam: int
    entities: int
    """Entities considered for each mention."""


def hypotheses(
    words: Sequence[Word], shape: Shape, links: Sequence[Link], scorer: PathScorer, search: PathSearch, reach: Reach
) -> list[Hypothesis]:
    """Readings of a question, best first."""
    found: list[Hypothesis] = []
    if shape.kind == "exists":
        found += _verdicts(words, shape, links, scorer, search, reach)
    else:
        for link in links:
            found += _chains(words, shape, link, None, scorer, search, reach)
        found += _pairs(words, shape, links, scorer, search, reach)
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def read(
    scorer: PathScorer, words: Sequence[Word], first: int, last: int, *, left_out: frozenset[int] = frozenset(),
    also_covered: frozenset[int] = frozenset(),
) -> Reading:  # fmt: skip
    """The question as seen from the mention that is its words `first` to `last`.

    Args:
        left_out: places of words that say something else ("how many").
        also_covered: places of words of other mentions that are accounted for.
    """
    covered = frozenset(range(first, last)) | also_covered
    return Reading(
        scorer.scores(words, covered=covered),
        first,
        last,
        scorer.bias_C,
        direction_2=scorer.directions(words, last),
        places=[place for place in range(len(words)) if place not in left_out and place not in also_covered],
        cut_NN=scorer.cuts(words, last),
    )


def _chains(
    words: Sequence[Word],
    shape: Shape,
    link: Link,
    target: Link | None,
    scorer: PathScorer,
    search: PathSearch,
    reach: Reach,
) -> Iterator[Hypothesis]:
    """Paths from what one mention may mean."""
    accounted = frozenset() if target is None else target.words
    reading = read(scorer, words, link.first, link.last, left_out=shape.said, also_covered=accounted)
    lengths = [hops for hops in range(1, reach.max_hops + 1) if hops < reading.size]
    if not lengths:
        return
    best = max(lengths, key=reading.best_of_any)
    ceiling, absent = reading.best_of_any(best), reading.any_path(best)
    links = (link,) if target is None else (link, target)
    for candidate in link.candidates[: reach.entities]:
        paths = search.paths(candidate.entity, reading, max_hops=reach.max_hops, beam=reach.beam)
        for path in paths[:KEPT]:
            if len(path.codes) not in lengths:
                continue
            _, _, stretches = reading.cut(path.codes)
            reached = target is not None and target.candidates[0].entity in search.ends(candidate.entity, path.codes)
            yield Hypothesis(
                path.score + candidate.score + (REACHED if reached else 0.0),
                links,
                (candidate.entity,),
                (path.codes,),
                (tuple(tuple(stretch) for stretch in stretches),),
                lead=0.0 if reached else ceiling - path.score,
                reached=reached,
                absent=absent,
                target=None if target is None else target.candidates[0].entity,
            )


def _pairs(
    words: Sequence[Word], shape: Shape, links: Sequence[Link], scorer: PathScorer, search: PathSearch, reach: Reach
) -> Iterator[Hypothesis]:
    """One hop from each of two mentions."""
    for one, other in combinations(links[:4], 2):
        left, right = (one, other) if one.first < other.first else (other, one)
        if left.last > right.first:
            continue
        covered = left.words | right.words
        score_NC = scorer.scores(words, covered=covered)
        places = [place for place in range(len(words)) if place not in covered and place not in shape.said]
        for a in left.candidates[:2]:
            for b in right.candidates[:2]:
                ends = Mentioned(left.first, left.last, a.entity), Mentioned(right.first, right.last, b.entity)
                pairs = conjunctions(search, score_NC, scorer.bias_C, *ends, places)
                full = [pair for pair in pairs if not pair.empty]
                for pair in full[:KEPT]:
                    yield Hypothesis(
                        pair.score + a.score + b.score,
                        (left, right),
                        (a.entity, b.entity),
                        tuple((code,) for code in pair.codes),
                        tuple((stretch,) for stretch in pair.words),
                        lead=max(pairs[0].score - pair.score, 0.0),
                        absent=pairs[0].codes,
                    )


def _verdicts(
    words: Sequence[Word], shape: Shape, links: Sequence[Link], scorer: PathScorer, search: PathSearch, reach: Reach
) -> Iterator[Hypothesis]:
    """Paths from one mention, asked to lead to another."""
    for one, other in combinations(links[:4], 2):
        if one.first < other.last and other.first < one.last:
            continue
        for start, end in ((one, other), (other, one)):
            yield from _chains(words, shape, start, end, scorer, search, reach)
