"""How big a model is, how much work a token costs and how much memory that takes, from the configuration alone.

Nothing here builds a weight or imports PyTorch, so `gz info` and `gz plan` answer at once for any size. Counts are
exact (the tests compare them with a built model, parameter by parameter); FLOPs follow the convention by which MFU is
reported everywhere, so that figures compare; memory is an estimate, and says of what.

Letters in formulas: V vocabulary, d `d_model`, L layers, H query heads, K key/value heads, h `head_dim`, f `d_ff`,
T context, B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from groundzero.model.config import GPTConfig

Precision = Literal["float32", "bfloat16", "float16"]
Optimizer = Literal["adamw", "muon", "sgd"]

LONGEST_EXPLICIT_ATTENTION = 1024
"""As `attention.EXPLICIT_UP_TO`, which comes with PyTorch: beyond it the T x T weights are never kept."""
BYTES_PER_ELEMENT: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class ParameterCount:
    """Learned numbers by the role that optimisers, sharding and quantisation select by."""

    embedding: int
    """Token table (V x d) and, where positions are learned, position table (T x d)."""
    matrix: int
    """Projections inside the blocks."""
    vector: int
    """Biases and the scales and shifts of norms."""
    head: int
    """Output layer, V x d; 0 when it is tied to the token table."""
    padding: int
    """Numbers in the rows that round the tables up to `vocab_multiple`; allocated, masked, not in `total`."""

    @property
    def total(self) -> int:
        """What the model learns: rows of the real vocabulary only."""
        return self.embedding + self.matrix + self.vector + self.head

    @property
    def allocated(self) -> int:
        """What the built model holds, padding included: the sum of `p.numel()`."""
        return self.total + self.padding

    @property
    def without_embedding(self) -> int:
        """The count that scaling laws use (Kaplan et al. 2020): no token or position table, no untied head."""
        return self.matrix + self.vector


def parameter_count(config: GPTConfig) -> ParameterCount:
    """Learned numbers of the model that `config` describes, without building it."""
    tables = 1 if config.tie_embeddings else 2
    positions = config.context * config.d_model if config.position == "learned" else 0
    return ParameterCount(
        embedding=config.vocab_size * config.d_model + positions,
        matrix=config.n_layer * _block_matrices(config),
        vector=config.n_layer * _block_vectors(config) + _norm(config),
        head=0 if config.tie_embeddings else config.vocab_size * config.d_model,
        padding=tables * (config.padded_vocab_size - config.vocab_size) * config.d_model,
    )


def flops_per_token(config: GPTConfig, context: int | None = None) -> int:
    """Floating-point operations to train on one token: forward and backward, in the convention of MFU.

    6 for every weight that a token is multiplied with (2 forward, 4 backward; the output layer counts whether tied or
    not, the embedding look-up does not) and 12 L H h T for attention, where T is what a token may look back on: the
    context or the window. As in PaLM (Chowdhery et al. 2022, appendix B), the causal mask is not credited.

    Args:
        context: tokens per sequence; the model's own when None.
    """
    tokens = context or config.context
    reach = min(tokens, config.window) if config.window else tokens
    multiplied = config.n_layer * _block_matrices(config) + config.vocab_size * config.d_model
    return 6 * multiplied + 12 * config.n_layer * config.n_head * config.head_dim * reach


def _block_matrices(config: GPTConfig) -> int:
    queries = config.n_head * config.head_dim
    keys_and_values = 2 * config.n_kv_head * config.head_dim
    attention = config.d_model * (queries + keys_and_values) + queries * config.d_model
    return attention + _feed_forward_matrices(config) * config.d_model * config.d_ff


def _block_vectors(config: GPTConfig) -> int:
    count = 2 * _norm(config)
    if config.qk_norm and config.norm_affine:
        count += 2 * config.head_dim  # RMSNorm whatever `norm` says; one scale for all heads
    if config.attention_bias:
        count += (config.n_head + 2 * config.n_kv_head) * config.head_dim + config.d_model
    if config.feed_forward_bias:
        count += (_feed_forward_matrices(config) - 1) * config.d_ff + config.d_model
    return count


def _norm(config: GPTConfig) -> int:
    if not config.norm_affine:
        return 0
    return config.d_model * (2 if config.norm == "layernorm" else 1)


def _feed_forward_matrices(config: GPTConfig) -> int:
    return 3 if config.activation == "swiglu" else 2


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that training takes, and what generating takes; an estimate for planning, not a promise."""

    weights: int
    """Parameters, kept in float32 for training."""
    gradients: int
    """One number per parameter, float32."""
    optimizer: int
    """Moments: two per parameter for AdamW; one per matrix and two per other parameter for Muon."""
    activations: int
    """What the forward pass keeps for the backward pass of one micro-batch, logits included."""
    kv_cache: int
    """Keys and values of `batch_size` full contexts; for generation, which needs nothing else but the weights."""

    @property
    def total(self) -> int:
        """Bytes for training."""
        return self.weights + self.gradients + self.optimizer + self.activations


def memory(
    config: GPTConfig,
    batch_size: int,
    *,
    context: int | None = None,
    precision: Precision = "float32",
    optimizer: Optimizer = "adamw",
    fused_kernels: bool = False,
) -> MemoryEstimate:
    """Memory of one training process, after Korthikanti et al. (2022), section 4, with this model's own layers.

    Args:
        batch_size: sequences in one micro-batch (not times `accumulate`, which costs no memory).
        context: tokens per sequence; the model's own when None.
        precision: of the computation; the weights that the optimiser owns stay in float32.
        fused_kernels: as on GPUs, where attention never writes its T x T weights down and a norm keeps its input
            alone. On CPUs short sequences are faster with the weights, and RMSNorm keeps what comes before its scale.
    """
    tokens = context or config.context
    count = parameter_count(config)
    element = BYTES_PER_ELEMENT[precision]
    activations = batch_size * tokens * _activation_bytes(config, tokens, element, fused_kernels)
    activations += _weight_copy_bytes(config, element)
    return MemoryEstimate(
        weights=4 * count.allocated,
        gradients=4 * count.allocated,
        optimizer=4 * _moments(count, optimizer),
        activations=activations,
        kv_cache=batch_size * tokens * 2 * config.n_layer * config.n_kv_head * config.head_dim * element,
    )


def _moments(count: ParameterCount, optimizer: Optimizer) -> int:
    if optimizer == "muon":
        return 2 * count.allocated - count.matrix
    return 2 * count.allocated if optimizer == "adamw" else 0


def _weight_copy_bytes(config: GPTConfig, element: int) -> int:
    """Copies of weights that the forward pass makes and the backward pass needs, whatever the batch.

    In half precision each matrix, and the output layer, is cast; in float32 those that share an input are joined.
    """
    blocks = 1 if config.checkpoint_activations else config.n_layer
    if element < 4:
        return element * (blocks * _block_matrices(config) + config.padded_vocab_size * config.d_model)
    joined = (config.n_head + 2 * config.n_kv_head) * config.head_dim
    joined += 2 * config.d_ff if config.activation == "swiglu" else 0
    return element * blocks * config.d_model * joined


def _activation_bytes(config: GPTConfig, tokens: int, element: int, fused_kernels: bool) -> int:
    """Bytes kept per token of the batch."""
    block = _block_activation_bytes(config, tokens, element, fused_kernels)
    if config.checkpoint_activations:  # each block keeps its input, and one at a time is recomputed in full
        blocks = config.n_layer * element * config.d_model + block
    else:
        blocks = config.n_layer * block
    norms = _norm_activation_bytes(config, config.d_model, element, fused_kernels)
    norms += element * config.d_model if config.norm_embeddings else 0
    dropout = element * config.d_model if config.dropout else 0
    logits = element * config.padded_vocab_size  # their gradient, made chunk by chunk in the forward pass
    return blocks + norms + dropout + logits


def _block_activation_bytes(config: GPTConfig, tokens: int, element: int, fused_kernels: bool) -> int:
    queries, keys = config.n_head * config.head_dim, config.n_kv_head * config.head_dim
    numbers = 2 * queries + 2 * keys  # queries, keys, values, and what they mix to
    numbers += (4 if config.activation == "swiglu" else 2) * config.d_ff
    if not fused_kernels and tokens <= LONGEST_EXPLICIT_ATTENTION:
        numbers += config.n_head * tokens * (3 if config.dropout else 1)  # weights; dropped weights, and the mask
    if config.dropout:
        numbers += 2 * config.d_model  # masks
    kept = element * numbers + 2 * _norm_activation_bytes(config, config.d_model, element, fused_kernels)
    if config.qk_norm and (fused_kernels or config.norm_affine or config.position == "rotary"):
        kept += element * (queries + keys)  # before scale and rotation; what comes out is counted above
    return kept


def _norm_activation_bytes(config: GPTConfig, width: int, element: int, fused_kernels: bool) -> int:
    """A norm's input and output; our RMSNorm keeps the normalised input in place of the input, and scales that."""
    apart = fused_kernels or config.norm == "layernorm" or config.norm_affine
    return (2 if apart else 1) * element * width
