"""Why a reading must not be answered: the question says more than it explains, or the graph is silent there."""

from __future__ import annotations

from dataclasses import dataclass, field

from groundzero.ground.answer import Reason
from groundzero.ground.hops import kind_of
from groundzero.ground.hypotheses import Asked, Hypothesis
from groundzero.ground.words import SILENT, Word

MARGIN = 1.5
"""How much clearer a path that the graph lacks here must be to refuse those that it has."""
TURNED = 1.5
"""The same again, for one of the same hops in another order: the graph settles what the words leave open."""
EVIDENCE = 0.2
"""Match that some word of each hop must have with it."""
EXPLAINED = 0.2
FITTING = 0.4
"""Share of what a hop leads to that must be of the kind a question word asks for."""
_LEADING = frozenset({"from", "in", "at", "by", "for", "with", "on"})
"""Words that with a question word may be all there is of a relation: "who is from E"."""
UNEXPLAINED = 0.5
"""Share of the telling words that may stay unexplained."""


def why_not(question: str, asked: Asked, best: Hypothesis) -> Reason:
    """The reason to refuse the best reading, or an empty one."""
    if best.worded:
        return "no_fact" if best.lead > MARGIN else ""
    account = _account(asked, best)
    if any(_is_name(question, asked.words[place]) for place in account.unexplained):
        return "no_entity"
    learned = asked.scorer.learned
    margin = learned.margin if learned is not None and learned.margin else MARGIN
    if best.lead > margin and not (_turned(best) and best.lead <= margin + TURNED):
        return "no_fact"
    if best.beyond > MARGIN and learned is None and not _turned(best):
        elsewhere: Reason = "no_fact"
    else:
        elsewhere = "no_relation"
    if learned is None and not best.reached and _asks_otherwise(asked, best):
        return elsewhere
    bare = all(account.groundless) if len(best.branches) > 1 else any(account.groundless)
    if bare and not best.reached:
        return elsewhere
    return elsewhere if len(account.unexplained) > UNEXPLAINED * account.telling else ""


def _turned(best: Hypothesis) -> bool:
    """Whether the clearer path is of the same hops in another order: "what is the country of E named after"."""
    hops = best.branches[0]
    return len(best.branches) == 1 < len(hops) == len(best.absent) and sorted(hops) == sorted(best.absent)


def is_explained(question: str, asked: Asked, reading: Hypothesis) -> bool:
    """Whether a reading, of hops that the graph need not have, has a ground for each and leaves little unsaid."""
    account = _account(asked, reading)
    return (
        not any(account.groundless)
        and len(account.unexplained) <= UNEXPLAINED * account.telling
        and not any(_is_name(question, asked.words[place]) for place in account.unexplained)
        and not _asks_otherwise(asked, reading)
    )


def _asks_otherwise(asked: Asked, best: Hypothesis) -> bool:
    """Whether a question word asks for another kind of thing than the path leads to: "when" for a place."""
    mentioned = {place for link in best.links for place in link.words} | asked.shape.said
    last = best.branches[0][-1]
    words = [word for place, word in enumerate(asked.words) if place not in mentioned]
    return any(bool(asked.scorer.contradicts(word, loosely=True)[last]) for word in words)


@dataclass(slots=True)
class _Account:
    """How far a reading explains the words of its question."""

    unexplained: list[int] = field(default_factory=list)
    """Telling words that their hop does not explain."""
    telling: int = 0
    groundless: list[bool] = field(default_factory=list)
    """For each branch, whether one of its hops has nothing to rest on."""


def _account(asked: Asked, best: Hypothesis) -> _Account:
    words, scorer = asked.words, asked.scorer
    mentioned = frozenset(place for link in best.links for place in link.words)
    match_NC = scorer.match(words, mentioned)
    known = frozenset() if scorer.learned is None else scorer.learned.words
    found = _Account()
    for codes, stretches in zip(best.branches, best.stretches, strict=True):
        found.groundless.append(False)
        for code, stretch in zip(codes, stretches, strict=True):
            strongest = 0.0
            led = any(words[place].text in _LEADING for place in stretch)
            for place in stretch:
                word = words[place]
                kind = kind_of(word.stem)
                fits = kind is not None and scorer.table.kinds_CK[code, kind] >= FITTING
                strongest = max(strongest, float(match_NC[place, code]), EVIDENCE if fits and led else 0.0)
                if word.stem in known:
                    strongest = max(strongest, EVIDENCE)
                    continue
                if word.text in SILENT or word.stem in SILENT or place in asked.shape.said or place in mentioned:
                    continue
                found.telling += 1
                if match_NC[place, code] < EXPLAINED and kind is None:
                    found.unexplained.append(place)
            found.groundless[-1] |= strongest < EVIDENCE
    return found


def _is_name(question: str, word: Word) -> bool:
    """Whether a word is written like a name, and not because the sentence begins."""
    return word.start > 0 and question[word.start].isupper()
