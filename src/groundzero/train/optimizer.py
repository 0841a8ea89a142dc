"""Optimisers: AdamW for everything, or Muon for the matrices inside blocks and AdamW for the rest.

Shapes: P parameters of one shape stacked, R rows, C columns.

Parameters are chosen by role (see `GPT.roles`), never by name. State is a flat dictionary of tensors named after the
parameters, so that a checkpoint is plain safetensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from groundzero.errors import FormatError
from groundzero.model.gpt import GPT
from groundzero.train.config import TrainConfig

# Quintic iteration that pulls singular values towards 1 (Jordan et al. 2024, "Muon", the coefficients of the author).
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


def orthogonalize(matrices_PRC: Tensor, steps: int = _NEWTON_SCHULZ_STEPS) -> Tensor:
    """The nearest (semi-)orthogonal matrices, roughly: singular values end within about 0.7 to 1.2.

    Computed in the precision of the input; bfloat16 is enough, since the result is a direction.
    """
    a, b, c = _NEWTON_SCHULZ
    x_PRC = matrices_PRC.mT if matrices_PRC.shape[-2] > matrices_PRC.shape[-1] else matrices_PRC
    x_PRC = x_PRC / (x_PRC.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram_PRR = torch.bmm(x_PRC, x_PRC.mT)
        poly_PRR = torch.baddbmm(gram_PRR, gram_PRR, gram_PRR, beta=b, alpha=c)
        x_PRC = torch.baddbmm(x_PRC, poly_PRR, x_PRC, beta=a)
    return x_PRC.mT if matrices_PRC.shape[-2] > matrices_PRC.shape[-1] else x_PRC


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024): every direction of a matrix learns at the same rate.

    The update of an R x C matrix is scaled by sqrt(max(1, R / C)). Matrices of one shape are stacked and go through
    the iteration together, which is several times faster on small models than one at a time.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.compute_dtype = compute_dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(tuple(sorted(parameter.shape)), []).append(parameter)
            for same in by_shape.values():
                self._step_stack(same, group)

    def _step_stack(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Update matrices of one shape, lying or standing."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            buffers.append(state["momentum"])
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])  # Nesterov's look-ahead
        stands = [parameter.shape[0] > parameter.shape[1] for parameter in parameters]
        lying_PRC = torch.stack([matrix.mT if tall else matrix for matrix, tall in zip(ahead, stands, strict=True)])
        lying_PRC = orthogonalize(lying_PRC.to(self.compute_dtype or lying_PRC.dtype)).to(lying_PRC.dtype)
        if group["weight_decay"]:
            decayed: list[Tensor] = list(parameters)
            torch._foreach_mul_(decayed, 1 - group["lr"] * group["weight_decay"])
        for parameter, direction_RC, tall in zip(parameters, lying_PRC.unbind(), stands, strict=True):
            scale = (parameter.shape[0] / parameter.shape[1]) ** 0.5 if tall else 1.0
            parameter.add_(direction_RC.mT if tall else direction_RC, alpha=-group["lr"] * scale)


class Optimizers:
    """The optimisers of a model behind one face: set the rate, step, and save or restore by parameter name."""

    def __init__(self, model: GPT, config: TrainConfig) -> None:
        roles = model.roles()
        named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        muon = [name for name in named if config.optimizer == "muon" and roles[name] == "matrix"]
        rest = [name for name in named if name not in set(muon)]
        decayed = [named[name] for name in rest if roles[name] != "vector"]
        plain = [named[name] for name in rest if roles[name] == "vector"]
        self.named = named
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
                lr=config.learning_rate,
                betas=(config.beta1, config.beta2),
                eps=config.epsilon,
                fused=_has_fused_adamw(model.device),
            )
        ]
        if muon:
            self.optimizers.append(
                Muon(
                    [named[name] for name in muon],
                    lr=config.muon_learning_rate,
                    momentum=config.muon_momentum,
                    weight_decay=config.weight_decay,
                    compute_dtype=model.compute_dtype,
                )
            )
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]

    def set_factor(self, factor: float) -> None:
        """Set every rate to `factor` of its peak."""
        for optimizer, peaks in zip(self.optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor

    def step(self) -> None:
        """Update the weights from their gradients and forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """All state as `<parameter>/<what>`, for safetensors."""
        names = {id(parameter): name for name, parameter in self.named.items()}
        return {
            f"{names[id(parameter)]}/{key}": value.detach()
            for optimizer in self.optimizers
            for parameter, state in optimizer.state.items()
            for key, value in state.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` returned.

        Raises:
            FormatError: it belongs to other parameters.
        """
        by_parameter: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, _, what = key.rpartition("/")
            by_parameter.setdefault(name, {})[what] = tensor
        unknown = set(by_parameter) - set(self.named)
        if unknown:
            raise FormatError(
                f"The optimiser state holds {sorted(unknown)[0]!r}, which this model has not.",
                remedy="Resume with the configuration the run was started with.",
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    name = next(name for name, other in self.named.items() if other is parameter)
                    state = by_parameter.get(name, {})
                    optimizer.state[parameter] = {
                        what: tensor.to(parameter.device) if tensor.dim() else tensor for what, tensor in state.items()
                    }


def _has_fused_adamw(device: torch.device) -> bool:
    """Whether PyTorch has a fused AdamW for this kind of device."""
    return device.type in {"cpu", "cuda", "mps", "xpu"}
