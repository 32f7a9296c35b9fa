"""An int8 graph, made of the float32 graph.

Conventions
-----------
Static quantisation with QuantizeLinear / DequantizeLinear pairs around convolutions and their neighbours; weights int8
by channel, activations uint8 with ranges observed on real films. The resize, the first convolution, the head and
everything after it stay float32. Each member is converted by itself, for the time of the conversion grows with the
square of a graph's nodes.

What a runtime could only compute by going back to float32 between two convolutions is written otherwise first:

- A normalisation that no convolution can take up, for it comes after a concatenation (DenseNet), becomes a convolution
  by channel; its ReLU is then the lower end of the convolution's range.
- Tensors that are concatenated share one range, so that concatenating them is copying. Those that a ReLU, a clip or a
  pooling makes have their own, which says where they end or is their input's.
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
from onnx import TensorProto, helper, numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.to_onnx import inside_member, member_prefix
from xraytransfer.model_file import INPUT
from xraytransfer.radiograph import Film

if TYPE_CHECKING:
    from xraytransfer.study.data.run_data import RunData

__all__ = ["calibration_films", "int8_graph"]

_CALIBRATION_FILMS = 64  # with 64 the ranges of ResNet-18 no longer move by 2 %

_SMALLEST_FACTOR = 1e-20
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
    left_alone = {member_prefix(index) for index in spared}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    converted: set[str] = set()
    for node in model.graph.node:
        member = f"{node.name.partition('/')[0]}/"
        if not inside_member(node.name) or member in left_alone:
            graph.node.append(node)
        elif member not in converted:  # all of it, where its first node was: it needs nothing but what comes before
            converted.add(member)
            part = _quantised(_part(model, member), films, head_depth)
            graph.node.extend(each for each in part.node if each.name.startswith(member))
            weights |= {tensor.name: tensor for tensor in part.initializer}
    used = {name for node in graph.node for name in node.input}
    used -= {name for node in graph.node for name in node.output}  # a quantised bias is computed under its own name
    graph.initializer.extend(tensor for name, tensor in weights.items() if name in used)
    return result


def _part(model: onnx.ModelProto, member: str) -> onnx.ModelProto:
    """Return what a member computes, and what it needs for that."""
    nodes = list(model.graph.node)
    outside = {output.name for output in model.graph.output}
    outside.update(name for node in nodes if not node.name.startswith(member) for name in node.input)
    outputs = [name for node in nodes if node.name.startswith(member) for name in node.output if name in outside]
    needed, wanted = [], set(outputs)
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            needed.append(node)
            wanted.update(node.input)
    graph = helper.make_graph(
        needed[::-1],
        model.graph.name,
        model.graph.input,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in wanted],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _quantised(part: onnx.ModelProto, films: Sequence[Film], head_depth: int) -> onnx.GraphProto:
    """Return a member's graph in int8; the part it is made of is changed."""
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

    kept = _kept_in_float32(part, head_depth)
    _chain_concatenations(part, kept)
    _normalise_by_convolution(part, kept)
    _pool_before_relu(part, kept)
    ranges = _shared_ranges(part, kept, films)
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
                nodes_to_exclude=sorted(kept),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"TensorQuantOverrides": ranges},
            )
        finally:
            root.setLevel(level)
        return onnx.load(path).graph


def _kept_in_float32(part: onnx.ModelProto, head_depth: int) -> set[str]:
    """Return the nodes outside the member, and its first and last ones.

    The first convolution sees all grey levels through one channel: kept in float32 it halves the mean error of
    EfficientNet-Lite0 (0.070 to 0.031), for a few percent of its time.
    """
    nodes = list(part.graph.node)
    maker = {output: node for node in nodes for output in node.output}
    kept = {node.name for node in nodes if not inside_member(node.name)}
    edge = [output.name for output in part.graph.output]
    for _ in range(head_depth):
        reached = [maker[name] for name in edge if name in maker and inside_member(maker[name].name)]
        kept.update(node.name for node in reached)
        edge = [name for node in reached for name in node.input]
    for node in nodes:
        if inside_member(node.name):
            kept.add(node.name)
            if node.op_type == "Conv":
                break
    return kept


def _concatenations(model: onnx.ModelProto, kept: set[str]) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Concat" and node.name not in kept]


def _chain_concatenations(model: onnx.ModelProto, kept: set[str]) -> None:
    """Let a concatenation that repeats the beginning of an earlier one take its result instead.

    ONNX Runtime converts a tensor again for every node that takes it: in DenseNet-121 590 times, so 64 times.
    """
    made: dict[tuple[int, tuple[str, ...]], str] = {}
    for node in _concatenations(model, kept):
        inputs, axis = tuple(node.input), helper.get_node_attr_value(node, "axis")
        count = next((count for count in range(len(inputs) - 1, 1, -1) if (axis, inputs[:count]) in made), 0)
        if count:
            node.input[:] = [made[axis, inputs[:count]], *inputs[count:]]
        made[axis, inputs] = node.output[0]


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
        # a weight of 0 would have the scale 1, and its channel's offset be rounded to whole steps of the input
        factor = np.where(np.abs(factor) < _SMALLEST_FACTOR, _SMALLEST_FACTOR, factor)
        names = [f"{node.output[0]}/{part}" for part in ("factor", "offset")]
        for name, values in zip(names, (factor.reshape(-1, 1, 1, 1), offset - mean * factor), strict=True):
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        new = helper.make_node(
            "Conv", [node.input[0], *names], node.output[:1], node.name, group=len(factor), kernel_shape=[1, 1]
        )
        node.CopyFrom(new)
    used = {name for node in graph.node for name in node.input}  # ONNX Runtime warns of weights that nothing takes
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
        if pool.name in kept or len(pool.output) > 1 or relu is None or relu.op_type != "Relu":
            continue
        if users[relu.output[0]] > 1:
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
    """Return one range for all tensors that are concatenated with each other, as the quantiser takes it.

    Not for what a ReLU or a clip makes: the quantiser drops both where a tensor's range ends where they do, and with
    another range they would be gone.
    """
    ending = {node.output[0] for node in model.graph.node if node.op_type in ("Relu", "Clip")}
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
        if name not in ending
    }
