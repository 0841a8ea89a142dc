"""Bugs in the parts of the twin: activations, norms, positions, embeddings."""

from __future__ import annotations

from tests.mutation.bug import Bug

ACTIVATIONS = "reference/activations.py"
LAYERS = "reference/layers.py"

LAYER_BUGS = (
    Bug(
        "softmax backward: shares do not compete", ACTIVATIONS, "d_x -= y * d_x.sum(axis=-1, keepdims=True)", "d_x -= 0"
    ),
    Bug(
        "softmax: the largest score is not taken off",
        ACTIVATIONS,
        "y = x - np.where(np.isfinite(largest), largest, 0.0)",
        "y = x - np.where(np.isfinite(largest), 0.0, 0.0)",
    ),
    Bug(
        "ReLU squared: slope without its 2", ACTIVATIONS, "d_y * (2.0 * np.maximum(x, 0.0))", "d_y * np.maximum(x, 0.0)"
    ),
    Bug("SiLU: slope of the sigmoid wrong", ACTIVATIONS, "s * (1.0 + x * (1.0 - s))", "s * (1.0 + x * s)"),
    Bug(
        "GELU: product rule half done",
        ACTIVATIONS,
        "d_y * (normal_below(x) + x * normal_density(x))",
        "d_y * normal_below(x)",
    ),
    Bug(
        "GELU in float32: tails swapped",
        ACTIVATIONS,
        "np.where(x < 0, tail, 1.0 - tail)",
        "np.where(x > 0, tail, 1.0 - tail)",
    ),
    Bug("GELU tanh: cubic's slope without its 3", ACTIVATIONS, "1.0 + 3.0 * _TANH_CUBIC", "1.0 + _TANH_CUBIC"),
    Bug(
        "Linear: d_W transposed the wrong way round",
        LAYERS,
        "self.weight.gradient += rows_NO.T @ x_NI.reshape(-1, x_NI.shape[-1])",
        "self.weight.gradient += (x_NI.reshape(-1, x_NI.shape[-1]).T @ rows_NO).reshape(self.weight.shape)",
    ),
    Bug(
        "Linear: bias gradient assigned, not added",
        LAYERS,
        "self.bias.gradient += rows_NO.sum(axis=0)",
        "self.bias.gradient = rows_NO.sum(axis=0)",
    ),
    Bug(
        "Embedding: a token that stands twice counts once",
        LAYERS,
        "self.weight.gradient[ids] += np.add.reduceat(rows_ND[order], starts, axis=0)",
        "self.weight.gradient[ids_N.reshape(-1)] += rows_ND",
    ),
    Bug(
        "Embedding: reduceat over rows that were not sorted",
        LAYERS,
        "np.add.reduceat(rows_ND[order], starts",
        "np.add.reduceat(rows_ND, starts",
    ),
    Bug(
        "LayerNorm backward: the mean's path is missing",
        LAYERS,
        "(d_y_ND - d_y_ND.mean(axis=-1, keepdims=True) - y_ND * along_N1)",
        "(d_y_ND - y_ND * along_N1)",
    ),
    Bug(
        "LayerNorm: sample variance (n - 1)",
        LAYERS,
        "np.sqrt(np.square(centred_ND).mean(axis=-1, keepdims=True) + eps)",
        "np.sqrt(np.square(centred_ND).sum(axis=-1, keepdims=True) / max(1, x_ND.shape[-1] - 1) + eps)",
    ),
    Bug(
        "norms: gamma forgotten on the way back", LAYERS, "d_y_ND = d_y_ND * self.weight.value", "d_y_ND = d_y_ND * 1.0"
    ),
    Bug(
        "norms: gamma's gradient without the input", LAYERS, "_over_tokens(d_y_ND * normal_ND)", "_over_tokens(d_y_ND)"
    ),
    Bug(
        "RMSNorm: eps outside the root",
        LAYERS,
        "np.sqrt(np.square(x_ND).mean(axis=-1, keepdims=True) + eps)",
        "(np.sqrt(np.square(x_ND).mean(axis=-1, keepdims=True)) + eps)",
    ),
    Bug("Dropout: survivors not enlarged", LAYERS, ".astype(x.dtype) / keep", ".astype(x.dtype)"),
    Bug("Dropout: the silenced get a gradient", LAYERS, "d_y if self.memory is None else d_y * self.memory", "d_y"),
    Bug(
        "sinusoids: sines and cosines swapped",
        LAYERS,
        "table_TD[:, 0::2] = np.sin(angle_TD)",
        "table_TD[:, 0::2] = np.cos(angle_TD)",
    ),
    Bug("rotary: wrong sign in one half", LAYERS, "b_NTR * cos_TR + a_NTR * sin_TR", "b_NTR * cos_TR - a_NTR * sin_TR"),
    Bug(
        "rotary backward: turns on, not back",
        LAYERS,
        "rotate(d_y_NTR, cos_TR, -sin_TR)",
        "rotate(d_y_NTR, cos_TR, sin_TR)",
    ),
    Bug(
        "linear stretching: the wrong way",
        LAYERS,
        "frequency_R / scaling.factor, 1.0",
        "frequency_R * scaling.factor, 1.0",
    ),
    Bug("YaRN: ramp flipped", LAYERS, "keep_R = 1.0 - np.clip(", "keep_R = np.clip("),
    Bug("YaRN: attention not sharpened", LAYERS, "0.1 * math.log(scaling.factor) + 1.0", "1.0"),
)
