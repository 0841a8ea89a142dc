"""Bugs in the product itself, which the twin is there to notice."""

from __future__ import annotations

from tests.mutation.bug import Bug

PYTORCH_BUGS = (
    Bug(
        "PyTorch, RMSNorm backward: projection missing",
        "model/fused.py",
        "torch.addcmul(dy_ND, y_ND, along_N1, value=-1).mul_(inverse_N1)",
        "dy_ND * inverse_N1",
    ),
    Bug(
        "PyTorch, rotary backward: turns on, not back",
        "model/fused.py",
        "add_(_swap_halves(dy_BHTR * sin))",
        "add_(_swap_halves(dy_BHTR) * sin)",
    ),
    Bug(
        "PyTorch, ReLU squared: slope without its 2",
        "model/fused.py",
        "torch.mul(dy_NF, positive_NF).mul_(2)",
        "torch.mul(dy_NF, positive_NF)",
    ),
    Bug(
        "PyTorch, attention: window one too wide",
        "model/attention.py",
        "key_S > query - window",
        "key_S >= query - window",
    ),
    Bug(
        "PyTorch, attention: scale of the whole width",
        "model/attention.py",
        "scale = head_dim**-0.5",
        "scale = (n_head * head_dim) ** -0.5",
    ),
    Bug(
        "PyTorch, attention: heads of a group interleaved",
        "model/attention.py",
        "stacked_TS = bias.repeat(group, 1)",
        "stacked_TS = bias.repeat_interleave(group, 0)",
    ),
    Bug(
        "PyTorch, islands: the mainland goes on behind all of them",
        "model/islands.py",
        "start += max(lengths.values(), default=0)",
        "start += sum(lengths.values())",
    ),
    Bug(
        "PyTorch, QK-norm: keys take the queries' scale",
        "model/attention.py",
        "rms_norm(k_BKSE, self.key_norm,",
        "rms_norm(k_BKSE, self.query_norm,",
    ),
    Bug(
        "PyTorch, YaRN: ramp flipped",
        "model/layers.py",
        "keep_R = 1.0 - ramp_R.clamp(0.0, 1.0)",
        "keep_R = ramp_R.clamp(0.0, 1.0)",
    ),
    Bug(
        "PyTorch, SwiGLU: the wrong factor bent",
        "model/layers.py",
        "F.silu(gate_BTF) * up_BTF",
        "gate_BTF * F.silu(up_BTF)",
    ),
    Bug(
        "PyTorch, loss: soft-cap's slope missing", "model/loss.py", "grad_CV *= 1 - chunk.squashed_CV.square()", "pass"
    ),
    Bug(
        "PyTorch, loss: padding takes probability", "model/loss.py", 'logits_CV[:, vocab_size:] = float("-inf")', "pass"
    ),
    Bug(
        "PyTorch, model: embeddings scaled by D, not its root",
        "model/gpt.py",
        "x_BTD = x_BTD * math.sqrt(config.d_model)",
        "x_BTD = x_BTD * config.d_model",
    ),
    Bug(
        "PyTorch, cache: the next piece overwrites the last token",
        "model/cache.py",
        "return slice(self.longest, self.longest + n_new)",
        "return slice(max(0, self.longest - 1), max(0, self.longest - 1) + n_new)",
    ),
    Bug(
        "PyTorch, Muon: tall matrices not scaled",
        "train/optimizer.py",
        "(parameter.shape[0] / parameter.shape[1]) ** 0.5 if tall else 1.0",
        "1.0",
    ),
    Bug("PyTorch, AdamW: decay on vectors", "train/optimizer.py", '"weight_decay": 0.0}', '"weight_decay": decay}'),
    Bug(
        "PyTorch, schedule: warm-up starts at zero",
        "train/schedule.py",
        "return (step + 1) / (config.warmup_steps + 1)",
        "return step / (config.warmup_steps + 1)",
    ),
    Bug(
        "PyTorch, top-p: the token that crosses the border goes",
        "generate/sampling.py",
        "probs_BK.cumsum(-1) - probs_BK < rows",
        "probs_BK.cumsum(-1) < rows",
    ),
)
