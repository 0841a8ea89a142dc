"""How a graph is embedded. Loads without PyTorch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from groundzero.settings import Settings

ModelName = Literal["transe", "distmult", "complex", "rotate"]
LossName = Literal["softmax", "margin", "self_adversarial"]
SamplerName = Literal["auto", "all", "uniform", "bernoulli", "shared"]
OptimizerName = Literal["adagrad", "rowwise_adagrad", "adam", "rowwise_adam", "sgd"]

EXHAUSTIVE_ENTITIES = 30_000
"""Up to here a step against every entity, which costs in proportion to them, pays: on FB15k-237 (14,541) TransE
reached a validation MRR of .308 in 4 epochs and .325 in 8; the published recipe has .319 after 400."""
SHARED_NEGATIVES = 1024


class EmbedConfig(Settings):
    """Settings of one training. A step is one batch; an epoch is one pass over the training triples."""

    model: ModelName = "transe"
    """transe (Bordes et al. 2013), distmult (Yang et al. 2015), complex (Trouillon et al. 2016), rotate (Sun et al.
    2019)."""
    norm: Literal[1, 2] = 2
    """transe: distances are sums of absolute values (1) or Euclidean (2)."""
    dim: int = Field(256, ge=2)
    """Real numbers per entity; complex and rotate use half as many complex ones."""
    reciprocal: bool = True
    """A second vector per relation for the way back, so that only objects are ever predicted (Lacroix et al. 2018)."""
    loss: LossName = "softmax"
    """softmax (the true answer against its negatives), margin (hinge), or self_adversarial (Sun et al. 2019)."""
    margin: float = Field(1.0, ge=0)
    """margin: the gap asked for; self_adversarial: the score at which a triple is as likely true as not, negated."""
    temperature: float = Field(1.0, ge=0)
    """self_adversarial: how much the hard negatives weigh more; 0 weighs all alike."""
    negatives: int = Field(64, gt=0)
    """Negatives per positive; of the whole batch where the sampler is shared. Not used by sampler all."""
    sampler: SamplerName = "auto"
    """all (every entity is scored: exact softmax), uniform, bernoulli (which side is corrupted depends on the relation,
    Wang et al. 2014), or shared (the batch has one set of negatives, scored as one matrix product). auto is all for a
    softmax over up to 30,000 entities and at least 1,024 shared ones over more; uniform for other losses."""
    batch_size: int = Field(512, gt=0)
    """Training triples in a step; questions, that is pairs of entity and relation, where the sampler is all."""
    epochs: int = Field(100, gt=0)
    """Longest training."""
    optimizer: OptimizerName = "adagrad"
    """All touch only the rows used. adagrad keeps one number per weight, adam two; the row-wise ones keep mean squares
    once per row, which is less to read and write."""
    learning_rate: float = Field(0.1, gt=0)
    """Rate before the plateau schedule lowers it."""
    regularization: float = Field(0.0, ge=0)
    """Weight of the N3 penalty on the vectors used, the mean of sums of cubed absolute values (Lacroix et al. 2018)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of each question's numbers zeroed while training."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """sampler all: share of the target spread over all entities."""
    question_weight: float = Field(1.0, ge=0, le=1)
    """sampler all: a question with c answers counts c to this power: 1 is once for every triple, 0 is once in all."""
    unit_entities: bool = False
    """Keep every entity's vector at length 1, as in Bordes et al. 2013."""
    init: Literal["xavier", "uniform", "normal"] = "xavier"
    """Initial vectors: xavier (normal, deviation sqrt(2 / (rows + dim))), or uniform or normal of width init_scale."""
    init_scale: float = Field(0.1, gt=0)
    """Half width of uniform, deviation of normal; in the units of the vectors."""
    evaluate_every: int = Field(5, ge=0)
    """Epochs between evaluations on the validation split; 0 evaluates at the end only."""
    evaluate_triples: int = Field(0, ge=0)
    """Validation triples looked at, the first of a fixed shuffle; 0 is as many as make 3e8 scores, and 500 at least."""
    patience: int = Field(5, ge=0)
    """Evaluations without a better MRR after which training stops; 0 never stops early. The best vectors are kept."""
    plateau_factor: float = Field(0.95, gt=0, le=1)
    """The rate is multiplied by this when the MRR has not improved for `plateau_patience` evaluations."""
    plateau_patience: int = Field(1, ge=0)
    """Evaluations without a better MRR before the rate falls."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """sampler all: what the two large matrix products run in; vectors and sums stay float32."""
    memory_mb: int = Field(256, gt=0)
    """Bound on the score matrix of an evaluation, in MiB; one row of scores is always allowed."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, xpu or auto."""
    seed: int = Field(1, ge=0)
    """Of initial vectors, order and negatives."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model in ("complex", "rotate") and self.dim % 2:
            raise ValueError(f"dim is {self.dim}, and {self.model} needs an even number")
        if self.sampler == "all" and self.loss != "softmax":
            raise ValueError(f"sampler is all, and loss {self.loss} needs sampled negatives")
        if self.sampler == "bernoulli" and self.reciprocal:
            raise ValueError("sampler is bernoulli, which chooses a side, and reciprocal leaves only one")
        return self

    def resolved(self, n_entities: int) -> EmbedConfig:
        """The same with `auto` decided for a graph of that size."""
        if self.sampler != "auto":
            return self
        if self.loss != "softmax":
            return self.replace(sampler="uniform")
        if n_entities <= EXHAUSTIVE_ENTITIES:
            return self.replace(sampler="all")
        return self.replace(sampler="shared", negatives=max(self.negatives, SHARED_NEGATIVES))
