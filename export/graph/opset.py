"""The lowest opset and IR version that a graph needs: older runtimes refuse higher ones, for nothing.

Conventions
-----------
torch writes opset 18 and higher. The operators whose form changed since opset 13 are written in their older form, which
means the same: reductions take their axes as an attribute, ``Shape`` gives the whole shape. ``Mean``, which ncnn
lacks, becomes additions. Then the opset is the lowest one, from 13, at which ONNX's full checker accepts the graph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.nodes import drop_unused, replace_all

__all__ = ["LOWEST_OPSET", "lower_opset"]

LOWEST_OPSET = 13
"""The first with quantisation by channel, which int8 files need."""
_REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")
_NEW_ATTRIBUTES = {"noop_with_empty_axes", "allowzero", "output_dtype", "block_size"}
"""Attributes that are younger than opset 13; where 0, they say what was so before."""
_WITHOUT_EFFECT = {"saturate"}
"""Attributes that are younger than opset 13 and mean something for float8 alone, which no graph of ours has."""


def lower_opset(model: onnx.ModelProto) -> None:
    """Rewrite a graph for the lowest opset that it can have, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        Its only operators are those of ONNX itself.

    Raises
    ------
    ExportError
        The graph is not a valid one at its own opset.
    """
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [new for node in model.graph.node for new in _older(node, model.graph, known)]
    replace_all(model.graph.node, nodes)
    drop_unused(model.graph)
    written = model.opset_import[0].version
    for opset in range(LOWEST_OPSET, max(written, LOWEST_OPSET) + 1):
        model.opset_import[0].version = opset
        model.ir_version = helper.find_min_ir_version_for(list(model.opset_import))
        try:
            onnx.checker.check_model(model, full_check=True)
            return
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            reason = str(error).strip().splitlines()[0]
    raise ExportError(f"the graph is no valid one at opset {written}: {reason}")


def _older(node: onnx.NodeProto, graph: onnx.GraphProto, known: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Return the nodes that say the same at opset 13; the node itself where it is valid there."""
    kept = [
        each
        for each in node.attribute
        if not (each.name in _WITHOUT_EFFECT or (each.name in _NEW_ATTRIBUTES and not _matters(each, node, known)))
    ]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)
    rewrite: Callable[..., list[onnx.NodeProto]] | None = {
        **dict.fromkeys(_REDUCTIONS, _reduction),
        "Shape": _shape,
        "HardSwish": _hard_swish,
        "Mean": _mean,
    }.get(node.op_type)
    return [node] if rewrite is None else rewrite(node, graph, known)


def _matters(attribute: onnx.AttributeProto, node: onnx.NodeProto, known: dict[str, np.ndarray]) -> bool:
    """Return whether an attribute says something: ``allowzero`` does only for shapes that may hold a 0."""
    if attribute.name == "allowzero" and node.input[1] in known:
        return bool(attribute.i) and 0 in known[node.input[1]]
    return bool(attribute.i)


def _reduction(node: onnx.NodeProto, _: onnx.GraphProto, known: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    if len(node.input) > 1 and node.input[1] in known:
        node.attribute.append(helper.make_attribute("axes", known[node.input[1]].tolist()))
        del node.input[1:]
    return [node]


def _shape(node: onnx.NodeProto, graph: onnx.GraphProto, _: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    bounds = {each.name: each.i for each in node.attribute}
    if not bounds or bounds == {"start": 0}:
        del node.attribute[:]
        return [node]
    whole, name = f"{node.output[0]}/whole", node.output[0]
    ends = [f"{name}/start", f"{name}/end"]
    for end, value in zip(ends, (bounds.get("start", 0), bounds.get("end", np.iinfo(np.int64).max)), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), end))
    return [
        helper.make_node("Shape", node.input, [whole], f"{node.name}/whole"),
        helper.make_node("Slice", [whole, *ends], [name], node.name),
    ]


def _hard_swish(node: onnx.NodeProto, _: onnx.GraphProto, __: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """Write x * clip(x / 6 + 1 / 2, 0, 1), which opset 14 made one operator."""
    gate = f"{node.output[0]}/gate"
    return [
        helper.make_node("HardSigmoid", node.input, [gate], f"{node.name}/gate", alpha=1 / 6, beta=0.5),
        helper.make_node("Mul", [node.input[0], gate], node.output, node.name),
    ]


def _mean(node: onnx.NodeProto, graph: onnx.GraphProto, _: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    sums, total = [], node.input[0]
    for index, name in enumerate(node.input[1:]):
        added = f"{node.output[0]}/sum{index}"
        sums.append(helper.make_node("Add", [total, name], [added], added))
        total = added
    count = f"{node.output[0]}/count"
    graph.initializer.append(numpy_helper.from_array(np.array(len(node.input), np.float32), count))
    return [*sums, helper.make_node("Div", [total, count], node.output, node.name)]
