"""The first convolution of a network of ImageNet's, folded so that it takes one grey channel.

Conventions
-----------
ImageNet's networks take three channels, which would all hold the same picture, so the first convolution is folded
into one channel. The fold is exact, also at the zero-padded border, where folding the mean and standard deviation of
the picture into the weights would be wrong. Where mean or standard deviation differ between the three channels, a
second, constant channel carries the difference.
"""

from __future__ import annotations

import torch
from torch import nn

from xraytransfer.study.networks.architectures import Architecture

__all__ = ["first_convolution", "fold_channels"]


def first_convolution(module: nn.Module) -> nn.Conv2d:
    """Return the first convolution that is applied to the picture."""
    return next(child for child in module.modules() if isinstance(child, nn.Conv2d))


@torch.no_grad()
def fold_channels(conv: nn.Conv2d, architecture: Architecture, mean: float, std: float) -> bool:
    """Fold a convolution of three equal channels into one; return whether it also needs a constant channel.

    With x the picture in [0, 1], ImageNet's channel c is (x - mean_c) / std_c. Ours is g = (x - mean) / std, so
    channel c is g std / std_c + (mean - mean_c) / std_c: a multiple of g plus a constant. Both are zero where the
    picture is padded, so the fold holds at the border too.
    """
    weight = conv.weight.detach()
    scale = weight.new_tensor([std / s for s in architecture.std])[None, :, None, None]
    shift = weight.new_tensor([(mean - m) / s for m, s in zip(architecture.mean, architecture.std, strict=True)])
    folded = [(weight * scale).sum(1, keepdim=True)]
    constant = bool(shift.abs().max() > 1e-9)
    if constant:
        folded.append((weight * shift[None, :, None, None]).sum(1, keepdim=True))
    conv.weight = nn.Parameter(torch.cat(folded, dim=1).contiguous())
    conv.in_channels = len(folded)
    return constant
