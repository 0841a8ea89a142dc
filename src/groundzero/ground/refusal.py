"""Why a reading must not be answered: the question says more than it explains, or the graph is silent there."""

from __future__ import annotations

from collections.abc import Sequence

from groundzero.ground.answer import Reason
from groundzero.ground.hops import kind_of
from groundzero.ground.hypotheses import Hypothesis
from groundzero.ground.scorer import PathScorer
from groundzero.ground.shape import Shape
from groundzero.ground.words import SILENT, Word

MARGIN = 1.5
"""How much clearer a path that the graph lacks here must be to refuse those that it has."""
EVIDENCE = 0.3
"""Match that some word of each hop must have with it."""
UNEXPLAINED = 0.5
"""Share of the telling words that may stay unexplained."""


def why_not(question: str, words: Sequence[Word], shape: Shape, best: Hypothesis, scorer: PathScorer) -> Reason:
    """The reason to refuse the best reading, or an empty one."""
    mentioned = frozenset(place for link in best.links for place in link.words)
    unexplained, telling, groundless = _account(words, shape, best, scorer, mentioned)
    if any(_is_name(question, words[place]) for place in unexplained):
        return "no_entity"
    margin = scorer.learned.margin if scorer.learned is not None and scorer.learned.margin else MARGIN
    if best.lead > margin:
        return "no_fact"
    if (groundless and not best.reached) or (telling and len(unexplained) > UNEXPLAINED * telling):
        return "no_relation"
    return ""


def _account(
    words: Sequence[Word], shape: Shape, best: Hypothesis, scorer: PathScorer, mentioned: frozenset[int]
) -> tuple[list[int], int, bool]:
    """Telling words that their hop does not explain, how many telling words there are, and whether a hop has none."""
    match_NC = scorer.match(words)
    known = frozenset() if scorer.learned is None else scorer.learned.words
    unexplained: list[int] = []
    telling = 0
    groundless = False
    for codes, stretches in zip(best.branches, best.stretches, strict=True):
        for code, stretch in zip(codes, stretches, strict=True):
            strongest = 0.0
            for place in stretch:
                word = words[place]
                kind = kind_of(word.stem)
                fits = kind is not None and scorer.table.kinds_CK[code, kind] >= 0.4
                match = float(match_NC[place, code])
                strongest = max(strongest, match, 0.5 * EVIDENCE if fits else 0.0)
                if word.stem in known:
                    strongest = max(strongest, EVIDENCE)
                    continue
                if word.text in SILENT or word.stem in SILENT or place in shape.said or place in mentioned:
                    continue
                telling += 1
                if match < 0.2 and kind is None:
                    unexplained.append(place)
            groundless |= strongest < EVIDENCE
    return unexplained, telling, groundless


def _is_name(question: str, word: Word) -> bool:
    """Whether a word is written like a name, and not because the sentence begins."""
    return word.start > 0 and question[word.start].isupper()
