"""Every way to read a question: which mention it starts from, which entity that is, and which hops its words ask for.

Shapes: N words, C hops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from groundzero.graph.nouns import EntityId
from groundzero.ground.alignment import Reading
from groundzero.ground.conjunction import Mentioned, conjunctions
from groundzero.ground.link import Link
from groundzero.ground.scorer import PathScorer, clause_before
from groundzero.ground.search import PathSearch
from groundzero.ground.shape import Shape
from groundzero.ground.verdicts import Standing, verdicts
from groundzero.ground.words import SILENT, Word

REACHED = 3.0
"""Of a path that leads to what a yes-or-no question asks about: it hardly does so by chance."""
TYPED = 4.5
"""Of leading to things of the kind asked for."""
NAMED = 0.4
"""Match from which a noun names a relation."""
VERBATIM = 6.0
"""Of one hop asked for in the words that the graph has for it, which hops of common words came within 2 of."""
ITSELF = 2.0
"""What it costs to answer that E is in E."""
LONELY = 3.0
"""What it costs that a superlative has only one thing to choose from."""
SOME = 0.3
"""Share of things that must be of the kind asked for, so that no further hop is needed to get there."""
LOOKED_AT = 50
"""Ends of a path whose kind is looked at."""
LIKELY = 0.5
"""A usual path that is within this of the best of any is what the question asks for."""
NOTHING = 100.0
"""Lead of a path that leads nowhere here."""
TELLING = 0.5
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
    beyond: float = 0.0
    """By how much one would whose relations are not usual for such an entity."""
    absent: tuple[int, ...] = ()
    """Hops of that path."""
    target: EntityId | None = None
    """Of a yes-or-no question: what is asked to be among the answers."""
    reached: bool = False
    """Whether it is."""
    worded: bool = False
    """Whether the words are a sentence that says the relation: then they leave nothing to explain."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what reads it."""

    words: Sequence[Word]
    shape: Shape
    links: Sequence[Link]
    scorer: PathScorer
    search: PathSearch
    max_hops: int = 3
    beam: int = 24
    entities: int = 6
    """Entities considered for each mention."""


def hypotheses(asked: Asked) -> list[Hypothesis]:
    """Readings of a question, best first."""
    found: list[Hypothesis] = []
    if asked.shape.kind == "exists":
        found += _verdicts(asked)
    else:
        for link in asked.links:
            found += _chains(asked, link)
        found += _pairs(asked)
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def read(
    scorer: PathScorer,
    words: Sequence[Word],
    first: int,
    last: int,
    *,
    left_out: frozenset[int] = frozenset(),
    also_covered: frozenset[int] = frozenset(),
    names: frozenset[int] = frozenset(),
) -> Reading:
    """The question as seen from the mention that is its words `first` to `last`.

    Args:
        left_out: places of words that say something else ("how many").
        also_covered: places of words of other mentions that are accounted for.
        names: places of words of other mentions that are not.
    """
    covered = frozenset(range(first, last)) | also_covered
    return Reading(
        scorer.scores(words, covered=covered, names=names),
        first,
        last,
        scorer.bias_C,
        direction_2=scorer.directions(words, first, last),
        places=[place for place in range(len(words)) if place not in left_out and place not in also_covered],
        cut_NN=scorer.cuts(words, first, last),
        clause=clause_before(words, first),
        founding_N=scorer.founding(words, covered | left_out),
        back_CC=scorer.table.back_CC,
    )


def _chains(asked: Asked, link: Link, target: Link | None = None) -> Iterator[Hypothesis]:
    """Paths from what one mention may mean."""
    accounted = frozenset() if target is None else target.words
    names = _names(asked, link.words | accounted)
    reading = read(
        asked.scorer,
        asked.words,
        link.first,
        link.last,
        left_out=asked.shape.said,
        also_covered=accounted,
        names=names,
    )
    lengths = [hops for hops in range(1, asked.max_hops + 1) if hops < reading.size]
    if not lengths:
        return
    noun = _type_noun(asked, link.words | accounted)
    anything = max(reading.best_of_any(hops) for hops in lengths)
    anywhere = reading.any_path(max(lengths, key=reading.best_of_any))
    table, links = asked.scorer.table, ((link,) if target is None else (link, target))
    verbatim = frozenset[int]() if target else table.sentences.asked(asked.words, asked.shape.said, link)
    for candidate in link.candidates[: asked.entities]:
        paths = asked.search.paths(candidate.entity, reading, max_hops=lengths[-1], beam=asked.beam)
        if not paths:
            continue
        start_only = np.array([candidate.entity])
        first_C = table.plausible(path.codes[0] for path in paths)
        ceiling, absent = max(reading.best_plausible(hops, first_C, table.plausible_after) for hops in lengths)
        for path in paths[:KEPT]:
            _, _, stretches = reading.cut(path.codes)
            goal = None if target is None else target.candidates[0].entity
            reached = goal is not None and goal in asked.search.ends(candidate.entity, path.codes)
            typed = _typed(asked, noun, candidate.entity, path.codes, stretches)
            ends = asked.search.ends(candidate.entity, path.codes)
            if len(path.codes) == 1 and np.array_equal(ends, start_only):
                typed -= ITSELF
            if asked.shape.kind == "extreme" and len(ends) < 2:
                typed -= LONELY
            worded = len(path.codes) == 1 and path.codes[0] in verbatim
            typed += VERBATIM if worded else 0.0
            yield Hypothesis(
                path.score + candidate.score + typed + _verdict(asked.scorer, target, path.codes, reached),
                links,
                (candidate.entity,),
                (path.codes,),
                (tuple(tuple(stretch) for stretch in stretches),),
                lead=0.0 if reached or worded else ceiling - path.score - typed,
                beyond=0.0 if reached or worded else anything - path.score - typed,
                reached=reached,
                absent=absent if ceiling >= anything - LIKELY else anywhere,
                target=goal,
                worded=worded,
            )


def _type_noun(asked: Asked, accounted: frozenset[int]) -> int | None:
    """Place of the noun that says what kind of thing is asked for: of "which countries", "how many cities"."""
    texts = [word.text for word in asked.words]
    for place in range(1, len(texts)):
        asking = texts[place - 1] == "which" or tuple(texts[place - 2 : place]) == ("how", "many")
        end = place
        while asking and end < len(texts) and end not in accounted and texts[end] not in SILENT:
            end += 1
        if end > place:
            return next((each for each in range(place, end) if _names_relation(asked, each)), None)
    return None


def _names_relation(asked: Asked, place: int) -> bool:
    return bool(asked.scorer.match([asked.words[place]]).max() >= NAMED)


def _typed(
    asked: Asked, noun: int | None, start: EntityId, codes: tuple[int, ...], stretches: Sequence[Sequence[int]]
) -> float:
    """What it is worth that a path leads to things of the kind asked for, where no hop is named by that noun.

    "Which countries border E": what borders E are the objects of the relation called country. A hop that would lead on
    to the countries of these countries is needless.
    """
    if noun is None or noun not in stretches[-1]:
        return 0.0
    match_C = asked.scorer.match([asked.words[noun]])[0]
    most = max(NAMED, float(match_C.max()) - 0.1)
    named = [code for code in np.flatnonzero(match_C >= most).tolist() if not asked.scorer.table.hops[code].inverse]
    if match_C[codes[-1]] >= NAMED:
        said = [place for place in stretches[-1] if asked.words[place].text not in SILENT]
        before = asked.search.ends(start, codes[:-1])[:LOOKED_AT]
        needless = len(codes) > 1 and said == [noun] and asked.search.share_with(before, codes[-1] ^ 1) >= SOME
        return -TYPED if needless else 0.0
    if not named:
        return 0.0
    ends = asked.search.ends(start, codes)[:LOOKED_AT]
    if not len(ends):
        return 0.0
    return TYPED * max(asked.search.share_with(ends, code ^ 1) for code in named)


def _names(asked: Asked, accounted: frozenset[int]) -> frozenset[int]:
    """Places of the words of other mentions, written like names: a reading that passes over them is a poor one."""
    return frozenset(
        place
        for link in asked.links
        if link.exact and not link.words & accounted and _is_written(link)
        for place in link.words
    )


def _is_written(link: Link) -> bool:
    """Whether a mention is written like a name, and not because the sentence begins."""
    surface = link.surface[1:] if link.first == 0 else link.surface
    return surface != surface.lower()


def _verdict(scorer: PathScorer, target: Link | None, codes: Sequence[int], reached: bool) -> float:
    """What speaks for a path in a yes-or-no question: that it gets there, or that it would tell were it not so."""
    if target is None:
        return 0.0
    single = min(float(scorer.table.single_C[code]) for code in codes)
    return target.candidates[0].score + (REACHED if reached else TELLING * single)


def _pairs(asked: Asked) -> Iterator[Hypothesis]:
    """One hop from each of two mentions."""
    for one, other in combinations(asked.links[:4], 2):
        left, right = (one, other) if one.first < other.first else (other, one)
        if left.last > right.first:
            continue
        covered = left.words | right.words
        score_NC = asked.scorer.scores(asked.words, covered=covered, names=_names(asked, covered))
        places = [place for place in range(len(asked.words)) if place not in covered and place not in asked.shape.said]
        for a in left.candidates[:2]:
            for b in right.candidates[:2]:
                ends = Mentioned(left.first, left.last, a.entity), Mentioned(right.first, right.last, b.entity)
                pairs = conjunctions(asked.search, score_NC, asked.scorer.bias_C, *ends, places)
                full = [pair for pair in pairs if not pair.empty][:KEPT]
                for pair in full or pairs[:1]:
                    yield Hypothesis(
                        pair.score + a.score + b.score,
                        (left, right),
                        (a.entity, b.entity),
                        tuple((code,) for code in pair.codes),
                        tuple((stretch,) for stretch in pair.words),
                        lead=NOTHING if pair.empty else max(pairs[0].score - pair.score, 0.0),
                        absent=pairs[0].codes,
                    )


def _verdicts(asked: Asked) -> Iterator[Hypothesis]:
    """Paths from one mention, asked to lead to another: the one that the words say, where they are a known sentence."""
    scorer = asked.scorer
    claims = verdicts(asked.words, asked.shape.said, asked.links, scorer.table, asked.search, asked.entities)
    for claim in claims:
        untold = claim.standing in (Standing.SILENT, Standing.OPEN)
        yield Hypothesis(
            claim.score,
            claim.links,
            claim.ends[:1],
            (claim.codes,),
            (((),) * len(claim.codes),),
            lead=NOTHING if untold else 0.0,
            absent=claim.codes if untold else (),
            target=claim.ends[1],
            reached=claim.standing == Standing.TRUE,
            worded=True,
        )
    if claims:
        return
    for one, other in combinations(asked.links[:4], 2):
        if one.first < other.last and other.first < one.last:
            continue
        yield from _chains(asked, one, other)
        yield from _chains(asked, other, one)
