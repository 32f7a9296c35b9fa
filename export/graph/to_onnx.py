"""The graph: several trained networks written as one ONNX graph that takes a radiograph of any size.

Conventions
-----------
A network is an ``nn.Module`` with ``forward_with_map``: float32 [n, 1, h, w], grey levels 0 to 255 at the
model's resolution, to logits [n, k] and class activation map [n, k, h', w'].

The graph::

    image -> resize (matrix products) -> pixels -> members -> Sigmoid -> member_probability
                                                     |                     `- mean -> calibration -> probability
                                                     `- maps -> mean -> activation_map

No ``Resize`` node stands in the graph: `xraytransfer.export.graph.resizing` says why and what is there instead.

The calibration is ``sigmoid(a * ln p - b * ln(1 - p) + c)`` for each observation, with p the members' mean
probability (beta calibration, Kull et al. 2017). ``a = b = 1, c = 0`` is no calibration, ``a = b`` Platt's on
the logit; a, b >= 0 keeps the order of films, and so every AUROC.

A member of a lower resolution than the file's takes ``pixels`` resized once more, by constant weights::

    pixels -> resize -> pixels_64x64 -> member

A quality gate (`xraytransfer.study.quality_gate.network`) takes the resized film, resized once more to its own side::

    pixels -> resize -> quality gate -> film_kind, film_distance, film_mirrored
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.calibration_numbers import CALIBRATION_INITIALISERS
from xraytransfer.export.graph.nodes import add_constant, add_node
from xraytransfer.export.graph.opset import lower_opset
from xraytransfer.export.graph.resizing import GATE_PIXELS, PIXELS, add_any_input, add_fixed_resize
from xraytransfer.export.graph.tracing import OPSET, structure, trace, with_weights
from xraytransfer.model_file import OUTPUTS
from xraytransfer.quality_gate import KINDS, MIRRORED_OUTPUT, QUALITY_GATE_OUTPUTS
from xraytransfer.study.quality_gate.network import QualityGateNetwork

__all__ = [
    "QUALITY_GATE_PREFIX",
    "build_graph",
    "inside_member",
    "member_prefix",
]

QUALITY_GATE_PREFIX = "judge/"
"""What the names of the quality gate's nodes and weights begin with; the same in every file since version 0.1."""

_MEMBER_NAME = re.compile(r"member\d+/")
_SMALLEST = np.float32(1e-7)  # 1 - 1e-7 is still below 1 in float32: logarithms stay finite


@dataclass(frozen=True)
class _Outputs:
    """Names and sizes of what one member adds to the graph."""

    logits: str
    activation_map: str
    observations: int
    size: tuple[int, int]


def build_graph(
    networks: Sequence[nn.Module],
    resolution: tuple[int, int],
    quality_gate: QualityGateNetwork | None = None,
    *,
    resolutions: Sequence[tuple[int, int]] | None = None,
) -> onnx.ModelProto:
    """Write networks as one ONNX model without metadata, in float32, with a calibration that changes nothing.

    Parameters
    ----------
    networks : sequence of nn.Module
        The members, in order, each with ``forward_with_map`` and the same number of outputs.
    resolution : tuple of int
        Rows and columns that every radiograph is resized to.
    quality_gate : QualityGateNetwork, optional
        Decides which films may be scored; none where absent.
    resolutions : sequence of tuple of int, optional
        Rows and columns that each member takes; `resolution` where absent.

    Returns
    -------
    onnx.ModelProto
        Inputs and outputs are those of the model file; the same networks give the same bytes.

    Raises
    ------
    ExportError
        No networks, or they differ in their number of outputs, or one cannot be traced.
    """
    if not networks:
        raise ExportError("an ensemble needs at least one network")
    traces: dict[tuple[str, tuple[int, int]], onnx.ModelProto] = {}
    sides = [resolution] * len(networks) if resolutions is None else list(resolutions)
    graph = helper.make_graph([], "xraytransfer", [], [])
    add_any_input(graph, resolution)
    pixels = {side: _member_pixels(graph, resolution, side) for side in dict.fromkeys(sides)}
    members = []
    for index, (network, side) in enumerate(zip(networks, sides, strict=True)):
        key = (structure(network), side)
        if key not in traces:
            traces[key] = trace(network, side)
        members.append(_append(graph, with_weights(traces[key], network), member_prefix(index), pixels[side]))
    outputs = {member.observations for member in members}
    if len(outputs) > 1:
        raise ExportError(f"members answer for different numbers of observations: {sorted(outputs)}")
    _back(graph, members)
    if quality_gate is not None:
        _add_quality_gate(graph, quality_gate, resolution)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="xraytransfer",
    )
    lower_opset(model)
    return model


def inside_member(name: str) -> bool:
    """Return whether a node or weight belongs to a member, by its name: ``member3/features/conv``."""
    return _MEMBER_NAME.match(name) is not None


def member_prefix(index: int) -> str:
    """Return what the names of a member's nodes and weights begin with."""
    return f"member{index}/"


def _member_pixels(graph: onnx.GraphProto, resolution: tuple[int, int], side: tuple[int, int]) -> str:
    """Return the name of the film at a member's resolution, and add its resize where that is not the file's."""
    if side == resolution:
        return PIXELS
    name = f"{PIXELS}_{side[0]}x{side[1]}"
    add_fixed_resize(graph, PIXELS, (resolution, side), name, rounded=True)
    return name


def _add_quality_gate(graph: onnx.GraphProto, gate: QualityGateNetwork, resolution: tuple[int, int]) -> None:
    """Add the quality gate and its outputs."""
    side = (gate.side, gate.side)
    add_fixed_resize(graph, PIXELS, (resolution, side), GATE_PIXELS, rounded=True)
    answers = _append_nodes(graph, with_weights(trace(gate, side), gate), QUALITY_GATE_PREFIX, GATE_PIXELS)
    shapes: tuple[list[str | int], ...] = (["batch", len(KINDS)], ["batch"], ["batch"])
    for name, answer, shape in zip((*QUALITY_GATE_OUTPUTS, MIRRORED_OUTPUT), answers, shapes, strict=True):
        add_node(graph, "Identity", [answer], name)
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _append(graph: onnx.GraphProto, member: onnx.ModelProto, prefix: str, pixels: str) -> _Outputs:
    """Add a member's weights and nodes under a prefix; return the names and sizes of its outputs."""
    logits, activation_map = _append_nodes(graph, member, prefix, pixels)
    sizes = [size.dim_value for size in member.graph.output[1].type.tensor_type.shape.dim]
    return _Outputs(logits, activation_map, sizes[1], (sizes[2], sizes[3]))


def _append_nodes(graph: onnx.GraphProto, member: onnx.ModelProto, prefix: str, pixels: str) -> list[str]:
    """Add a trace's weights and nodes under a prefix, fed from `pixels`; return the names of its outputs."""
    if member.functions:
        raise ExportError("the exporter left local functions in the graph, which cannot be merged")

    def renamed(name: str) -> str:
        return {"": "", PIXELS: pixels}.get(name, prefix + name)

    for tensor in member.graph.initializer:
        graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor), renamed(tensor.name)))
    for node in member.graph.node:
        plain = helper.make_node(  # anew: the exporter's own holds stack traces with this machine's paths
            node.op_type,
            [renamed(name) for name in node.input],
            [renamed(name) for name in node.output],
            renamed(node.name or node.output[0]),
            domain=node.domain or None,
        )
        plain.attribute.extend(node.attribute)
        graph.node.append(plain)
    return [renamed(output.name) for output in member.graph.output]


def _back(graph: onnx.GraphProto, members: Sequence[_Outputs]) -> None:
    """Add the mean over members, the calibration, and the outputs."""
    observations = members[0].observations
    for name, value in zip(CALIBRATION_INITIALISERS, (1, 1, 0), strict=True):
        add_constant(graph, name, np.full(observations, value, np.float32))
    add_constant(graph, "member_axis", np.array([1], np.int64))
    add_constant(graph, "smallest", np.array(_SMALLEST))
    add_constant(graph, "largest", np.array(1 - _SMALLEST))
    add_constant(graph, "one", np.array(1, np.float32))
    add = partial(add_node, graph)
    rows = [
        add("Unsqueeze", [member.logits, "member_axis"], f"logits_row{index}") for index, member in enumerate(members)
    ]
    stacked = add("Concat", rows, "member_logits", axis=1)
    opinions = add("Sigmoid", [stacked], "member_probability")
    mean = add("ReduceMean", [opinions, "member_axis"], "mean_probability", keepdims=0)
    # clipped so that the logarithms of a saturated member stay finite
    inside = add("Clip", [mean, "smallest", "largest"], "inside")
    positive = add("Mul", [add("Log", [inside], "log_p"), CALIBRATION_INITIALISERS[0]], "scaled_log_p")
    rest = add("Log", [add("Sub", ["one", inside], "complement")], "log_q")
    negative = add("Mul", [rest, CALIBRATION_INITIALISERS[1]], "scaled_log_q")
    logit = add("Add", [add("Sub", [positive, negative], "slope"), CALIBRATION_INITIALISERS[2]], "logit")
    add("Sigmoid", [logit], "probability")

    size = max(member.size for member in members)
    maps = [member.activation_map for member in members]
    if any(member.size != size for member in members):
        # members of different strides: every map at the finest one's size
        for index, member in enumerate(members):
            maps[index] = f"resized_map{index}"
            add_fixed_resize(graph, member.activation_map, (member.size, size), maps[index], rounded=False)
    add("Mean" if len(maps) > 1 else "Identity", maps, "activation_map")
    kinds: tuple[list[str | int], ...] = (
        ["batch", observations],
        ["batch", len(members), observations],
        ["batch", observations, *size],
    )
    for name, shape in zip(OUTPUTS, kinds, strict=True):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
