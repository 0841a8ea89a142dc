"""What a whole page suggests: for every common (relation, object), how much the page reads like those that have it.

Ridge regression on the words of the page, solved in its dual form: one system for all classes. It makes candidates that
no sentence names, and tells apart those that one does.

Shapes: D training pages, W word groups, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from groundzero.graph.nouns import EntityId, RelationId
from groundzero.ingest.facts import Facts
from groundzero.ingest.words import Sentence

Class = tuple[RelationId, EntityId]

_RIDGE = 0.3
_MIN_PAGES = 4  # pages a group of words must be on, and
_MIN_FACTS = 3  # facts a class must have
_REASONS = 40  # sentences among which a reason is looked for
_MAX_PAGES = 4000  # an inverse of this many rows takes 128 MB and some seconds


@dataclass(frozen=True)
class Words:
    """What the pages are compared by."""

    column: dict[str, int]
    weight_W: NDArray[np.float64]

    def row(self, groups: set[str]) -> sparse.csr_matrix:
        """A page as one row of unit length."""
        columns = sorted(self.column[group] for group in groups if group in self.column)
        values = self.weight_W[columns]
        length = np.sqrt((values**2).sum()) or 1.0
        return sparse.csr_matrix((values / length, ([0] * len(columns), columns)), shape=(1, len(self.column)))


class Topics:
    """A trained regression. `left_out` holds the training pages' scores, each from all other pages."""

    def __init__(self, known: Words, classes: list[Class], pages_DW: sparse.csr_matrix, dual_DC: NDArray[np.float32],
                 mean_C: NDArray[np.float32]) -> None:  # fmt: skip
        self.words, self.classes, self.pages_DW, self.dual_DC, self.mean_C = known, classes, pages_DW, dual_DC, mean_C
        self.index = {each: i for i, each in enumerate(classes)}

    @classmethod
    def train(
        cls,
        pages: Sequence[Sequence[Sentence]],
        subjects: Sequence[EntityId],
        kinds: Sequence[str],
        facts: Facts,
        folds: int,
    ) -> tuple[Topics, NDArray[np.float32]]:
        """The regression, and the (D, C) scores of its own pages by regressions without their fold (number % folds)."""
        pages, subjects = pages[:_MAX_PAGES], subjects[:_MAX_PAGES]
        groups = [word_groups(page, kind=kind) for page, kind in zip(pages, kinds, strict=False)]
        known = _vocabulary(groups)
        pages_dw = sparse.vstack([known.row(each) for each in groups], format="csr")
        counts = Counter(fact for subject in set(subjects) for fact in facts.by_subject.get(subject, ()))
        classes = sorted(each for each, count in counts.items() if count >= _MIN_FACTS)
        index = {each: i for i, each in enumerate(classes)}
        truth_dc = np.zeros((len(pages), len(classes)))
        for i, subject in enumerate(subjects):
            for fact in facts.by_subject.get(subject, ()):
                if fact in index:
                    truth_dc[i, index[fact]] = 1
        mean_c = truth_dc.mean(axis=0) if len(pages) else np.zeros(0)
        similarity_dd = (pages_dw @ pages_dw.T).toarray()
        dual_dc = _solve(similarity_dd, truth_dc - mean_c)
        unseen_dc = np.zeros_like(truth_dc)
        for fold in range(folds):
            inside = np.arange(len(pages)) % folds == fold
            if inside.any() and not inside.all():
                # Leaving out one page at a time would cost nothing, but what is left then gives the page's truth away:
                # of two pages alike in all else, the one that has the fact scores lower.
                mean = truth_dc[~inside].mean(axis=0)
                dual = _solve(similarity_dd[np.ix_(~inside, ~inside)], truth_dc[~inside] - mean)
                unseen_dc[inside] = similarity_dd[np.ix_(inside, ~inside)] @ dual + mean
        topics = cls(known, classes, pages_dw, dual_dc.astype(np.float32), mean_c.astype(np.float32))
        return topics, unseen_dc.astype(np.float32)

    def score(self, page: Sequence[Sentence], kind: str) -> NDArray[np.float32]:
        """A score for every class, about 0 to 1, of a page about something of this kind."""
        row = self.words.row(word_groups(page, kind=kind))
        similarity_d = np.asarray((self.pages_DW @ row.T).todense()).ravel()
        result: NDArray[np.float32] = (similarity_d @ self.dual_DC + self.mean_C).astype(np.float32)
        return result

    def reasons(self, page: Sequence[Sentence]) -> NDArray[np.float32]:
        """How much each sentence (of the first 40) speaks for each class, (S, C)."""
        rows = [self.words.row(word_groups([each], first=n == 0)) for n, each in enumerate(page[:_REASONS])]
        if not rows:
            return np.zeros((0, len(self.classes)), dtype=np.float32)
        size_s = np.sqrt(np.asarray([max(row.nnz, 1) for row in rows]))  # a word weighs as much in a long sentence
        similarity_sd = (sparse.vstack(rows, format="csr") @ self.pages_DW.T).toarray() * size_s[:, None]
        result: NDArray[np.float32] = (similarity_sd @ self.dual_DC).astype(np.float32)
        return result


def word_groups(page: Sequence[Sentence], *, kind: str = "", first: bool = True) -> set[str]:
    """Groups of one to three neighbouring words, those of the first sentence once more, marked; the subject's kind."""
    groups = {f"kind={kind}"}
    for number, sentence in enumerate(page):
        found = sentence.words
        for length in (1, 2, 3):
            for k in range(len(found) - length + 1):
                group = " ".join(found[k : k + length])
                groups.add(group)
                if number == 0 and first:
                    groups.add("^" + group)
    return groups


def _solve(similarity_DD: NDArray[np.float64], truth_DC: NDArray[np.float64]) -> NDArray[np.float64]:
    solved = np.linalg.solve(similarity_DD + _RIDGE * np.eye(len(similarity_DD)), truth_DC)
    return np.asarray(solved, dtype=np.float64)


def _vocabulary(groups: Sequence[set[str]]) -> Words:
    pages = Counter(group for each in groups for group in each)
    kept = sorted(group for group, count in pages.items() if count >= _MIN_PAGES)
    counts = np.asarray([pages[group] for group in kept], dtype=np.float64)
    weight = np.log(len(groups) / np.maximum(counts, 1.0)).astype(np.float64)
    return Words({group: i for i, group in enumerate(kept)}, weight)
