"""Nodes and weights of an ONNX graph: how they are added, replaced, and taken out where nothing needs them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

__all__ = ["add_constant", "add_node", "copied", "drop_unused", "replace_all"]


def add_constant(graph: onnx.GraphProto, name: str, values: NDArray[Any]) -> str:
    """Add a constant and return its name."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def add_node(graph: onnx.GraphProto, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
    """Add a node of one output, which is named as the output is; return that name."""
    graph.node.append(helper.make_node(operator, list(inputs), [output], output, **attributes))
    return output


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that may be changed, without what was inferred about its tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    return copy


def replace_all(field: Any, values: Iterable[Any]) -> None:
    """Replace all entries of a repeated field, such as a graph's nodes."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes that no output depends on, and weights that no node takes or that a node makes under their name.

    ONNX Runtime prints a warning for each such weight.
    """
    needed, made = {output.name for output in graph.output}, set()
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
            made.update(node.output)
    replace_all(graph.node, reversed(nodes))
    replace_all(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in needed - made])
