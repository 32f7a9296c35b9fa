"""The loss: binary cross-entropy over what is not masked."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["masked_loss"]


def masked_loss(logits: Tensor, target: Tensor, positive_weight: Tensor | None) -> Tensor:
    """Return binary cross-entropy, the mean over what is not masked (NaN)."""
    known = ~target.isnan()
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(known, target, 0.0), reduction="none", pos_weight=positive_weight
    )
    return (each * known).sum() / known.sum().clamp(min=1)
