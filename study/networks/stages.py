"""The stages of a timm model: what truncation removes.

Conventions
-----------
A *stage* is the unit that truncation removes: a residual layer, a dense block with the transition before it, an
EfficientNet or MobileNet stage, or the Inception modules of one resolution. What follows the last stage (the 1 x 1
convolution before the pooling, the last normalisation) is removed with it. The remaining weights are unchanged.
"""

from __future__ import annotations

from torch import nn

from xraytransfer.errors import StudyError

__all__ = ["stages"]

_INCEPTION_V3 = (
    ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"),
    ("Pool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    ("Pool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
    ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)
# first module of each stage, and the one after its last: 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution
_INCEPTION_V4 = ((0, 3), (3, 4), (4, 10), (10, 18), (18, 22))


def stages(model: nn.Module, body: str) -> tuple[list[list[tuple[str, nn.Module]]], list[tuple[str, nn.Module]]]:
    """Cut a timm model into its stages and its tail.

    Parameters
    ----------
    model : nn.Module
        A model that timm made.
    body : str
        One of `architectures.BODIES`.

    Returns
    -------
    stages : list of lists of (name, module)
        In order; the first is the stem, which truncation never removes.
    tail : list of (name, module)
        The modules between the last stage and the pooling; the first truncation removes them.

    Raises
    ------
    StudyError
        If the body is unknown, or the model has not the parts of such a body.
    """
    try:
        return _stages(model, body)
    except KeyError as error:
        parts = ", ".join(name for name, _ in model.named_children())
        raise StudyError(
            f"timm's model has no part {error.args[0]!r}, so body {body!r} does not fit it; it has {parts}"
        ) from error


def _stages(model: nn.Module, body: str) -> tuple[list[list[tuple[str, nn.Module]]], list[tuple[str, nn.Module]]]:
    part = dict(model.named_children())
    if body == "resnet":
        stem = [(name, part[name]) for name in ("conv1", "bn1", "act1", "maxpool")]
        return [stem, *([(name, part[name])] for name in ("layer1", "layer2", "layer3", "layer4"))], []
    if body == "densenet":
        module = dict(part["features"].named_children())
        stem = [(name, module[name]) for name in module if name.endswith("0")]
        blocks = [[("denseblock1", module["denseblock1"])]]
        for index in (2, 3, 4):
            names = (f"transition{index - 1}", f"denseblock{index}")
            blocks.append([(name, module[name]) for name in names])
        return [stem, *blocks], [("norm5", module["norm5"])]
    if body in ("efficientnet", "mobilenetv3"):
        stem = [("conv_stem", part["conv_stem"]), ("bn1", part["bn1"])]
        blocks = [[(f"stage{index}", block)] for index, block in enumerate(part["blocks"].children())]
        tail = [] if body == "mobilenetv3" else [("conv_head", part["conv_head"]), ("bn2", part["bn2"])]
        return [stem, *blocks], tail
    if body == "inception_v3":
        return [[(name, part[name]) for name in names] for names in _INCEPTION_V3], []
    if body == "inception_v4":
        module = dict(part["features"].named_children())
        return [[(f"module{i}", module[str(i)]) for i in range(*bounds)] for bounds in _INCEPTION_V4], []
    raise StudyError(f"networks of body {body!r} cannot be cut into stages")
