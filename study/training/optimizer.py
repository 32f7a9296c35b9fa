"""The optimiser: its groups, its learning rate at each step, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from xraytransfer.study.training.presets import Preset

__all__ = ["learning_rate", "make_optimizer", "update_average"]


def make_optimizer(network: nn.Module, preset: Preset) -> torch.optim.Optimizer:
    """Return the optimiser; weight decay only where a parameter has two dimensions or more."""
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


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average's weights and statistics towards the network's. Early on faster."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
