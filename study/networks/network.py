"""The network that is trained: grey stem, stages of a timm model, pooling, linear head.

Conventions
-----------
The input is one grey channel, 0 to 255, at the model's resolution; normalisation is a part of the network. The module
`grey_stem` says how the first convolution takes it.

The module `stages` defines what a stage is, and what truncation removes with it. The remaining weights are unchanged.

References
----------
Ke et al., CheXtransfer, arXiv:2101.06871 (truncation: final blocks replaced by global average pooling
and a linear layer). Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from xraytransfer.errors import StudyError
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.networks.grey_stem import first_convolution, fold_channels
from xraytransfer.study.networks.stages import stages
from xraytransfer.study.networks.weights import find_weights, hub_weights, read_weights

__all__ = ["MAX_TRUNCATION", "Network", "build_network", "cut_network"]

MAX_TRUNCATION = 4
"""The largest number of stages that may be removed, as in the paper."""


class Network(nn.Module):
    """A network from grey levels to logits, made by `build_network`.

    Parameters
    ----------
    features : nn.Sequential
        The stages that remain.
    hidden : nn.Sequential or None
        MobileNetV3's layer between pooling and head, on maps of one pixel; None in other networks.
    channels : int
        Number of channels that reach the head.
    outputs : int
        Number of observations.
    mean, std : float
        Normalisation of grey in [0, 1].
    constant_channel : bool
        Whether the first convolution takes a second channel of ones.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Sequential,
        *,
        hidden: nn.Sequential | None,
        channels: int,
        outputs: int,
        mean: float,
        std: float,
        constant_channel: bool,
    ) -> None:
        super().__init__()
        self.features = features
        self.hidden = hidden
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(channels, outputs)
        self.constant_channel = constant_channel
        self.register_buffer("mean", torch.tensor(255.0 * mean))
        self.register_buffer("std", torch.tensor(255.0 * std))

    def feature_map(self, x: Tensor) -> Tensor:
        """Return the output of the last stage: float32 [n, channels, h, w]."""
        x = (x.float() - self.mean) / self.std
        if self.constant_channel:
            x = torch.cat([x, torch.ones_like(x)], dim=1)
        features: Tensor = self.features(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, float32 [n, outputs].

        Parameters
        ----------
        x : Tensor
            float32 or uint8 [n, 1, height, width], grey levels 0 to 255, at the model's resolution.
        """
        pooled = self.feature_map(x).mean(dim=(2, 3), keepdim=True)
        if self.hidden is not None:
            pooled = self.hidden(pooled)
        logits: Tensor = self.head(self.dropout(pooled.flatten(1)))
        return logits

    def forward_with_map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the class activation map.

        Parameters
        ----------
        x : Tensor
            As `forward`.

        Returns
        -------
        logits : Tensor
            float32 [n, outputs]: what `forward` returns.
        activation_map : Tensor
            float32 [n, outputs, h, w], the contribution of each position to the logit before the bias.
            Where the head is linear, its mean over the positions plus the bias is exactly the logit. MobileNetV3's
            hidden layer is not linear. There, hidden layer and head are applied at each position: the map shows
            where the network looks, but its mean is not the logit.
        """
        features = self.feature_map(x)
        pooled = features.mean(dim=(2, 3), keepdim=True)
        if self.hidden is not None:
            pooled, features = self.hidden(pooled), self.hidden(features)
        logits = self.head(self.dropout(pooled.flatten(1)))
        weight = self.head.weight[:, :, None, None]
        return logits, nn.functional.conv2d(features, weight)

    def parameter_count(self) -> int:
        """Return the number of trainable parameters, the first convolution counted with three channels.

        This is the paper's convention: the network as it came from ImageNet, with its classifier replaced by a
        linear head of as many outputs as are trained.
        """
        stem = first_convolution(self.features)
        folded = stem.weight.shape[1]
        per_channel = stem.weight.numel() // folded
        return sum(p.numel() for p in self.parameters()) + (3 - folded) * per_channel


def build_network(
    architecture: Architecture,
    *,
    outputs: int = 6,
    truncation: int = 0,
    initialisation: str = "pretrained",
    weights: Path | None = None,
) -> Network:
    """Build a network with pretrained or random stages and a random head.

    Parameters
    ----------
    architecture : Architecture
        The row of the table.
    outputs : int
        Number of observations trained.
    truncation : int
        Final stages removed, 0 to `MAX_TRUNCATION`.
    initialisation : str
        ``pretrained`` or ``random``. Random weights come from torch's global generator, which the caller seeds.
    weights : Path or None
        A safetensors file, or a folder of them; None loads from timm's hub. Not used for ``random``.

    Raises
    ------
    StudyError
        If the truncation is out of range, the initialisation unknown, or the weights do not fit.
    """
    if initialisation not in ("pretrained", "random"):
        raise StudyError(f"initialisation {initialisation!r} is neither pretrained nor random")
    if outputs < 1:
        raise StudyError(f"a network needs at least one output, found {outputs}")
    model = _empty_model(architecture)
    if architecture.variant == "stride_in_first":
        _move_strides(model)
    if initialisation == "pretrained":
        _load(model, architecture, weights)
    return cut_network(model, architecture, outputs=outputs, truncation=truncation)


def _empty_model(architecture: Architecture) -> nn.Module:
    """Return timm's model with random weights; StudyError if timm has none of that name."""
    try:
        model: nn.Module = timm.create_model(architecture.timm.split(".")[0], pretrained=False, num_classes=0)
    except (RuntimeError, ValueError) as error:
        raise StudyError(f"{architecture.name}: timm has no model {architecture.timm!r}: {error}") from error
    return model


def _stages_of(
    model: nn.Module, architecture: Architecture, truncation: int
) -> tuple[list[list[tuple[str, nn.Module]]], list[tuple[str, nn.Module]]]:
    """Return stages and tail of a model, as `stages.stages`, if so many of them can be removed."""
    try:
        whole, tail = stages(model, architecture.body)
    except StudyError as error:
        raise StudyError(f"architecture {architecture.name}: {error}") from error
    most = min(MAX_TRUNCATION, len(whole) - 1)
    if not 0 <= truncation <= most:
        raise StudyError(f"{architecture.name}: {truncation} stages cannot be removed; 0 to {most} can")
    return whole, tail


def check_body(architecture: Architecture, truncation: int) -> None:
    """Check that a network can be made from its row, without memory for its weights.

    Raises
    ------
    StudyError
        If timm has no such model, its body is another than the row says, or the truncation is out of range.
    """
    with torch.device("meta"):
        model = _empty_model(architecture)
        if architecture.variant == "stride_in_first":
            _move_strides(model)
    _stages_of(model, architecture, truncation)


def cut_network(model: nn.Module, architecture: Architecture, *, outputs: int, truncation: int) -> Network:
    """Make a network of the first stages of a timm model.

    The network takes over the modules of the model, and folds the first convolution in place.

    Raises
    ------
    StudyError
        If the truncation is out of range.
    """
    whole, tail = _stages_of(model, architecture, truncation)
    parts = [part for stage in whole[: len(whole) - truncation] for part in stage]
    hidden = None
    if truncation == 0:
        parts += tail
        if architecture.body == "mobilenetv3":
            child = dict(model.named_children())
            hidden = nn.Sequential(child["conv_head"], child["norm_head"], child["act2"])
    features = nn.Sequential()
    for name, module in parts:
        features.add_module(name, module)
    mean, std = sum(architecture.mean) / 3, sum(architecture.std) / 3
    constant = fold_channels(first_convolution(features), architecture, mean, std)
    channels = _channels(features, hidden, 1 + constant)
    return Network(
        features,
        hidden=hidden,
        channels=channels,
        outputs=outputs,
        mean=mean,
        std=std,
        constant_channel=constant,
    )


def _move_strides(model: nn.Module) -> None:
    """Move the stride of each bottleneck to its first convolution, as in ResNet v1."""
    for name in ("layer2", "layer3", "layer4"):
        first = next(model.get_submodule(name).children())
        conv1, conv2 = first.get_submodule("conv1"), first.get_submodule("conv2")
        if isinstance(conv1, nn.Conv2d) and isinstance(conv2, nn.Conv2d):
            conv1.stride, conv2.stride = (2, 2), (1, 1)


def _load(model: nn.Module, architecture: Architecture, weights: Path | None) -> None:
    """Load pretrained weights into a timm model, or raise `StudyError` if they do not fit."""
    if weights is None:
        state, where = hub_weights(architecture), architecture.timm
    else:
        path = find_weights(architecture, weights) if weights.is_dir() else weights
        if not path.is_file():
            raise StudyError(f"{path}: no such file or folder of weights")
        state, where = read_weights(architecture, path), str(path)
    expected: Mapping[str, Tensor] = model.state_dict()
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    shapes = [name for name in expected if name in state and state[name].shape != expected[name].shape]
    if missing or shapes:
        raise StudyError(
            f"{where}: not the weights of {architecture.timm}: {len(missing)} tensors missing"
            f" ({', '.join(missing[:3])}), {len(shapes)} of another shape ({', '.join(shapes[:3])})"
        )
    model.load_state_dict({name: state[name] for name in expected if name in state}, strict=False)


@torch.no_grad()
def _channels(features: nn.Sequential, hidden: nn.Sequential | None, inputs: int) -> int:
    """Return the number of channels that reach the head."""
    training = features.training
    features.eval()
    output = features(torch.zeros(1, inputs, 96, 96))
    features.train(training)
    if hidden is not None:
        output = hidden(output)
    return int(output.shape[1])
