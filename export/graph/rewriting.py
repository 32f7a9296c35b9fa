"""A model file's graph rewritten without the networks that it was made of: to products, to a fixed input, to float32.

Only the package onnx is needed, so that whoever has a model file can do it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.nodes import add_constant, copied, drop_unused, replace_all
from xraytransfer.export.graph.opset import lower_opset
from xraytransfer.export.graph.resizing import (
    GATE_PIXELS,
    PIXELS,
    add_any_input,
    add_fixed_input,
    add_fixed_resize,
)
from xraytransfer.model_file import INPUT

__all__ = ["with_fixed_input", "with_float32_weights", "with_unshared_int8", "without_resize"]


def without_resize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph of a file of version 0.1 with matrix products in place of its Resize nodes.

    Parameters
    ----------
    model : onnx.ModelProto
        Left as it is.

    Returns
    -------
    onnx.ModelProto
        At the lowest opset; a graph without Resize nodes is only copied.

    Raises
    ------
    ExportError
        The graph has Resize nodes that version 0.1 did not write.
    """
    new = copied(model)
    if not any(node.op_type == "Resize" for node in new.graph.node):
        return new
    known = {
        tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in new.graph.initializer if tensor.dims == [2]
    }
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.value_info
    sizes = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim[2:]] for value in inferred}
    nodes = list(new.graph.node)
    del new.graph.node[:], new.graph.input[:]
    for node in nodes:
        source, target = (node.input[0] if node.input else ""), node.output[0]
        if target in (PIXELS, GATE_PIXELS):
            continue  # casts of what was resized, which is float32 now
        if node.op_type != "Resize":
            new.graph.node.append(node)
        elif source == INPUT:
            add_any_input(new.graph, _pair(known, "resolution"))
        elif target == "judge_resized":
            pair = (_pair(known, "resolution"), _pair(known, "judge_resolution"))
            add_fixed_resize(new.graph, PIXELS, pair, GATE_PIXELS, rounded=True)
        else:
            pair = (_pair(sizes, source), _pair(known, "map_size"))
            add_fixed_resize(new.graph, source, pair, target, rounded=False)
    drop_unused(new.graph)
    lower_opset(new)
    return new


def with_fixed_input(model: onnx.ModelProto, resolution: tuple[int, int], *, kind: str = "uint8") -> onnx.ModelProto:
    """Return a graph that takes films at the model's resolution and has no shape arithmetic.

    Parameters
    ----------
    model : onnx.ModelProto
        Left as it is.
    resolution : tuple of int
        Rows and columns.
    kind : {'uint8', 'float32'}
        What is given: grey levels of 0 to 255 in either case.

    Raises
    ------
    ExportError
        The graph was not written by xraytransfer.
    """
    new = without_resize(model)
    nodes = list(new.graph.node)
    if all(PIXELS not in node.output for node in nodes):
        raise ExportError(f"the graph has no tensor {PIXELS!r}: it was not written by xraytransfer export")
    del new.graph.node[:], new.graph.input[:]
    add_fixed_input(new.graph, resolution, kind=kind)
    new.graph.node.extend(node for node in nodes if PIXELS not in node.output)
    _plain_constant_channels(new.graph)
    drop_unused(new.graph)
    lower_opset(new)
    return new


def with_float32_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose float16 weights are stored as float32; the numbers are the same.

    Parameters
    ----------
    model : onnx.ModelProto
        Left as it is.

    Raises
    ------
    ExportError
        The graph computes in int8 or in float16: other weights would not change that.
    """
    new = copied(model)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in new.graph.node):
        raise ExportError("the model computes in int8: its weights cannot be stored as float32")
    half = {tensor.name: tensor for tensor in new.graph.initializer if tensor.data_type == TensorProto.FLOAT16}
    nodes = []
    for node in new.graph.node:
        stored = half.pop(node.input[0], None) if node.op_type == "Cast" else None
        if stored is None:
            nodes.append(node)
            continue
        values = numpy_helper.to_array(stored).astype(np.float32)
        stored.CopyFrom(numpy_helper.from_array(values, node.output[0]))
    if half:
        raise ExportError("the model computes in float16: its weights cannot be stored as float32")
    replace_all(new.graph.node, nodes)
    return new


def _plain_constant_channels(graph: onnx.GraphProto) -> None:
    """Replace a number that is expanded to another tensor's shape by that tensor times 0, plus the number.

    Networks with a constant channel beside the film have one: ``Expand(number, Shape(film))`` is shape arithmetic.
    """
    shaped = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Shape"}
    numbers = {tensor.name for tensor in graph.initializer if not tensor.dims}
    nodes = []
    for node in graph.node:
        if node.op_type != "Expand" or node.input[1] not in shaped or node.input[0] not in numbers:
            nodes.append(node)
            continue
        (number, shape), (target,) = node.input, node.output
        zero, zeros = add_constant(graph, f"{target}/zero", np.array(0, np.float32)), f"{target}/zeros"
        nodes.append(onnx.helper.make_node("Mul", [shaped[shape], zero], [zeros], zeros))
        nodes.append(onnx.helper.make_node("Add", [zeros, number], [target], target))
    replace_all(graph.node, nodes)


def _pair(sizes: dict[str, Any], name: str) -> tuple[int, int]:
    """Return rows and columns by name, which a graph of version 0.1 holds."""
    found = sizes.get(name) or []
    if len(found) != 2 or not all(found):
        raise ExportError(f"the graph has a Resize node that xraytransfer did not write: the size of {name} is unknown")
    return int(found[0]), int(found[1])


def with_unshared_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph in which no two nodes share an int8 weight or zero point.

    Graph tools let nodes share what is equal. ONNX Runtime cannot open such graphs with the session option that keeps
    int8 from overflowing on x86 processors without VNNI (`xraytransfer.runtime.session_options`).

    Parameters
    ----------
    model : onnx.ModelProto
        Left as it is.

    Returns
    -------
    onnx.ModelProto
    """
    new = copied(model)
    int8 = {tensor.name: tensor for tensor in new.graph.initializer if tensor.data_type == TensorProto.INT8}
    used: set[str] = set()
    for number, node in enumerate(new.graph.node):
        for place, name in enumerate(node.input):
            if name in used:
                node.input[place] = add_constant(
                    new.graph, f"{name}/{number}/{place}", numpy_helper.to_array(int8[name])
                )
            elif name in int8:
                used.add(name)
    return new
