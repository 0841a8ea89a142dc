"""Further inputs of a request: checked, padded and masked in batches, and fingerprinted for caches.

Shapes: B rows, N items of the longest row (facts, say), d width of an item.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groundzero.errors import InputError

NO_SIDE_INPUTS = b""


class SideInput(NamedTuple):
    """One named input of a batch, as the model's forward gets it."""

    values_BNd: Tensor
    """Zero where there is no item."""
    mask_BN: Tensor
    """Bool, true where there is an item; a row without any is false throughout."""


def check_side_inputs(side_inputs: Mapping[str, Tensor] | None, names: Sequence[str]) -> None:
    """
    Raises:
        InputError: a name the model does not take, or a tensor that is not (N, d).
    """
    for name, value in (side_inputs or {}).items():
        if name not in names:
            known = f"It takes: {', '.join(names)}." if names else "Use a model with knowledge layers."
            raise InputError(f"This model takes no side input {name!r}.", remedy=known)
        if value.dim() != 2:
            raise InputError(
                f"Side input {name!r} has shape {tuple(value.shape)}.", remedy="Give a tensor of shape (items, width)."
            )


def pad_side_inputs(
    batch: Sequence[Mapping[str, Tensor] | None], device: torch.device | str
) -> dict[str, SideInput] | None:
    """Ragged inputs of several requests as padded tensors; None when no request has any."""
    names = sorted({name for side_inputs in batch for name in side_inputs or ()})
    return {name: _pad([(side_inputs or {}).get(name) for side_inputs in batch], device) for name in names} or None


def hash_side_inputs(side_inputs: Mapping[str, Tensor] | None) -> bytes:
    """A digest of names, shapes, types and values; equal for equal inputs only."""
    if not side_inputs:
        return NO_SIDE_INPUTS
    digest = hashlib.sha256()
    for name, value in sorted(side_inputs.items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _pad(values: Sequence[Tensor | None], device: torch.device | str) -> SideInput:
    present = [value for value in values if value is not None]
    longest, width = max(len(value) for value in present), present[0].shape[1]
    values_BNd = torch.zeros(len(values), longest, width, dtype=present[0].dtype, device=device)
    mask_BN = torch.zeros(len(values), longest, dtype=torch.bool, device=device)
    for row, value in enumerate(values):
        if value is not None:
            if value.shape[1] != width:
                raise InputError(
                    f"Side inputs of one batch have widths {width} and {value.shape[1]}.",
                    remedy="Give every request items of the width the model was built for.",
                )
            values_BNd[row, : len(value)] = value
            mask_BN[row, : len(value)] = True
    return SideInput(values_BNd, mask_BN)
