"""Bugs in how the twin learns and is kept: optimisers, adapters, batches, quantisation, tokens."""

from __future__ import annotations

from tests.mutation.bug import Bug

OPTIMIZER = "reference/optimizer.py"
ROLES = "reference/roles.py"

TRAINING_BUGS = (
    Bug(
        "AdamW: bias correction missing",
        OPTIMIZER,
        "work *= self.learning_rate / (1 - beta1**t)",
        "work *= self.learning_rate",
    ),
    Bug(
        "AdamW: square's correction without its root",
        OPTIMIZER,
        "work /= math.sqrt(1 - beta2**t)",
        "work /= 1 - beta2**t",
    ),
    Bug(
        "AdamW: decay not times the rate",
        OPTIMIZER,
        "weight *= 1 - self.learning_rate * self.weight_decay",
        "weight *= 1 - self.weight_decay",
    ),
    Bug("Muon: no look-ahead", OPTIMIZER, "np.add(gradient, work, out=out)", "np.copyto(out, momentum)"),
    Bug(
        "Muon: scale upside down",
        OPTIMIZER,
        "math.sqrt(max(1.0, rows / columns))",
        "math.sqrt(max(1.0, columns / rows))",
    ),
    Bug(
        "Muon: two digits of a coefficient swapped", OPTIMIZER, "(3.4445, -4.7750, 2.0315)", "(3.4445, -4.7570, 2.0315)"
    ),
    Bug(
        "clipping: squared length",
        OPTIMIZER,
        "length = math.sqrt(sum(float(np.vdot(gradient, gradient)) for gradient in gradients))",
        "length = sum(float(np.vdot(gradient, gradient)) for gradient in gradients)",
    ),
    Bug(
        "schedule: warm-up starts at zero",
        OPTIMIZER,
        "return (step + 1) / (warmup_steps + 1)",
        "return step / (warmup_steps + 1)",
    ),
    Bug(
        "roles: decay on vectors",
        ROLES,
        "AdamW(plain, rate, betas=betas, epsilon=epsilon)",
        "AdamW(plain, rate, betas=betas, epsilon=epsilon, weight_decay=decay)",
    ),
    Bug(
        "roles: the embedding goes to Muon",
        ROLES,
        'config.optimizer == "muon" and role[n] == "matrix"',
        'config.optimizer == "muon" and role[n] in {"matrix", "embedding"}',
    ),
    Bug(
        "LoRA: scale missing on the way back",
        "reference/lora.py",
        "d_low_Nr = self.scale * (rows_NO @ self.lora_b.value)",
        "d_low_Nr = rows_NO @ self.lora_b.value",
    ),
    Bug(
        "LoRA: merged twice when asked twice",
        "reference/lora.py",
        "        if self.unmerged is None:\n            self.unmerged",
        "        if True:\n            self.unmerged",
    ),
    Bug(
        "LoRA: unmerged by subtraction",
        "reference/lora.py",
        "self.weight.value[...] = self.unmerged",
        "self.weight.value -= self.scale * (self.lora_b.value @ self.lora_a.value)",
    ),
    Bug(
        "loop: dropout the same at every step",
        "reference/training.py",
        "np.random.default_rng((seed, step))",
        "np.random.default_rng((seed, 0))",
    ),
    Bug(
        "evaluation: short batches weigh as full ones",
        "reference/training.py",
        "loss_sum += float(surprise_N.sum())",
        "loss_sum += float(surprise_N.mean()) * targets_BT.size",
    ),
    Bug(
        "batches: labels are the inputs",
        "reference/utils.py",
        "return window_BT1[:, :-1], window_BT1[:, 1:]",
        "return window_BT1[:, :-1], window_BT1[:, :-1]",
    ),
    Bug(
        "quantised layer: zero points forgotten",
        "reference/quantize.py",
        "        sum_KNO -= x_KNS.sum(axis=2, keepdims=True) * zero_KO[:, None]\n",
        "",
    ),
    Bug(
        "int4: halves of a byte swapped",
        "reference/quantize.py",
        "nibbles[0::2] | (nibbles[1::2] << 4)",
        "nibbles[1::2] | (nibbles[0::2] << 4)",
    ),
    Bug(
        "BPE: counts of pairs that a merge breaks stay",
        "reference/tokenizer.py",
        "                pair_counts[old] -= counts[w]\n",
        "                pass\n",
    ),
)
