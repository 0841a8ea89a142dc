"""Steps along a relation, forwards or backwards, and the words that ask for each of them.

Every relation gives two hops: from subject to object, and back. What is known without any question: labels, aliases,
inverse labels, templates and question templates of the graph, and the hand-written lexicon. Each wording becomes
features (`u:stem` of a word, `p:stem stem` of a phrase) with a weight per hop, 1 for a word that by itself names it.

Shapes: C hops (codes), V entities, E statements, K kinds of answers.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from groundzero.graph.nouns import Relation, RelationId
from groundzero.graph.phrasing import phrase
from groundzero.ground.lexicon import KINDS, Row, load_lexicon
from groundzero.ground.verdicts import Sentences
from groundzero.ground.words import SILENT, content, stem, stems

LABEL, NAMED, ASKED, TEMPLATE, SYNONYM, BACK_LABEL = 1.0, 0.95, 0.85, 0.6, 0.75, 0.55
"""How much a word is worth by where it comes from: the graph's own label most."""
SILENT_WORDING = 0.25  # "from" alone is a wording of "country of origin", but it is in many questions
GENERAL = 0.3  # of "city" in "which city is the capital of"
PLACED = 0.25  # for words that stand to the mention as they do in a sentence or question of the relation
ENTITY = "<e>"
"""Stands for a mention among the words around it."""
PHRASE_BONUS = 0.4  # on top of its words, where a phrase is found whole
USUAL = 0.02
"""Share of the things with one hop that must have another for it to be plausible beside it."""
FEW = 20
"""Entities from which it takes to say that a relation has one object each."""
_INVERSE_MARKS = ("inverse", "inv", "reverse")


class Hop(NamedTuple):
    """One step."""

    relation: RelationId
    inverse: bool
    """From object to subject."""


class Wording(NamedTuple):
    """A phrase that asks for a hop."""

    phrase: str
    weight: float


class HopTable:
    """The hops of a graph and their wordings.

    Args:
        relations: every relation of the graph.
        rows_E4: (subject, relation, object, statement) as `Reader.triples` gives them, to see what kinds of things
            relations lead to.
    """

    def __init__(self, relations: Iterable[Relation], rows_E4: NDArray[np.int64]) -> None:
        self.relations = sorted(relations, key=lambda relation: relation.id)
        self.hops = [Hop(relation.id, inverse) for relation in self.relations for inverse in (False, True)]
        self.code_of = {hop: code for code, hop in enumerate(self.hops)}
        self.rows = [_rows_about(relation) for relation in self.relations]
        self.names = frozenset(
            tuple(words)
            for relation in self.relations
            for words in map(stems, (plain_label(relation)[0], *relation.aliases))
            if sum(word not in SILENT for word in words) > 1
        )
        """Names of more than one telling word, stemmed."""
        self.features = _features(self.relations, self.rows)
        self.kinds_CK = _kinds(self.relations, self.rows, rows_E4)
        self.single_C = _single(self.relations, rows_E4)
        self.mutual_C = _mutual(self.relations, rows_E4)
        """Share of a relation's statements that are said the other way round too."""
        self.sentences = Sentences(self.relations)
        self.back_CC = _back(self.relations, rows_E4)
        """Which hop leads back from each: the same relation's other, or that of a relation that is its inverse."""
        self._usual_CC = _together(self.relations, rows_E4) >= USUAL
        linking = set(np.unique(rows_E4[:, 1]).tolist())
        self.literal = frozenset(relation.id for relation in self.relations if relation.id not in linking)
        """Relations that never lead to an entity: to literals, then."""
        self._to_literals_C = np.array(
            [hop.relation in self.literal and not hop.inverse for hop in self.hops], dtype=bool
        )

    def __len__(self) -> int:
        return len(self.hops)

    def codes(self, relation_N: NDArray[np.integer[Any]], inverse: bool) -> NDArray[np.int64]:
        """Codes of relation ids that are all in the table."""
        ids = np.array([relation.id for relation in self.relations])
        return np.searchsorted(ids, relation_N) * 2 + int(inverse)

    def plausible(self, codes: Iterable[int]) -> NDArray[np.bool_]:
        """(C,) hops that things with these hops often have: what may be asked of them, whether or not it is known.

        Hops to literals are always plausible: which things have some is not known here.
        """
        here = list(set(codes))
        usual_C: NDArray[np.bool_] = self._usual_CC[here].any(axis=0) | self._to_literals_C
        return usual_C

    def plausible_after(self, codes_T: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(T, T) which of these hops things often have that others of them lead to."""
        found_TT: NDArray[np.bool_] = self._usual_CC[np.ix_(codes_T ^ 1, codes_T)] | self._to_literals_C[codes_T]
        return found_TT

    def share_ends(self, code_A: NDArray[np.int64], code_B: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(A, B) whether things that one hop leads to are often things that the other leads to."""
        found_AB: NDArray[np.bool_] = self._usual_CC[np.ix_(code_A ^ 1, code_B ^ 1)]
        found_AB |= self._usual_CC[np.ix_(code_B ^ 1, code_A ^ 1)].T
        return found_AB

    def is_dated(self, code: int) -> bool:
        """Whether a relation gives a date that happens once: of birth, of death, of founding."""
        return any(row.answer == "date" for row in self.rows[code // 2][:1])

    def relation(self, code: int) -> Relation:
        """The relation that a hop goes along."""
        return self.relations[code // 2]


def plain_label(relation: Relation) -> tuple[str, bool]:
    """The label, and whether it says that it is the inverse of what it names (`plays_in_club_inverse`)."""
    words = (relation.label.strip() or relation.key).replace("_", " ").split()
    if len(words) > 1 and words[-1].lower() in _INVERSE_MARKS:
        return " ".join(words[:-1]), True
    return " ".join(words), False


def _rows_about(relation: Relation) -> tuple[Row, ...]:
    """Rows of the lexicon by label, else by an alias; turned round for a relation that calls itself an inverse."""
    lexicon = load_lexicon()
    label, turned = plain_label(relation)
    found = lexicon.rows_for(label) or next((rows for rows in map(lexicon.rows_for, relation.aliases) if rows), ())
    return tuple(Row((), row.back, (*row.names, *row.ask), row.of, row.answer) for row in found) if turned else found


def _wordings(relation: Relation, rows: tuple[Row, ...], inverse: bool) -> Iterator[Wording]:
    label, turned = plain_label(relation)
    own = [label, *relation.aliases]
    if inverse == turned:
        yield from (Wording(name, LABEL) for name in own)
    else:
        yield from (Wording(name, BACK_LABEL) for name in own)
    if inverse and relation.inverse:
        yield Wording(relation.inverse, LABEL)
    for template in relation.templates:
        text = template.replace("{subject}", " ").replace("{object}", " ")
        yield Wording(text, TEMPLATE if not inverse else BACK_LABEL)
    phrasing = phrase(relation)
    for question in phrasing.inverse if inverse else phrasing.questions:
        yield Wording(question.replace("{subject}", " ").replace("{object}", " "), ASKED)
    for row in rows:
        if inverse:
            yield from (Wording(phrase, ASKED) for phrase in row.back)
            yield from (Wording(phrase, BACK_LABEL) for phrase in row.names)
        else:
            yield from (Wording(phrase, NAMED) for phrase in row.names)
            yield from (Wording(phrase, ASKED) for phrase in row.ask)


def _features(
    relations: list[Relation], rows: list[tuple[Row, ...]]
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Feature to codes and weights; the best wording counts where several have the same word."""
    lexicon = load_lexicon()
    frequency = Counter(
        word for relation in relations for word in set(stems(" ".join((relation.label, *relation.aliases))))
    )
    rarity = {word: math.log(1 + len(relations) / count) for word, count in frequency.items()}
    common = math.log(1 + len(relations))
    best: dict[str, dict[int, float]] = defaultdict(dict)

    def note(feature: str, code: int, weight: float) -> None:
        best[feature][code] = max(weight, best[feature].get(code, 0.0))

    for place, relation in enumerate(relations):
        for inverse in (False, True):
            code = 2 * place + inverse
            for text, weight in _wordings(relation, rows[place], inverse):
                words = stems(text)
                telling = content(words)
                if not telling:
                    continue
                worth = weight * (SILENT_WORDING if telling[0] in SILENT else 1.0)
                total = sum(rarity.get(word, common) for word in telling)
                for word in telling:
                    share = rarity.get(word, common) / total
                    if weight < LABEL and len(telling) > 1 and kind_of(word) is not None:
                        share *= GENERAL
                    note(f"u:{word}", code, worth * share)
                    if word not in SILENT:
                        for synonym in lexicon.synonyms.get(word, ()):
                            note(f"u:{synonym}", code, worth * share * SYNONYM)
                if 2 <= len(words) <= 5 and len(telling) < len(words) + 1:
                    note(f"p:{' '.join(words)}", code, worth * PHRASE_BONUS)
            for sequence in _placed(relation, inverse):
                note(f"p:{sequence}", code, PLACED)
    return {
        feature: (np.fromiter(weights, np.int64), np.fromiter(weights.values(), np.float64))
        for feature, weights in best.items()
    }


def _placed(relation: Relation, inverse: bool) -> Iterator[str]:
    """A few words right before or behind the end that is given, which tell subject from object: "located in <e>"."""
    phrasing = phrase(relation)
    given, other = ("{object}", "{subject}") if inverse else ("{subject}", "{object}")
    for text in (*phrasing.sentences, *(phrasing.inverse if inverse else phrasing.questions)):
        before, found, behind = text.partition(given)
        if not found:
            continue
        left, right = stems(before.rpartition(other)[2]), stems(behind.partition(other)[0])
        for length in range(1, 4):
            if len(left) >= length and set(left[-length:]) - SILENT:
                yield " ".join((*left[-length:], ENTITY))
            if len(right) >= length and set(right[:length]) - SILENT:
                yield " ".join((ENTITY, *right[:length]))


def _kinds(relations: list[Relation], rows: list[tuple[Row, ...]], rows_E4: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C, K) share of what a hop leads to that is of each kind: from the lexicon's rows, spread along the graph.

    A relation that no row is about leads to persons where what it leads to has a birthplace, a spouse, an award...
    """
    said_CK = np.zeros((2 * len(relations), len(KINDS)))
    for place, about in enumerate(rows):
        for row in about[:1]:
            for inverse, kind in ((0, row.answer), (1, row.of)):
                if kind in KINDS:
                    said_CK[2 * place + inverse, KINDS.index(kind)] = 1.0
    if not len(rows_E4):
        return said_CK
    ids = np.array([relation.id for relation in relations])
    relation_E = np.searchsorted(ids, rows_E4[:, 1])
    entities = int(rows_E4[:, (0, 2)].max()) + 1
    votes_VK = np.zeros((entities, len(KINDS)))
    for place in range(len(KINDS)):
        for column, inverse in ((2, 0), (0, 1)):
            weight_E = said_CK[2 * relation_E + inverse, place]
            votes_VK[:, place] += np.bincount(rows_E4[:, column], weights=weight_E, minlength=entities)
    share_VK = votes_VK / np.maximum(votes_VK.sum(axis=1, keepdims=True), 1.0)
    found_CK = np.zeros_like(said_CK)
    for column, inverse in ((2, 0), (0, 1)):
        code_E = 2 * relation_E + inverse
        count_C = np.maximum(np.bincount(code_E, minlength=len(said_CK)), 1)
        for place in range(len(KINDS)):
            total_C = np.bincount(code_E, weights=share_VK[rows_E4[:, column], place], minlength=len(said_CK))
            found_CK[:, place] += total_C / count_C
    known_C = said_CK.any(axis=1, keepdims=True)
    return np.where(known_C, 0.7 * said_CK + 0.3 * found_CK, found_CK)


def _back(relations: list[Relation], rows_E4: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(C, C) whether the second leads back from the first: its own inverse, and that of relations that say the same."""
    ids = np.array([relation.id for relation in relations])
    relation_E = np.searchsorted(ids, rows_E4[:, 1])
    salt = np.random.default_rng(0).integers(1, 2**62, size=2, dtype=np.int64) | 1
    digests: dict[tuple[int, int], list[int]] = defaultdict(list)
    for inverse, (start, end) in enumerate(((0, 2), (2, 0))):
        mixed_E = (rows_E4[:, start] * salt[0] + (rows_E4[:, end] + 1) * salt[1]).view(np.uint64)
        mixed_E = (mixed_E ^ (mixed_E >> np.uint64(29))) * np.uint64(salt[1])
        total_R = np.zeros(len(relations), dtype=np.uint64)
        np.add.at(total_R, relation_E, mixed_E)
        for place, count in enumerate(np.bincount(relation_E, minlength=len(relations)).tolist()):
            digests[int(total_R[place]), count].append(2 * place + inverse)
    back_CC = np.zeros((2 * len(relations), 2 * len(relations)), dtype=bool)
    for code in range(2 * len(relations)):
        back_CC[code, code ^ 1] = True
    for (_, count), codes in digests.items():
        for code in codes if count else ():
            back_CC[code, [each ^ 1 for each in codes]] = True
    return back_CC


def _together(relations: list[Relation], rows_E4: NDArray[np.int64]) -> NDArray[np.float32]:
    """(C, C) share of the entities with one hop that also have another."""
    hops = 2 * len(relations)
    if not len(rows_E4):
        return np.zeros((hops, hops), dtype=np.float32)
    ids = np.array([relation.id for relation in relations])
    relation_E = np.searchsorted(ids, rows_E4[:, 1])
    entity_E = np.concatenate((rows_E4[:, 0], rows_E4[:, 2]))
    pairs = np.unique(entity_E * hops + np.concatenate((2 * relation_E, 2 * relation_E + 1)))
    has_VC = csr_array(
        (np.ones(len(pairs), dtype=np.float32), (pairs // hops, pairs % hops)), shape=(int(entity_E.max()) + 1, hops)
    )
    both_CC = (has_VC.T @ has_VC).toarray()
    share_CC: NDArray[np.float32] = both_CC / np.maximum(both_CC.diagonal()[:, None], 1.0)
    return share_CC


def _single(relations: list[Relation], rows_E4: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C,) share of the entities a hop starts from that it leads to one thing only; 0 where few or none do."""
    ids = np.array([relation.id for relation in relations])
    share_C = np.zeros(2 * len(relations))
    relation_E = np.searchsorted(ids, rows_E4[:, 1])
    for inverse, column in ((0, 0), (1, 2)):
        entities = int(rows_E4[:, column].max(initial=0)) + 1
        pairs, counts = np.unique(relation_E * entities + rows_E4[:, column], return_counts=True)
        starts_R = np.bincount(pairs // entities, minlength=len(relations))
        single_R = np.bincount(pairs // entities, weights=counts == 1, minlength=len(relations))
        share_C[inverse::2] = np.where(starts_R >= FEW, single_R / np.maximum(starts_R, 1), 0.0)
    return share_C


def _mutual(relations: list[Relation], rows_E4: NDArray[np.int64]) -> NDArray[np.float64]:
    """(C,) share of each relation's statements that have their reverse beside them."""
    ids = np.array([relation.id for relation in relations])
    relation_E = np.searchsorted(ids, rows_E4[:, 1])
    entities = int(rows_E4[:, (0, 2)].max(initial=0)) + 1
    there_E, back_E = ((relation_E * entities + rows_E4[:, a]) * entities + rows_E4[:, b] for a, b in ((0, 2), (2, 0)))
    said_R = np.bincount(relation_E, minlength=len(relations))
    both_R = np.bincount(relation_E, weights=np.isin(there_E, back_E), minlength=len(relations))
    return np.repeat(both_R / np.maximum(said_R, 1), 2)


def kind_of(word: str) -> int | None:
    """Index in KINDS of what a question word or general noun (stemmed) asks for."""
    kind = load_lexicon().kind_of.get(stem(word))
    return None if kind is None else KINDS.index(kind)
