"""The int8 graph, made from the float32 graph.

Conventions
-----------
Static quantisation with QuantizeLinear / DequantizeLinear pairs around convolutions and their neighbours; weights int8
by channel, activations uint8 with ranges observed on real films. The resize, the first convolution, the head and
everything after it stay float32. Each member is converted by itself, for the time of the conversion grows with the
square of a graph's nodes.

What a runtime could only compute by going back to float32 is rewritten first, as
`xraytransfer.export.graph.int8_rewrites` says.

References
----------
Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.int8_rewrites import (
    chain_concatenations,
    normalise_by_convolution,
    pool_before_relu,
    shared_ranges,
)
from xraytransfer.export.graph.nodes import copied, drop_unused, replace_all
from xraytransfer.export.graph.to_onnx import inside_member, member_prefix
from xraytransfer.model_file import INPUT
from xraytransfer.radiograph import Film

if TYPE_CHECKING:
    from xraytransfer.study.data.run_data import RunData

__all__ = ["calibration_films", "int8_graph"]

_CALIBRATION_FILMS = 64  # with 64 the ranges of ResNet-18 no longer move by 2 %

_INTO_INT8 = ("Conv", "Add", "Clip", "Relu", "Concat", "MaxPool", "AveragePool")


def calibration_films(data: RunData) -> list[Film]:
    """Return films of training patients, evenly spread; the validation patients are kept for measuring the result.

    Parameters
    ----------
    data : RunData
        What a run was trained on.

    Returns
    -------
    list of ndarray
        At most 64, uint8, shape (rows, columns).
    """
    rows = data.rows["train"]
    count = min(_CALIBRATION_FILMS, len(rows))
    return [np.asarray(data.pixels[row]) for row in rows[np.linspace(0, len(rows) - 1, count).astype(int)]]


def int8_graph(
    model: onnx.ModelProto, films: Sequence[Film], *, head_depth: int = 2, float_members: Sequence[int] = ()
) -> onnx.ModelProto:
    """Return a graph whose members' convolutions compute in int8.

    Parameters
    ----------
    model : onnx.ModelProto
        A float32 graph; left as it is.
    films : sequence of ndarray
        uint8, shape (rows, columns): real films, such as the model will meet.
    head_depth : int
        How many nodes before a member's outputs stay float32.
    float_members : sequence of int
        Members that stay as they are.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        No films: ranges guessed from noise would break the network unseen.
    """
    if not films:
        raise ExportError("int8 needs real films to observe the ranges of activations; none were given")
    float_prefixes = {member_prefix(index) for index in float_members}
    result = copied(model)
    graph = result.graph
    del graph.node[:]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    converted: set[str] = set()
    for node in model.graph.node:
        member = f"{node.name.partition('/')[0]}/"
        if not inside_member(node.name) or member in float_prefixes:
            graph.node.append(node)
        elif member not in converted:  # all of it, where its first node was: it needs nothing but what comes before
            converted.add(member)
            part = _quantised(_part(model, member), films, head_depth)
            graph.node.extend(each for each in part.node if each.name.startswith(member))
            weights |= {tensor.name: tensor for tensor in part.initializer}
    replace_all(graph.initializer, weights.values())
    drop_unused(graph)
    return result


def _part(model: onnx.ModelProto, member: str) -> onnx.ModelProto:
    """Return the subgraph of a member, with everything that it depends on."""
    nodes = list(model.graph.node)
    outside = {output.name for output in model.graph.output}
    outside.update(name for node in nodes if not node.name.startswith(member) for name in node.input)
    outputs = [name for node in nodes if node.name.startswith(member) for name in node.output if name in outside]
    part = copied(model)
    replace_all(part.graph.output, [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs])
    drop_unused(part.graph)
    return part


def _quantised(part: onnx.ModelProto, films: Sequence[Film], head_depth: int) -> onnx.GraphProto:
    """Return a member's graph in int8; `part` is changed."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left: Iterator[Film] = iter(films)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            film = next(self._left, None)
            return None if film is None else {INPUT: film[None, None]}

    float_nodes = _float_nodes(part, head_depth)
    chain_concatenations(part, float_nodes)
    normalise_by_convolution(part, float_nodes)
    pool_before_relu(part, float_nodes)
    ranges = shared_ranges(part, float_nodes, films)
    root = logging.getLogger()  # the quantiser also advises through the root logger
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        root.setLevel(logging.ERROR)
        try:
            quantize_static(
                part,
                str(path),
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_INTO_INT8),
                nodes_to_exclude=sorted(float_nodes),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"TensorQuantOverrides": ranges},
            )
        finally:
            root.setLevel(level)
        return onnx.load(path).graph


def _float_nodes(part: onnx.ModelProto, head_depth: int) -> set[str]:
    """Return the nodes outside the member, and its first and last ones.

    The first convolution sees all grey levels through one channel: kept in float32 it halves the mean error of
    EfficientNet-Lite0 (0.070 to 0.031), for a few percent of its time.
    """
    nodes = list(part.graph.node)
    maker = {output: node for node in nodes for output in node.output}
    float_nodes = {node.name for node in nodes if not inside_member(node.name)}
    edge = [output.name for output in part.graph.output]
    for _ in range(head_depth):
        reached = [maker[name] for name in edge if name in maker and inside_member(maker[name].name)]
        float_nodes.update(node.name for node in reached)
        edge = [name for node in reached for name in node.input]
    for node in nodes:
        if inside_member(node.name):
            float_nodes.add(node.name)
            if node.op_type == "Conv":
                break
    return float_nodes
