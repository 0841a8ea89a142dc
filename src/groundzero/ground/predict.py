"""Answers that the graph does not give and an embedding foretells: status *predicted*, never cited as fact.

Only a refusal for want of one statement, whose relation and entity are understood, is filled in; and only where the
best candidate is likely enough. How likely is calibrated on questions held out from the embedding's training, which
all had an answer: that there is one at all, nobody says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import Field

from groundzero.errors import InputError
from groundzero.graph.embed.embedding import Embedding
from groundzero.graph.embed.embedding import Prediction as Foretold
from groundzero.graph.graph import Graph
from groundzero.graph.nouns import EntityId, RelationId
from groundzero.ground.answer import Answer, Candidate
from groundzero.ground.facts import LiveFacts
from groundzero.ground.query import Branch, Query, Step
from groundzero.ground.wording import predicted_text
from groundzero.settings import Settings


class PredictConfig(Settings):
    """When to predict."""

    threshold: float = Field(default=0.5, ge=0, le=1)
    """Least probability of the best candidate, 0 to 1; below it the refusal stands."""
    candidates: int = Field(default=10, ge=1)
    """Candidates that are reported."""


class Predictor:
    """Fills in what a graph does not say.

    Args:
        embedding: of this graph (`gz graph embed`), or its folder.

    Raises:
        InputError: there is no embedding, it is of another graph, or it cannot say how sure to be.
        FormatError: it is damaged.
    """

    def __init__(self, graph: Graph, embedding: Embedding | Path | str, config: PredictConfig | None = None) -> None:
        self.graph = graph
        self.config = config or PredictConfig()
        self.embedding = embedding if isinstance(embedding, Embedding) else Embedding.load(Path(embedding))
        if self.embedding.answers is None:
            raise InputError(
                "The embedding cannot say how likely its answers are.",
                remedy="Make it again with `gz graph embed`, over a graph large enough to hold statements out.",
            )
        made = self.embedding.transaction
        if not self.embedding.is_of(graph.store):
            raise InputError(
                f"The embedding is of another graph than {graph.location}.",
                remedy="Give the folder that `gz graph embed` made from this graph.",
            )
        if made > graph.store.transaction():
            raise InputError(
                f"The embedding is of transaction {made}, which {graph.location} has not reached.",
                remedy="Give the folder that `gz graph embed` made from this graph.",
            )

    @property
    def behind(self) -> int:
        """Transactions that the graph has and the embedding has not seen."""
        return self.graph.transaction - self.embedding.transaction

    def fill_in(self, answer: Answer) -> Answer:
        """A prediction in place of a refusal, or the answer as it is."""
        missing = answer.missing
        if answer.status != "unknown" or missing is None or not missing.whole or missing.relation is None:
            return answer
        (entity,) = missing.entities
        found = self._foretold(entity, missing.relation, inverse=missing.inverse)
        if not found or found[0].probability < self.config.threshold:
            return answer
        facts = LiveFacts(self.graph)
        at = self.graph.transaction if self.graph.store.capabilities.as_of else None
        relation = self.graph.relation(missing.relation)
        query = Query(Branch(self.graph.entity(entity).key, (Step(relation.key, missing.inverse),)))
        candidates = tuple(Candidate(self.graph.label(each.entity), each.probability) for each in found)
        return replace(
            answer,
            text=predicted_text(query, candidates[0].entity, candidates[0].score, facts, at),
            status="predicted",
            reason="",
            probability=candidates[0].score,
            query=query,
            candidates=candidates,
        )

    def _foretold(self, entity: EntityId, relation: RelationId, *, inverse: bool) -> list[Foretold]:
        """Candidates, the likeliest first: no known facts, not the entity itself, nothing that has left the graph."""
        embedding = self.embedding
        if not embedding.has(entity) or not embedding.has_relation(relation):
            return []
        left_out = {entity, *self.graph.neighbours(entity, relation, inverse=inverse).entity_N.tolist()}
        ends = {"object" if inverse else "subject": entity}
        while True:
            found = embedding.predict(relation=relation, limit=self.config.candidates, exclude=left_out, **ends)
            gone = [each.entity for each in found if not self._is_here(each.entity)]
            if not gone:
                return found
            left_out.update(gone)

    def _is_here(self, entity: EntityId) -> bool:
        """Whether the graph still says anything that joins this entity to another."""
        return any(len(self.graph.neighbours(entity, inverse=inverse).entity_N) for inverse in (False, True))
