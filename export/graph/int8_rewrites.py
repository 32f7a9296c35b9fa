"""Rewrites of a float32 graph that is to become int8.

A runtime would go back to float32 between two convolutions at these places:

- A normalisation that no convolution can take up, for it comes after a concatenation (DenseNet), becomes a convolution
  by channel; its ReLU is then the lower end of the convolution's range.
- Tensors that are concatenated share one range, so that concatenating them is copying. Those that a ReLU, a clip or a
  pooling makes have their own, which says where they end or is their input's.
- A concatenation that begins with all that another one concatenates begins with its result.
- The first convolution's ReLU comes after the pooling that follows it (the same number, the largest of them or 0), as
  Max. ONNX Runtime would convert before the pooling otherwise, and pools uint8 ten times as slowly as float32.

Each function changes `model` in place and leaves alone the nodes named in `float_nodes`, which stay float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from xraytransfer.export.graph.nodes import copied, drop_unused
from xraytransfer.model_file import INPUT
from xraytransfer.radiograph import Film

__all__ = ["chain_concatenations", "normalise_by_convolution", "pool_before_relu", "shared_ranges"]

_SMALLEST_FACTOR = 1e-20


def _concatenations(model: onnx.ModelProto, float_nodes: set[str]) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Concat" and node.name not in float_nodes]


def chain_concatenations(model: onnx.ModelProto, float_nodes: set[str]) -> None:
    """Let a concatenation that repeats the beginning of an earlier one take its result instead.

    ONNX Runtime converts a tensor again for every node that takes it: in DenseNet-121 590 times, so 64 times.
    """
    made: dict[tuple[int, tuple[str, ...]], str] = {}
    for node in _concatenations(model, float_nodes):
        inputs, axis = tuple(node.input), helper.get_node_attr_value(node, "axis")
        count = next((count for count in range(len(inputs) - 1, 1, -1) if (axis, inputs[:count]) in made), 0)
        if count:
            node.input[:] = [made[axis, inputs[:count]], *inputs[count:]]
        made[axis, inputs] = node.output[0]


def normalise_by_convolution(model: onnx.ModelProto, float_nodes: set[str]) -> None:
    """Write batch normalisations as convolutions of each channel with one number."""
    graph = model.graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "BatchNormalization" or node.name in float_nodes:
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
    drop_unused(graph)


def pool_before_relu(model: onnx.ModelProto, float_nodes: set[str]) -> None:
    """Where a convolution that stays float32 is followed by a ReLU and a pooling, let the pooling come first."""
    graph = model.graph
    maker = {output: node for node in graph.node for output in node.output}
    users = Counter(name for node in graph.node for name in node.input)
    for pool in graph.node:
        relu = maker.get(pool.input[0]) if pool.op_type == "MaxPool" else None
        if pool.name in float_nodes or len(pool.output) > 1 or relu is None or relu.op_type != "Relu":
            continue
        if users[relu.output[0]] > 1:
            continue
        convolution = maker.get(relu.input[0])
        if convolution is None or convolution.name not in float_nodes:
            continue
        zero, result, name = f"{relu.name}/zero", pool.output[0], relu.name
        graph.initializer.append(numpy_helper.from_array(np.float32(0), zero))
        pool.input[0], pool.output[0] = relu.input[0], relu.output[0]
        relu.CopyFrom(pool)
        pool.CopyFrom(helper.make_node("Max", [relu.output[0], zero], [result], name))


def shared_ranges(
    model: onnx.ModelProto, float_nodes: set[str], films: Sequence[Film]
) -> dict[str, list[dict[str, NDArray[np.float32]]]]:
    """Return one range for all tensors that are concatenated with each other, as the quantiser takes it.

    Not for what a ReLU or a clip makes: the quantiser drops both where a tensor's range ends where they do, and with
    another range they would be gone.
    """
    ending = {node.output[0] for node in model.graph.node if node.op_type in ("Relu", "Clip")}
    concatenations = _concatenations(model, float_nodes)
    group: dict[str, set[str]] = {}  # of each tensor, those that share its range
    for node in concatenations:
        joined = set().union(*(group.get(name, {name}) for name in (*node.input, *node.output)))
        group.update(dict.fromkeys(joined, joined))
    if not group:
        return {}
    within = {name for node in concatenations for name in node.input}
    seen = [node.output[0] for node in concatenations if node.output[0] not in within]  # they hold all the others
    watched = copied(model)
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
