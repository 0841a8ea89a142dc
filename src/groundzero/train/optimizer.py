"""Optimisers: AdamW for everything, or Muon for the matrices inside blocks and AdamW for the rest.

Shapes: P parameters of one shape stacked, R rows, C columns.

Parameters are chosen by role (see `GPT.roles`), never by name. State is a flat dictionary of tensors named after the
parameters, so that a checkpoint is plain safetensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from groundzero.errors import FormatError
from groundzero.model.gpt import GPT
from groundzero.train.config import TrainConfig

# Quintic iteration that pulls singular values towards 1 (Jordan et al. 2024, "Muon", the coefficients of the author).
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5
# A shut gate starves what is behind it: at AdamW's own rate it stood at 0.02 after 600 steps of a toy that needs facts,
# and the loss where it began (2.50); with ten times the rate at 1.3, and 2.00.
GATE_RATE = 10.0


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


class Optimizer(ABC):
    """Groups of parameters with their settings, and the state of each parameter.

    Ours and not `torch.optim.Optimizer`, whose construction imports the whole of TorchDynamo: a second of every start.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        self.param_groups = [group for group in groups if group["params"]]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        with torch.no_grad():
            for group in self.param_groups:
                parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
                if parameters:
                    self._step_group(parameters, group)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @abstractmethod
    def _step_group(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None: ...


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), in PyTorch's one fused kernel.

    Args:
        groups: dictionaries of params, lr and weight_decay.
        fused: take the fused kernel; else the same in a few passes, for devices without it.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float], eps: float, fused: bool = True
    ) -> None:
        super().__init__(groups)
        self.betas, self.eps, self.fused = betas, eps, fused

    def _step_group(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state.setdefault(parameter, {})
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        weights: list[Tensor] = list(parameters)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        means, squares = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
        counts = [s["step"] for s in states]
        (beta1, beta2), lr, decay = self.betas, group["lr"], group["weight_decay"]
        torch._foreach_add_(counts, 1)
        if self.fused:
            torch._fused_adamw_(
                weights,
                gradients,
                means,
                squares,
                [],
                counts,
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                weight_decay=decay,
                eps=self.eps,
                amsgrad=False,
                maximize=False,
            )
            return
        torch._foreach_mul_(weights, 1 - lr * decay)
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
        n_step = float(counts[0])
        roots = torch._foreach_div(torch._foreach_sqrt(squares), (1 - beta2**n_step) ** 0.5)
        torch._foreach_addcdiv_(
            weights, means, torch._foreach_add(list(roots), self.eps), value=-lr / (1 - beta1**n_step)
        )


class Muon(Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024): every direction of a matrix learns at the same rate.

    The update of an R x C matrix is scaled by sqrt(max(1, R / C)). Matrices of one shape, lying or standing, are
    stacked and go through the iteration together, which is several times faster on small models than one at a time.

    Args:
        groups: dictionaries of params, lr, momentum and weight_decay.
        compute_dtype: precision of the iteration; that of the gradients when None.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, compute_dtype: torch.dtype | None = None) -> None:
        super().__init__(groups)
        self.compute_dtype = compute_dtype

    def _step_group(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in parameters:
            by_shape.setdefault(tuple(sorted(parameter.shape)), []).append(parameter)
        for same in by_shape.values():
            self._step_stack(same, group)

    def _step_stack(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        """Update matrices of one shape, lying or standing."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = []
        for parameter in parameters:
            state = self.state.setdefault(parameter, {})
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
        vectors = {name for name in rest if roles[name] == "vector" or named[name].dim() < 2}  # knowledge has some, too
        decayed = [named[name] for name in rest if name not in vectors]
        gates = {name for name in rest if name.endswith(".knowledge_gate")}
        plain = [named[name] for name in rest if name in vectors - gates]
        self.named = named
        rate, decay = config.learning_rate, config.weight_decay
        self.optimizers: list[Optimizer] = [
            AdamW(
                [
                    {"params": decayed, "lr": rate, "weight_decay": decay},
                    {"params": plain, "lr": rate, "weight_decay": 0.0},
                    {
                        "params": [named[name] for name in rest if name in gates],
                        "lr": GATE_RATE * rate,
                        "weight_decay": 0.0,
                    },
                ],
                betas=(config.beta1, config.beta2),
                eps=config.epsilon,
                fused=_has_fused_adamw(model.device),
            )
        ]
        if muon:
            group = {
                "params": [named[name] for name in muon],
                "lr": config.muon_learning_rate,
                "momentum": config.muon_momentum,
                "weight_decay": decay,
            }
            self.optimizers.append(Muon([group], compute_dtype=model.compute_dtype))
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
            optimizer.zero_grad()

    def forget(self) -> None:
        """Drop all state, as if no step had been made."""
        for optimizer in self.optimizers:
            optimizer.state.clear()

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
                    if name in by_parameter:
                        state = by_parameter[name]
                        optimizer.state[parameter] = {
                            what: tensor.to(parameter.device) for what, tensor in state.items()
                        }


def _has_fused_adamw(device: torch.device) -> bool:
    """Whether PyTorch has a fused AdamW for this kind of device."""
    return device.type in {"cpu", "cuda", "mps", "xpu"}
