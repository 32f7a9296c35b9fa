"""Augmentation of a whole batch on its device: geometry, grey levels, sharpness.

Films are never mirrored, because the heart is on the left. Sharpness is varied because films come from sources of
different sharpness, and a network could otherwise infer the label from the source.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from xraytransfer.study.training.presets import Preset

__all__ = ["augment"]

SOFTEST = 2.5
"""Greatest factor by which a film is scaled down and up again: 320 to 128 pixels, or 160 to 64."""
SOFT_GROUPS = 4
"""Number of groups of a batch; the films of a group share one factor."""


def augment(x: Tensor, preset: Preset, generator: torch.Generator) -> Tensor:
    """Return a changed copy of a batch.

    Parameters
    ----------
    x : Tensor
        float32 [n, 1, h, w], grey levels 0 to 255.
    preset : Preset
        Its settings say which changes are made, and how strong they are.
    generator : torch.Generator
        A generator on the CPU, seeded for the step, so that the same step always makes the same changes.

    Returns
    -------
    Tensor
        float32, same shape and range.
    """
    n = x.shape[0]

    def draw(*shape: int) -> Tensor:
        """Return uniform numbers in [-1, 1]."""
        return torch.rand(*shape, generator=generator) * 2 - 1

    # every number but those of noise is always drawn, so that switching one change off does not alter the others
    turn, zoom, move = draw(n), draw(n), draw(n, 2)
    bright, contrast, gamma = draw(n), draw(n), draw(n)
    soft, order = torch.rand(SOFT_GROUPS, generator=generator), torch.randperm(n, generator=generator)
    box = torch.rand(n, 5, generator=generator)
    flat, ends = torch.rand(n, 2, generator=generator), torch.rand(n, 2, generator=generator)

    if preset.rotation or preset.scale or preset.shift:
        angle = turn * math.radians(preset.rotation)
        size = 1 + zoom * preset.scale
        cosine, sine = angle.cos() * size, angle.sin() * size
        # two rows of an affine matrix for each film; coordinates run from -1 to 1, hence twice the shift
        theta = torch.stack([cosine, -sine, 2 * preset.shift * move[:, 0], sine, cosine, 2 * preset.shift * move[:, 1]])
        grid = functional.affine_grid(theta.T.reshape(n, 2, 3).to(x.device), list(x.shape), align_corners=False)
        x = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    if preset.soften:
        x = _soften(x, preset.soften, soft, order)
    if preset.equalise:
        # half of the chosen films are equalised wholly, the others by a random amount
        amount = (2 * flat[:, 1]).clamp(max=1) * (flat[:, 0] < preset.equalise)
        x = x + amount.to(x.device)[:, None, None, None] * (_equalised(x) - x)
    if preset.levels:
        black, white = (255 * preset.levels * end.to(x.device)[:, None, None, None] for end in ends.T)
        x = (255 * (x - black) / (255 - black - white)).clamp(0, 255)
    if preset.brightness or preset.contrast or preset.gamma:
        exponent = (gamma * preset.gamma).exp().to(x.device)[:, None, None, None]
        factor = (1 + contrast * preset.contrast).to(x.device)[:, None, None, None]
        offset = (bright * preset.brightness * 255).to(x.device)[:, None, None, None]
        x = 255 * (x / 255).clamp(0, 1).pow(exponent)
        x = ((x - 127.5) * factor + 127.5 + offset).clamp(0, 255)
    if preset.erase:
        x = _erase(x, preset.erase, box)
    if preset.noise:
        # drawn last, and only here: a number for each pixel is not free, and nothing is drawn after it
        deviation = 255 * preset.noise * torch.rand(n, 1, 1, 1, generator=generator)
        x = (x + (deviation * torch.randn(x.shape, generator=generator)).to(x.device)).clamp(0, 255)
    return x


def _soften(x: Tensor, share: float, amount: Tensor, order: Tensor) -> Tensor:
    n, _, height, width = x.shape
    chosen = order[: round(share * n)]
    softened = x.clone()
    for group, value in zip(chosen.chunk(SOFT_GROUPS), amount.tolist(), strict=False):
        factor = 1 + value * (SOFTEST - 1)
        small = (max(8, round(height / factor)), max(8, round(width / factor)))
        index = group.to(x.device)
        down = functional.interpolate(x[index], small, mode="bilinear", antialias=True, align_corners=False)
        softened[index] = functional.interpolate(down, (height, width), mode="bilinear", align_corners=False)
    return softened


def _equalised(x: Tensor) -> Tensor:
    """Return each film with an equalised histogram, as `xraytransfer.reading.intensity` computes it."""
    n = x.shape[0]
    level = x.round().long().flatten(1)
    first = 256 * torch.arange(n, device=x.device)[:, None]
    count = torch.bincount((level + first).flatten(), minlength=256 * n).view(n, 256)
    below = count.cumsum(1)
    darkest = count.gather(1, level.amin(1, keepdim=True))
    # a film of one grey level stays as it is
    spread = 255 * (below - darkest) / (level.shape[1] - darkest).clamp(min=1)
    return torch.where(darkest < level.shape[1], spread.gather(1, level), level.float()).view_as(x)


def _erase(x: Tensor, share: float, box: Tensor) -> Tensor:
    _, _, height, width = x.shape
    box = box.to(x.device)
    # each side of the rectangle is a tenth to a third of the side of the film
    rows, columns = (0.1 + 0.23 * box[:, 1]) * height, (0.1 + 0.23 * box[:, 2]) * width
    top, left = box[:, 3] * (height - rows), box[:, 4] * (width - columns)
    y = torch.arange(height, device=x.device)[None, :, None]
    z = torch.arange(width, device=x.device)[None, None, :]
    inside = (y >= top[:, None, None]) & (y < (top + rows)[:, None, None])
    inside = inside & (z >= left[:, None, None]) & (z < (left + columns)[:, None, None])
    inside &= (box[:, 0] < share)[:, None, None]
    return x.masked_fill(inside[:, None], 127.5)
