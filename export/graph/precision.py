"""Lower precisions: a graph with float16 weights, a float16 graph or an int8 graph, made from the float32 graph.

Conventions
-----------
float16-weights : weights stored as float16 and cast back when a session is made; arithmetic stays float32.
    Half the file, no other cost: runtimes fold the casts while they load.
float16 : arithmetic in float16 between resize and logits, for GPUs. Sigmoid, mean and calibration stay
    float32, because 1 - 1e-7 is 1 in float16.
int8 : arithmetic in int8 where the time goes, as `xraytransfer.export.graph.int8` describes, for CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.int8 import int8_graph
from xraytransfer.export.graph.nodes import copied, replace_all
from xraytransfer.export.graph.resizing import PIXELS, RESIZE_WEIGHTS
from xraytransfer.export.graph.to_onnx import QUALITY_GATE_PREFIX, inside_member, member_prefix
from xraytransfer.export.options import PRECISIONS
from xraytransfer.radiograph import Film

__all__ = ["float16_graph", "float16_weights", "lower"]

_SMALLEST_STORED = 256
"""Tensors of fewer numbers (biases, scalars) stay float32: no room to gain."""
_FLOAT16_MAX = 65504.0
_HALF_PIXELS = f"{PIXELS}/float16"


def lower(
    model: onnx.ModelProto,
    precision: str,
    films: Sequence[Film],
    *,
    float_members: Sequence[int] = (),
) -> onnx.ModelProto:
    """Return the graph in another precision.

    Parameters
    ----------
    model : onnx.ModelProto
        A float32 graph made by `xraytransfer.export.graph.to_onnx.build_graph`.
    precision : {'float32', 'float16-weights', 'float16', 'int8'}
        As the module's conventions define.
    films : sequence of ndarray
        uint8, shape (rows, columns): real films, used by int8 alone.
    float_members : sequence of int
        For int8: members that compute in float32, their weights stored as float16.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        Unknown precision, no films for int8, or a graph that cannot be converted.
    """
    ways: dict[str, Callable[[], onnx.ModelProto]] = {
        "float32": lambda: model,
        "float16-weights": lambda: float16_weights(model),
        "float16": lambda: float16_graph(model),
        "int8": lambda: _int8(model, films, float_members),
    }
    if precision not in ways:
        raise ExportError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    return ways[precision]()


def float16_weights(model: onnx.ModelProto, prefixes: tuple[str, ...] = ("",)) -> onnx.ModelProto:
    """Return a graph that stores its weights as float16 and computes in float32.

    Parameters
    ----------
    model : onnx.ModelProto
        A float32 graph; left as it is.
    prefixes : tuple of str
        Beginnings of the names of the weights that are stored so; all where absent.

    Returns
    -------
    onnx.ModelProto
        Weights outside float16's range stay float32.
    """
    half = copied(model)
    graph = half.graph
    casts, tensors = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        small = values.dtype != np.float32 or values.size < _SMALLEST_STORED
        # the quality gate is small, and its limits are close to its outputs for usual films: it stays float32; so do
        # the weights of a resize, which are Pillow's to the last bit
        kept = tensor.name.startswith(QUALITY_GATE_PREFIX) or tensor.name.endswith(RESIZE_WEIGHTS)
        chosen = tensor.name.startswith(prefixes) and not kept
        if small or not chosen or float(np.abs(values).max()) > _FLOAT16_MAX:
            tensors.append(tensor)
            continue
        stored = f"{tensor.name}/float16"
        tensors.append(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [tensor.name], stored, to=TensorProto.FLOAT))
    replace_all(graph.initializer, tensors)
    replace_all(graph.node, [*casts, *graph.node])
    return half


def float16_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose members compute in float16; inputs and outputs keep their types.

    Parameters
    ----------
    model : onnx.ModelProto
        A float32 graph; left as it is.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        A weight is outside float16's range.
    """
    half = copied(model)
    graph = half.graph
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if inside_member(tensor.name) and values.dtype == np.float32:
            if float(np.abs(values).max(initial=0)) > _FLOAT16_MAX:
                raise ExportError(f"weight {tensor.name} is outside float16's range; use float16-weights")
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    nodes = []
    for node in graph.node:
        inside = inside_member(node.name)
        for attribute in node.attribute:
            if inside and node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        if inside:
            node.input[:] = [_HALF_PIXELS if name == PIXELS else name for name in node.input]
            nodes.append(node)
            continue
        for index, name in enumerate(node.input):
            if inside_member(name):
                nodes.append(helper.make_node("Cast", [name], [f"{name}/float32"], to=TensorProto.FLOAT))
                node.input[index] = f"{name}/float32"
        nodes.append(node)
        if PIXELS in node.output:
            cast = helper.make_node("Cast", [PIXELS], [_HALF_PIXELS], _HALF_PIXELS, to=TensorProto.FLOAT16)
            nodes.append(cast)
    replace_all(graph.node, nodes)
    return half


def _int8(model: onnx.ModelProto, films: Sequence[Film], float_members: Sequence[int]) -> onnx.ModelProto:
    converted = int8_graph(model, films, float_members=float_members)
    return float16_weights(converted, tuple(map(member_prefix, float_members))) if float_members else converted
