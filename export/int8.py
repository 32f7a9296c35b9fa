"""An int8 graph, made of the float32 graph.

Conventions
-----------
Static quantisation with QuantizeLinear / DequantizeLinear pairs around convolutions and their neighbours; weights int8
by channel, activations uint8 with ranges observed on real films. The resize, the first convolution, the head and
everything after it stay float32, and so do whole members where told, their weights stored as float16.

What a runtime could only compute by going back to float32 between two convolutions is written otherwise first:

- A normalisation that no convolution can take up, for it comes after a concatenation (DenseNet), becomes a convolution
  by channel. So does its ReLU with it.
- Tensors that are concatenated share one range, so that concatenating them is copying. Nothing is lost: what is
  concatenated has the range of the whole anyway.
- A concatenation that begins with all that another one concatenates begins with its result.
- The first convolution's ReLU comes after the pooling that follows it (the same number, the largest of them or 0), as
  Max. ONNX Runtime would convert before the pooling otherwise, and pools uint8 ten times as slowly as float32.

References
----------
Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.to_onnx import inside_member
from xraytransfer.model_file import INPUT

if TYPE_CHECKING:
    from xraytransfer.study.run_data import RunData

__all__ = ["calibration_films", "int8_graph"]

_CALIBRATION_FILMS = 64  # with 64 the ranges of ResNet-18 no longer move by 2 %

_INTO_INT8 = ("Conv", "Add", "Clip", "Relu", "Concat", "MaxPool", "AveragePool")

Film = NDArray[np.uint8]


def calibration_films(data: RunData) -> list[Film]:
    """Return films of training patients, evenly spread: the validation patients judge the result.

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
    model: onnx.ModelProto, films: Sequence[Film], *, head_depth: int = 2, spared: tuple[str, ...] = ()
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
    spared : tuple of str
        Beginnings of the names of nodes that stay as they are.

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

    prepared = onnx.ModelProto()
    prepared.CopyFrom(model)
    kept = _kept_in_float32(prepared, head_depth, spared)
    _chain_concatenations(prepared, kept)
    _normalise_by_convolution(prepared, kept)
    _pool_before_relu(prepared, kept)
    ranges = _shared_ranges(prepared, kept, films)
    root = logging.getLogger()  # the quantiser also advises through the root logger
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        root.setLevel(logging.ERROR)
        try:
            quantize_static(
                prepared,
                str(path),
                Reader(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_INTO_INT8),
                nodes_to_exclude=sorted(kept),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"TensorQuantOverrides": ranges},
            )
        finally:
            root.setLevel(level)
        return _tidy(onnx.load(path), model)


def _kept_in_float32(model: onnx.ModelProto, head_depth: int, spared: tuple[str, ...]) -> set[str]:
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
    begun: set[str] = set()
    for node in nodes:
        member = node.name.partition("/")[0]
        if inside_member(node.name) and member not in begun:
            kept.add(node.name)
            if node.op_type == "Conv":
                begun.add(member)
    return kept.union(node.name for node in nodes if spared and node.name.startswith(spared))


def _concatenations(model: onnx.ModelProto, kept: set[str]) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Concat" and node.name not in kept]


def _chain_concatenations(model: onnx.ModelProto, kept: set[str]) -> None:
    """Let a concatenation that repeats the beginning of an earlier one take its result instead.

    ONNX Runtime converts a tensor again for every node that takes it: in DenseNet-121 590 times, so 64 times.
    """
    made: dict[tuple[str, ...], str] = {}
    for node in _concatenations(model, kept):
        inputs = tuple(node.input)
        known = next((inputs[:count] for count in range(len(inputs) - 1, 1, -1) if inputs[:count] in made), ())
        if known:
            node.input[:] = [made[known], *inputs[len(known) :]]
        made[inputs] = node.output[0]


def _normalise_by_convolution(model: onnx.ModelProto, kept: set[str]) -> None:
    """Write batch normalisations as convolutions of each channel with one number."""
    graph = model.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "BatchNormalization" or node.name in kept:
            continue
        scale, offset, mean, variance = (weights[name].astype(np.float64) for name in node.input[1:])
        epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), 1e-5)
        factor = scale / np.sqrt(variance + epsilon)
        names = [f"{node.output[0]}/{part}" for part in ("factor", "offset")]
        for name, values in zip(names, (factor.reshape(-1, 1, 1, 1), offset - mean * factor), strict=True):
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        new = helper.make_node(
            "Conv", [node.input[0], *names], node.output[:1], node.name, group=len(factor), kernel_shape=[1, 1]
        )
        node.CopyFrom(new)
    used = {name for node in graph.node for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _pool_before_relu(model: onnx.ModelProto, kept: set[str]) -> None:
    """Where a convolution that stays float32 is followed by a ReLU and a pooling, let the pooling come first."""
    graph = model.graph
    maker = {output: node for node in graph.node for output in node.output}
    users = Counter(name for node in graph.node for name in node.input)
    for pool in graph.node:
        relu = maker.get(pool.input[0]) if pool.op_type == "MaxPool" else None
        if pool.name in kept or relu is None or relu.op_type != "Relu" or users[relu.output[0]] > 1:
            continue
        convolution = maker.get(relu.input[0])
        if convolution is None or convolution.name not in kept:
            continue
        zero, result, name = f"{relu.name}/zero", pool.output[0], relu.name
        graph.initializer.append(numpy_helper.from_array(np.float32(0), zero))
        pool.input[0], pool.output[0] = relu.input[0], relu.output[0]
        relu.CopyFrom(pool)
        pool.CopyFrom(helper.make_node("Max", [relu.output[0], zero], [result], name))


def _shared_ranges(
    model: onnx.ModelProto, kept: set[str], films: Sequence[Film]
) -> dict[str, list[dict[str, NDArray[np.float32]]]]:
    """Return the range of every tensor that is concatenated or made by concatenating, as the quantiser takes it."""
    concatenations = _concatenations(model, kept)
    group: dict[str, set[str]] = {}  # of each tensor, those that share its range
    for node in concatenations:
        joined = set().union(*(group.get(name, {name}) for name in (*node.input, *node.output)))
        group.update(dict.fromkeys(joined, joined))
    if not group:
        return {}
    within = {name for node in concatenations for name in node.input}
    seen = [node.output[0] for node in concatenations if node.output[0] not in within]  # they hold all the others
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in seen)
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    low, high = dict.fromkeys(seen, 0.0), dict.fromkeys(seen, 0.0)  # 0 must be exact: it is what is padded with
    for film in films:
        for name, values in zip(seen, session.run(seen, {INPUT: film[None, None]}), strict=True):
            low[name], high[name] = min(low[name], float(values.min())), max(high[name], float(values.max()))
    return {
        name: [
            {
                "rmin": np.float32(min(low[other] for other in joined & low.keys())),
                "rmax": np.float32(max(high[other] for other in joined & high.keys())),
            }
        ]
        for name, joined in group.items()
    }


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
