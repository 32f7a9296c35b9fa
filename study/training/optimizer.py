"""What one optimiser step is made of: the optimiser and its learning rate, the loss, the precision, the average."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from xraytransfer.study.training.presets import BFLOAT16_FAMILIES, Preset

__all__ = ["learning_rate", "make_optimizer", "masked_loss", "resolve_precision", "update_average"]


def make_optimizer(network: nn.Module, preset: Preset) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay applies only to parameters of two dimensions or more."""
    kernels = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": kernels, "weight_decay": preset.weight_decay}, {"params": others, "weight_decay": 0.0}]
    kind = torch.optim.Adam if preset.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, lr=preset.learning_rate, betas=(0.9, 0.999), weight_decay=0.0)


def learning_rate(preset: Preset, step: int, steps: int) -> float:
    """Return the learning rate of a step, 0 to steps - 1."""
    warm = preset.warmup * steps
    if step < warm:
        return preset.learning_rate * (step + 1) / (warm + 1)
    if preset.schedule == "constant":
        return preset.learning_rate
    return preset.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))


def masked_loss(logits: Tensor, target: Tensor, positive_weight: Tensor | None, trimming: float = 0.0) -> Tensor:
    """Return the mean binary cross-entropy of the targets that are not NaN; 0 if all are NaN.

    Parameters
    ----------
    logits, target : Tensor
        Shape (films, outputs).
    positive_weight : Tensor or None
        Shape (outputs,): factor of the loss of positives; None for 1.
    trimming : float
        In [0, 1): of the targets that are not NaN, at most this share does not count: those of the highest loss, as
        the weights make it. Of equal losses the first go. They get no gradient. A loss that is not finite makes the
        mean so too, whether it is trimmed or not.
    """
    counted = ~target.isnan()
    each = functional.binary_cross_entropy_with_logits(
        logits.float(), torch.where(counted, target, 0.0), reduction="none", pos_weight=positive_weight
    )
    if trimming:
        counted &= ~_highest(each, counted, trimming)
    return (each * counted).sum() / counted.sum().clamp(min=1)


def _highest(loss: Tensor, known: Tensor, share: float) -> Tensor:
    """Return which known losses are the highest, at most `share` of them: bool, in the shape of `loss`."""
    order = torch.where(known, loss, -torch.inf).flatten().argsort(stable=True, descending=True)
    # counted on the device: the CPU need not wait for the GPU
    first = torch.arange(len(order), device=loss.device) < (share * known.sum().double()).floor()
    return torch.empty_like(first).scatter_(0, order, first).view_as(known)


def resolve_precision(preset: Preset, family: str, device: torch.device) -> torch.dtype:
    """Return the floating point type of autocast; float32 means that there is no autocast.

    On a GPU, ``auto`` is bfloat16, or float16 if the GPU is too old for bfloat16. On a CPU, ``auto`` is bfloat16
    only if the processor has instructions for it and the family consists of full convolutions: bfloat16 makes
    depthwise convolutions slower.
    """
    if preset.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[preset.precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    flags = Path("/proc/cpuinfo")
    native = flags.is_file() and any(word in flags.read_text() for word in ("avx512_bf16", "amx_bf16", " bf16 "))
    return torch.bfloat16 if native and family in BFLOAT16_FAMILIES else torch.float32


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average's weights and statistics towards the network's; in early steps the decay is smaller."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
