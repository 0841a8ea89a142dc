"""Which triples a step learns from, with which negatives: a pure function of the seed, the epoch and the step.

So there is nothing to save of a sampler, and training that stops anywhere goes on as if it had not. Random numbers are
drawn on the CPU whatever the device.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from groundzero.graph.embed.config import EmbedConfig
from groundzero.graph.embed.splits import Splits


@dataclass(frozen=True)
class Batch:
    """Questions with their answers."""

    anchor_B: Tensor
    relation_B: Tensor
    """Rows of the relation table."""
    backward_B: Tensor | None
    """True where the subject is asked for; None where no question does."""
    answer_B: Tensor
    """One answer each; empty where every entity is scored."""
    negatives: Tensor | None
    """(B, K), or (K,) shared; None where every entity is scored."""
    answers_of: tuple[Tensor, Tensor] | None = None
    """Where every entity is scored: (position in the batch, answer) of every answer."""

    @property
    def triples(self) -> int:
        """How many training triples the batch holds."""
        return len(self.answer_B) if self.answers_of is None else len(self.answers_of[0])

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        if device.type == "cpu":
            return self

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return Batch(
            self.anchor_B.to(device),
            self.relation_B.to(device),
            move(self.backward_B),
            self.answer_B.to(device),
            move(self.negatives),
            None if self.answers_of is None else (self.answers_of[0].to(device), self.answers_of[1].to(device)),
        )


class TripleBatches:
    """Batches of triples with sampled negatives: a triple asks one question, for its object or for its subject.

    With reciprocal relations each triple is there twice, once each way. Without, each draws a side anew every epoch:
    at even odds, or with Bernoulli's, in favour of the side with more answers.
    """

    def __init__(self, config: EmbedConfig, splits: Splits) -> None:
        self.config, self.n_entities = config, splits.n_entities
        subject, relation, object_ = (torch.from_numpy(splits.train[:, i].copy()) for i in range(3))
        self._subject_share = torch.from_numpy(_subject_share(splits)) if config.sampler == "bernoulli" else None
        if config.reciprocal:
            self.anchor = torch.cat([subject, object_])
            self.relation = torch.cat([relation, relation + splits.n_relations])
            self.answer = torch.cat([object_, subject])
        else:
            self.anchor, self.relation, self.answer = subject, relation, object_

    @property
    def triples_per_epoch(self) -> int:
        return len(self.anchor)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.anchor) // self.config.batch_size)

    def epoch(self, number: int) -> Tensor:
        """The order of an epoch."""
        return torch.randperm(len(self.anchor), generator=generator_for(self.config.seed, number, "order"))

    def batch(self, epoch: int, step: int, order: Tensor) -> Batch:
        """Batch `step` of `epoch`."""
        config = self.config
        rows = order[step * config.batch_size : (step + 1) * config.batch_size]
        generator = generator_for(config.seed, epoch, f"batch {step}")
        anchor_B, relation_B, answer_B = self.anchor[rows], self.relation[rows], self.answer[rows]
        backward_B = None
        if not config.reciprocal:
            share = 0.5 if self._subject_share is None else self._subject_share[relation_B]
            backward_B = torch.rand(len(rows), generator=generator) < share
            anchor_B, answer_B = (
                torch.where(backward_B, answer_B, anchor_B),
                torch.where(backward_B, anchor_B, answer_B),
            )
        shape = (config.negatives,) if config.sampler == "shared" else (len(rows), config.negatives)
        negatives = torch.randint(self.n_entities, shape, generator=generator)
        return Batch(anchor_B, relation_B, backward_B, answer_B, negatives)


class QuestionBatches:
    """Batches of distinct questions with all their answers, for scoring against every entity.

    Triples that ask the same are one row of the score matrix, and their losses add up: FB15k-237's 544,230 questions
    are 149,689 distinct ones, so an epoch costs 3.6 times less and its gradient is the same.
    """

    def __init__(self, config: EmbedConfig, splits: Splits) -> None:
        self.config, self.n_entities = config, splits.n_entities
        n = splits.n_relations
        subject, relation, object_ = splits.train.T
        anchor = np.concatenate([subject, object_])
        way = np.concatenate([relation, relation + n])
        answer = np.concatenate([object_, subject])
        key = np.unique((anchor * 2 * n + way) * splits.n_entities + answer)
        question, self._answer = np.divmod(key, splits.n_entities)
        distinct, self._first = np.unique(question, return_index=True)
        self._end = np.append(self._first[1:], len(key))
        self._anchor, way = np.divmod(distinct, 2 * n)
        self._backward = None if config.reciprocal else torch.from_numpy(way >= n)
        self._relation = way if config.reciprocal else way % n

    @property
    def triples_per_epoch(self) -> int:
        return len(self._answer)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._anchor) // self.config.batch_size)

    def epoch(self, number: int) -> Tensor:
        """The order of an epoch."""
        return torch.randperm(len(self._anchor), generator=generator_for(self.config.seed, number, "order"))

    def batch(self, epoch: int, step: int, order: Tensor) -> Batch:
        """Batch `step` of `epoch`."""
        rows = order[step * self.config.batch_size : (step + 1) * self.config.batch_size].numpy()
        first, counts = self._first[rows], self._end[rows] - self._first[rows]
        position = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
        answers = self._answer[np.repeat(first, counts) + within]
        return Batch(
            torch.from_numpy(self._anchor[rows]),
            torch.from_numpy(self._relation[rows]),
            None if self._backward is None else self._backward[rows],
            torch.empty(0, dtype=torch.int64),
            None,
            (torch.from_numpy(position), torch.from_numpy(answers)),
        )


def make_batches(config: EmbedConfig, splits: Splits) -> TripleBatches | QuestionBatches:
    """Batches as the sampler wants them."""
    return QuestionBatches(config, splits) if config.sampler == "all" else TripleBatches(config, splits)


def _subject_share(splits: Splits) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Per relation, how often to corrupt the subject: objects per subject over that plus subjects per object."""
    n = splits.n_relations
    triples = np.unique(splits.train, axis=0)
    uses = np.bincount(triples[:, 1], minlength=n)
    subjects = np.bincount(np.unique(triples[:, :2], axis=0)[:, 1], minlength=n)
    objects = np.bincount(np.unique(triples[:, 1:], axis=0)[:, 0], minlength=n)
    objects_per_subject = uses / np.maximum(subjects, 1)
    subjects_per_object = uses / np.maximum(objects, 1)
    share = objects_per_subject / np.maximum(objects_per_subject + subjects_per_object, 1e-9)
    share = np.concatenate([share, share])  # rows of the way back, where relations are reciprocal
    return share.astype(np.float32)


def generator_for(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """Random numbers for one purpose, the same whenever and wherever they are asked for."""
    digest = hashlib.blake2b(f"{seed} {epoch} {purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
