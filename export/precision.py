"""Smaller numbers: float16 weights, a float16 graph, an int8 graph, made of the float32 graph.

Conventions
-----------
float16-weights : weights stored as float16 and cast back when a session is made; arithmetic stays float32.
    Half the file, no other cost: runtimes fold the casts while they load.
float16 : arithmetic in float16 between resize and logits, for GPUs. Sigmoid, mean and calibration stay
    float32, because 1 - 1e-7 is 1 in float16.
int8 : static quantisation with QuantizeLinear / DequantizeLinear pairs around convolutions and their
    neighbours; weights int8 by channel, activations uint8 with ranges observed on real films. The resize,
    the first convolution, the head and everything after it stay float32, and so do whole members where told,
    their weights stored as float16.

References
----------
Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.options import PRECISIONS
from xraytransfer.export.to_onnx import JUDGE, inside_member, member_prefix
from xraytransfer.export.tracing import PIXELS
from xraytransfer.model_file import INPUT

__all__ = ["CALIBRATION_FILMS", "float16_graph", "float16_weights", "int8_graph", "lower"]

CALIBRATION_FILMS = 64
"""Films that activation ranges are observed on; with 64 the ranges of ResNet-18 no longer move by 2 %."""

_SMALLEST_STORED = 256
"""Tensors of fewer numbers (biases, scalars) stay float32: no room to gain."""
_FLOAT16_MAX = 65504.0
_HALF_PIXELS = f"{PIXELS}/float16"

Film = NDArray[np.uint8]


def lower(
    model: onnx.ModelProto,
    precision: str,
    films: Sequence[Film],
    *,
    head_depth: int = 2,
    spared: Sequence[int] = (),
) -> onnx.ModelProto:
    """Return the graph in another precision.

    Parameters
    ----------
    model : onnx.ModelProto
        A float32 graph made by `xraytransfer.export.to_onnx.build_graph`.
    precision : {'float32', 'float16-weights', 'float16', 'int8'}
        As the module's conventions define.
    films : sequence of ndarray
        uint8, shape (rows, columns): real films, used by int8 alone.
    head_depth : int
        For int8: how many nodes before a member's outputs stay float32.
    spared : sequence of int
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
        "int8": lambda: int8_graph(model, films, head_depth=head_depth, spared=spared),
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
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    casts, tensors = [], []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        small = values.dtype != np.float32 or values.size < _SMALLEST_STORED
        # the judge is small, and its limits are close to what it answers: it stays as it is
        told = tensor.name.startswith(prefixes) and not tensor.name.startswith(JUDGE)
        if small or not told or float(np.abs(values).max()) > _FLOAT16_MAX:
            tensors.append(tensor)
            continue
        stored = f"{tensor.name}/float16"
        tensors.append(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [tensor.name], stored, to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:], graph.initializer[:]
    graph.initializer.extend(tensors)
    graph.node.extend(nodes)
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
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
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
    del graph.node[:]
    graph.node.extend(nodes)
    return half


def int8_graph(
    model: onnx.ModelProto, films: Sequence[Film], *, head_depth: int = 2, spared: Sequence[int] = ()
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
    spared : sequence of int
        Members left in float32, their weights stored as float16.

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

    copied = onnx.ModelProto()
    copied.CopyFrom(model)  # the quantiser moves the weights of what it is given into files
    root = logging.getLogger()  # it also advises through the root logger
    level = root.level
    prefixes = tuple(member_prefix(index) for index in spared)
    kept = _kept_in_float32(model, head_depth, prefixes)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        root.setLevel(logging.ERROR)
        try:
            quantize_static(
                copied,
                str(path),
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Add", "Clip", "Relu", "Concat", "MaxPool", "AveragePool"],
                nodes_to_exclude=kept,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            root.setLevel(level)
        quantised = _tidy(onnx.load(path), model)
    return float16_weights(quantised, prefixes) if prefixes else quantised


def _kept_in_float32(model: onnx.ModelProto, head_depth: int, spared: tuple[str, ...]) -> list[str]:
    """Return the nodes outside the members and of those spared, and the first and last ones of each member.

    The first convolution sees all grey levels through one channel: kept in float32 it halves the mean error of
    EfficientNet-Lite0 (0.070 to 0.031), for a few percent of its time.
    """
    nodes = list(model.graph.node)
    maker = {output: node for node in nodes for output in node.output}
    kept = {node.name for node in nodes if not inside_member(node.name)}
    edge = [name for node in nodes if node.name in kept for name in node.input]
    for _ in range(head_depth):
        reached = [maker[name] for name in edge if name in maker and inside_member(maker[name].name)]
        kept.update(node.name for node in reached)
        edge = [name for node in reached for name in node.input]
    # DenseNet normalises, in float32, all that it has concatenated: int8 would be converted in every layer again
    before = [maker.get(node.input[0]) for node in nodes if node.op_type == "BatchNormalization"]
    kept.update(node.name for node in before if node is not None and node.op_type == "Concat")
    begun: set[str] = set()
    for node in nodes:
        member = node.name.partition("/")[0]
        if inside_member(node.name) and member not in begun:
            kept.add(node.name)
            if node.op_type == "Conv":
                begun.add(member)
    return sorted(kept.union(node.name for node in nodes if spared and node.name.startswith(spared)))


def _tidy(converted: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """Return the converted graph under the original's header, without the converter's notes."""
    tidy = onnx.ModelProto()
    tidy.CopyFrom(converted)
    tidy.ir_version = original.ir_version
    tidy.producer_name, tidy.producer_version = original.producer_name, ""
    tidy.doc_string = ""
    del tidy.metadata_props[:], tidy.graph.value_info[:]
    tidy.graph.name = original.graph.name
    return tidy
