"""What is kept of a training: vectors, who they belong to, how sure to be, and how good they were.

    embedding.json        settings, transaction, thresholds, calibration, figures (sealed by its own hash)
    vectors.safetensors   entities, relations, and the graph's ids of their rows

A prediction is no fact: it carries a probability, and nothing here writes to a graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from groundzero.errors import FormatError, InputError
from groundzero.graph.embed.answers import AnswerCurves
from groundzero.graph.embed.calibration import Platt
from groundzero.graph.embed.classification import Scores, Thresholds, score_triples
from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.models import make_model
from groundzero.graph.embed.ranking import question_vectors
from groundzero.graph.embed.splits import Ids
from groundzero.graph.nouns import EntityId, RelationId, Transaction
from groundzero.graph.store import Reader
from groundzero.run.files import read_sealed, sha256_of, storage_errors, write_atomic, write_sealed

SCHEMA_VERSION = 1
_FILE, _VECTORS = "embedding.json", "vectors.safetensors"
_WITNESSES, _ALIKE = 64, 0.9
"""Entities that tell one graph from another, and the share of them that must have their keys."""


@dataclass(frozen=True)
class Prediction:
    """A candidate answer."""

    entity: EntityId
    score: float
    """As the model has it; comparable between answers to one question only."""
    probability: float
    """That it is an answer, if there is one, calibrated on held-out questions (`answers`). Where none were held out:
    that the statement is true, which is too sure of the best of many."""


@dataclass
class Embedding:
    """Vectors of a graph at one transaction. Ids are the graph's, not row numbers, in everything public."""

    config: EmbedConfig
    entities_ED: Tensor
    relations_RW: Tensor
    entity_ids: Ids
    """Graph id of each row; ascending but for rows added later."""
    relation_ids: Ids
    transaction: Transaction
    thresholds: Thresholds = field(default_factory=lambda: Thresholds({}, 0.0))
    """By row number of the relation."""
    platt: Platt = field(default_factory=lambda: Platt(0.0, 0.0))
    answers: AnswerCurves | None = None
    """How sure to be of predicted answers; None where nothing was held out to fit it on."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What training and evaluation measured: mrr, hits_at_10, loss, accuracy, seconds, ..."""
    witnesses: dict[EntityId, str] = field(default_factory=dict)
    """Keys of some entities, by which a graph is known again (`is_of`); none where no graph was embedded."""

    def __post_init__(self) -> None:
        self._entity_row = {int(entity): row for row, entity in enumerate(self.entity_ids)}
        self._relation_row = {int(relation): row for row, relation in enumerate(self.relation_ids)}
        assert len(self._entity_row) == len(self.entities_ED), "one vector for each entity"

    @property
    def n_entities(self) -> int:
        return len(self.entity_ids)

    def is_of(self, store: Reader) -> bool:
        """Whether the ids here are this graph's: it, a copy of it, or what has become of either by edits."""
        found = sum(_key(store, entity) == key for entity, key in self.witnesses.items())
        return found >= _ALIKE * len(self.witnesses)

    def has(self, entity: EntityId) -> bool:
        """Whether the entity has a vector."""
        return entity in self._entity_row

    def has_relation(self, relation: RelationId) -> bool:
        """Whether the relation has a vector."""
        return relation in self._relation_row

    def vector(self, entity: EntityId) -> Tensor:
        """vector_D of an entity.

        Raises:
            InputError: it has none.
        """
        return self.entities_ED[self.row_of(entity)]

    def relation_vector(self, relation: RelationId) -> Tensor:
        """The relation's row: D numbers, or D/2 angles for rotate."""
        return self.relations_RW[self.relation_row_of(relation)]

    def rows(self, triples: Ids) -> Ids:
        """Triples of graph ids as row numbers.

        Raises:
            InputError: an entity or relation has no vector.
        """
        return np.array(
            [(self.row_of(int(s)), self.relation_row_of(int(r)), self.row_of(int(o))) for s, r, o in triples[:, :3]],
            np.int64,
        ).reshape(-1, 3)

    def score(self, triples: Ids) -> Scores:
        """Scores_N of triples of graph ids."""
        return score_triples(self.config, self.entities_ED, self.relations_RW, self.rows(triples))

    def probability(self, triples: Ids) -> Scores:
        """How likely each triple is true, 0 to 1."""
        rows = self.rows(triples)
        scores = score_triples(self.config, self.entities_ED, self.relations_RW, rows)
        return self.platt.probability(scores - self.thresholds.of(rows[:, 1]))

    def is_true(self, triples: Ids) -> NDArray[np.bool_]:
        """Whether each triple's score reaches its relation's threshold."""
        rows = self.rows(triples)
        scores = score_triples(self.config, self.entities_ED, self.relations_RW, rows)
        return np.asarray(scores >= self.thresholds.of(rows[:, 1]))

    def predict(
        self,
        *,
        relation: RelationId,
        subject: EntityId | None = None,
        object: EntityId | None = None,
        limit: int = 10,
        exclude: Collection[EntityId] = (),
    ) -> list[Prediction]:
        """The most likely objects of a subject, or subjects of an object; give one of the two.

        Args:
            exclude: entities to leave out, such as the answers that the graph asserts.

        Raises:
            InputError: both ends or none are given, or something has no vector.
        """
        if (subject is None) == (object is None):
            raise InputError("A prediction needs a subject or an object, not both.", remedy="Give one of them.")
        anchor = subject if subject is not None else object
        assert anchor is not None
        backward = subject is None
        row, relation_row = self.row_of(anchor), self.relation_row_of(relation)
        score_E = self._scores(row, relation_row, backward=backward)
        left_out = [self._entity_row[entity] for entity in exclude if entity in self._entity_row]
        score_E[left_out] = float("-inf")
        top = torch.topk(score_E, min(limit, self.n_entities - len(set(left_out))))
        ends = [(int(row_), row) if backward else (row, int(row_)) for row_ in top.indices]
        triples = np.array([(s, relation_row, o) for s, o in ends], np.int64).reshape(-1, 3)
        if self.answers is not None:
            probability = self.answers.probability(score_E, top.indices, backward=backward)
        else:
            forward = score_triples(self.config, self.entities_ED, self.relations_RW, triples)
            probability = self.platt.probability(forward - self.thresholds.of(triples[:, 1]))
        return [
            Prediction(int(self.entity_ids[int(answer)]), float(score), float(p))
            for answer, score, p in zip(top.indices, top.values, probability, strict=True)
        ]

    def nearest(self, entity: EntityId, *, limit: int = 10) -> list[tuple[EntityId, float]]:
        """Entities whose vectors point the same way, with the cosine."""
        unit_ED = torch.nn.functional.normalize(self.entities_ED, dim=1)
        row = self.row_of(entity)
        cosine_E = unit_ED @ unit_ED[row]
        cosine_E[row] = -2.0
        top = torch.topk(cosine_E, min(limit, self.n_entities - 1))
        return [(int(self.entity_ids[int(i)]), float(c)) for i, c in zip(top.indices, top.values, strict=True)]

    def save(self, folder: Path) -> None:
        """Write both files, each at once, the sealed one last: a crash between leaves a pair that does not match.

        Raises:
            StorageError: the disk refused.
        """
        tensors = {
            "entities": self.entities_ED.detach().cpu().contiguous(),
            "relations": self.relations_RW.detach().cpu().contiguous(),
            "entity_ids": torch.from_numpy(self.entity_ids),
            "relation_ids": torch.from_numpy(self.relation_ids),
        }
        with storage_errors(f"save the embedding in {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / _VECTORS, save(tensors))
            write_sealed(
                folder / _FILE,
                {
                    "schema": SCHEMA_VERSION,
                    "config": self.config.model_dump(),
                    "transaction": self.transaction,
                    "thresholds": {str(key): value for key, value in self.thresholds.of_relation.items()},
                    "overall_threshold": self.thresholds.overall,
                    "platt": _numbers(self.platt),
                    "answers": self.answers and [_numbers(self.answers.objects), _numbers(self.answers.subjects)],
                    "figures": self.figures,
                    "witnesses": {str(entity): key for entity, key in self.witnesses.items()},
                    "vectors_sha256": sha256_of(folder / _VECTORS),
                },
            )

    @classmethod
    def load(cls, folder: Path) -> Embedding:
        """Read what `save` wrote.

        Raises:
            InputError: there is none.
            FormatError: it is damaged, or of another schema version.
        """
        content = read_sealed(folder / _FILE, reads=SCHEMA_VERSION, what="embedding")
        remedy = "Make it again with `gz graph embed`."
        try:
            raw = (folder / _VECTORS).read_bytes()
        except OSError as error:
            raise FormatError(f"Cannot read {folder / _VECTORS}: {error.strerror}.", remedy=remedy) from None
        if sha256_of(folder / _VECTORS) != content["vectors_sha256"]:
            raise FormatError(f"{folder / _VECTORS} does not belong to its {_FILE}.", remedy=remedy)
        try:
            tensors = load(raw)
            return cls._of(content, tensors)
        except (KeyError, TypeError, ValueError, AssertionError, SafetensorError) as error:
            raise FormatError(f"The embedding in {folder} does not read: {error}.", remedy=remedy) from None

    @classmethod
    def _of(cls, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Embedding:
        slope, offset = content["platt"]
        return cls(
            config=EmbedConfig.parse(content["config"]),
            entities_ED=tensors["entities"],
            relations_RW=tensors["relations"],
            entity_ids=tensors["entity_ids"].numpy(),
            relation_ids=tensors["relation_ids"].numpy(),
            transaction=content["transaction"],
            thresholds=Thresholds(
                {int(key): value for key, value in content["thresholds"].items()}, content["overall_threshold"]
            ),
            platt=Platt(slope, offset),
            answers=AnswerCurves(*(Platt(*each) for each in curves)) if (curves := content.get("answers")) else None,
            figures=content["figures"],
            witnesses={int(entity): key for entity, key in content.get("witnesses", {}).items()},
        )

    def _scores(self, row: int, relation_row: int, *, backward: bool) -> Tensor:
        model = make_model(self.config)
        query_1D = question_vectors(
            model, self.config, self.entities_ED, self.relations_RW,
            np.array([row]), np.array([relation_row]), backward=backward,
        )  # fmt: skip
        return model.comparison.matrix(query_1D, self.entities_ED)[0]

    def row_of(self, entity: EntityId) -> int:
        """The row of `entities_ED` that is this entity's."""
        try:
            return self._entity_row[entity]
        except KeyError:
            raise InputError(
                f"Entity {entity} has no vector.",
                remedy="It came after the embedding was made; run `gz graph embed`, or give it statements first.",
            ) from None

    def relation_row_of(self, relation: RelationId) -> int:
        """The row of `relations_RW` that is this relation's."""
        try:
            return self._relation_row[relation]
        except KeyError:
            raise InputError(
                f"Relation {relation} has no vector.", remedy="It is new or joins no entities; run `gz graph embed`."
            ) from None


def witnesses_of(store: Reader, entity_ids: Ids) -> dict[EntityId, str]:
    """Some entities, evenly spread, with their keys."""
    chosen = entity_ids[np.linspace(0, len(entity_ids) - 1, min(_WITNESSES, len(entity_ids)), dtype=np.int64)]
    return {int(entity): store.entity(int(entity)).key for entity in chosen}


def _key(store: Reader, entity: EntityId) -> str:
    try:
        return store.entity(entity).key
    except InputError:
        return ""


def _numbers(curve: Platt) -> list[float]:
    return [curve.slope, curve.offset]
