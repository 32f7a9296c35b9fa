"""The resize inside the graph: two matrix products, which every runtime computes alike.

Conventions
-----------
Resizing with an antialiased triangle filter is linear along each axis. With n the input's length, S the output's,
j an input position and i an output position::

    numerator[i, j] = max(0, 2 max(n, S) - |(2 j + 1) S - (2 i + 1) n|)        (int64: exact)
    weight[i, j] = numerator[i, j] / sum of numerator[i, :], rounded to a multiple of 1 / 2**22  (float32)

This is ONNX's ``Resize`` with ``mode=linear, antialias=1, exclude_outside=1`` and Pillow's BILINEAR, but no runtime can
pass over an attribute: ``antialias`` is ignored by OpenVINO and OpenCV, and refused by TensorRT. Weights are rounded,
columns are resized first, and grey levels are rounded after each axis, halves upwards, all as Pillow does: so a film
that is given whole has the answer of one that Pillow resized, as in training. Of 18 films, at most 10 of 16,384 pixels
differed from Pillow's, by one grey level, and a probability of `default` by 2e-4; with grey levels that are not
rounded, by 0.023.

The weights of a film of any size are computed by the graph from the film's shape. Integers stay exact where a runtime
computes floating point numbers in bfloat16; float32 would be wrong by 21 grey levels there. They fit 32 bits up to
films of 130,000 pixels a side at 8192 pixels, for runtimes that have no others.

No torch is needed here: `xraytransfer models` rewrites files with the package onnx alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from xraytransfer.model_file import INPUT

__all__ = ["GATE_PIXELS", "PIXELS", "add_any_input", "add_constant", "add_fixed_input", "add_fixed_resize", "weights"]

PIXELS = "pixels"
"""float32 [batch, 1, rows, columns], 0 to 255: what every member takes."""
GATE_PIXELS = "judge_pixels"
"""float32 [batch, 1, side, side], 0 to 255: what the quality gate takes."""
_AXES = {"columns": 3, "rows": 2}
"""Of the input, in the order in which they are resized."""
_HALF = np.float32(0.5 + 2**-17)
"""Exact halves are usual (320 pixels to 128). Runtimes add in different orders, which leaves them a little above or
below: a little more than a half takes them upwards in every runtime alike."""
_STEPS = 2.0**22
"""Pillow's weights are whole multiples of 1 / 2**22 (``PRECISION_BITS`` in its Resample.c)."""


def weights(length: int, size: int) -> NDArray[np.float32]:
    """Return the weights that resize `length` positions to `size`.

    Parameters
    ----------
    length, size : int
        At least 1.

    Returns
    -------
    ndarray
        float32, shape (size, length); each row adds up to 1, but for rounding.
    """
    outputs, inputs = 2 * np.arange(size)[:, None] + 1, 2 * np.arange(length) + 1
    numerator = np.maximum(0, 2 * max(length, size) - np.abs(inputs * size - outputs * length))
    quotient = numerator / numerator.sum(axis=1, keepdims=True)
    stepped: NDArray[np.float32] = (np.floor(quotient * _STEPS + 0.5) / _STEPS).astype(np.float32)
    return stepped


def add_constant(graph: onnx.GraphProto, name: str, values: NDArray[Any]) -> str:
    """Add a constant and return its name."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def add_any_input(graph: onnx.GraphProto, resolution: tuple[int, int]) -> None:
    """Add the input for films of any size, uint8, and their resize to `PIXELS`.

    Parameters
    ----------
    graph : onnx.GraphProto
        Changed in place.
    resolution : tuple of int
        Rows and columns of `PIXELS`.
    """
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", 1, "height", "width"]))
    _node(graph, "Shape", [INPUT], "resize/shape")
    for name, value in (("zero", 0), ("one", 1), ("two", 2)):
        add_constant(graph, f"resize/{name}", np.array(value, np.int64))
    for name, share in (("steps", _STEPS), ("half_step", 0.5), ("step", 1 / _STEPS)):
        add_constant(graph, f"resize/{name}", np.array(share, np.float32))
    film = _node(graph, "Cast", [INPUT], "resize/film", to=TensorProto.FLOAT)
    matrices = [_computed_weights(graph, axis, size) for axis, size in zip(_AXES, reversed(resolution), strict=True)]
    _resize(graph, "resize", film, matrices, PIXELS, rounded=True)


def add_fixed_input(graph: onnx.GraphProto, resolution: tuple[int, int], *, kind: str = "uint8") -> None:
    """Add the input for films at the model's resolution, and `PIXELS`.

    Parameters
    ----------
    graph : onnx.GraphProto
        Changed in place.
    resolution : tuple of int
        Rows and columns.
    kind : {'uint8', 'float32'}
        What is given: grey levels of 0 to 255 in either case.
    """
    element = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}[kind]
    graph.input.append(helper.make_tensor_value_info(INPUT, element, ["batch", 1, *resolution]))
    if kind == "uint8":
        _node(graph, "Cast", [INPUT], PIXELS, to=TensorProto.FLOAT)
    else:
        _node(graph, "Identity", [INPUT], PIXELS)


def add_fixed_resize(
    graph: onnx.GraphProto, source: str, sizes: Sequence[tuple[int, int]], target: str, *, rounded: bool
) -> None:
    """Add a resize between two sizes that are known: its weights are constants.

    Parameters
    ----------
    graph : onnx.GraphProto
        Changed in place.
    source, target : str
        Names of tensors, float32 [batch, channels, rows, columns].
    sizes : pair of tuple of int
        Rows and columns of `source` and of `target`.
    rounded : bool
        Round to whole grey levels.
    """
    (rows, columns), (new_rows, new_columns) = sizes
    if sizes[0] == sizes[1]:
        _node(graph, "Identity", [source], target)
        return
    matrices = [
        add_constant(graph, f"{target}/column_weights", weights(columns, new_columns).T.copy()),
        add_constant(graph, f"{target}/row_weights", weights(rows, new_rows)),
    ]
    _resize(graph, target, source, matrices, target, rounded=rounded)


def _resize(
    graph: onnx.GraphProto, prefix: str, source: str, matrices: Sequence[str], target: str, *, rounded: bool
) -> None:
    """Add the two products with the matrices of columns and of rows."""
    columns, rows = matrices
    names = [f"{prefix}/narrowed", f"{prefix}/resized"] if rounded else [f"{prefix}/narrowed", target]
    narrowed = _node(graph, "MatMul", [source, columns], names[0])
    if rounded:
        narrowed = _rounded(graph, prefix, narrowed, f"{prefix}/narrowed_levels")
    resized = _node(graph, "MatMul", [rows, narrowed], names[1])
    if rounded:
        _rounded(graph, prefix, resized, target)


def _rounded(graph: onnx.GraphProto, prefix: str, source: str, target: str) -> str:
    """Round to the nearest whole number, halves upwards; ONNX's Round would take them to even ones."""
    half = f"{prefix}/half"
    if all(tensor.name != half for tensor in graph.initializer):
        add_constant(graph, half, np.array(_HALF))
    return _node(graph, "Floor", [_node(graph, "Add", [source, half], f"{target}/half_up")], target)


def _computed_weights(graph: onnx.GraphProto, axis: str, size: int) -> str:
    """Add the computation of an axis's weights from the film's shape; return their name."""

    def add(operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        return _node(graph, operator, inputs, f"resize/{axis}/{output}", **attributes)

    def constant(name: str, values: Any) -> str:
        return add_constant(graph, f"resize/{axis}/{name}", np.array(values, np.int64))

    zero, one, two = "resize/zero", "resize/one", "resize/two"
    along = 0 if axis == "columns" else 1  # the input's positions; those of columns stand on the right of the product
    odd = 2 * np.arange(size) + 1
    outputs = constant("outputs", odd[None, :] if along == 0 else odd[:, None])
    scale, other = constant("size", size), constant("other_axis", [1 - along])
    length = add("Gather", ["resize/shape", constant("axis", _AXES[axis])], "length", axis=0)
    positions = add("Unsqueeze", [add("Range", [zero, length, one], "range"), other], "positions")
    inputs = add("Mul", [add("Add", [add("Mul", [positions, two], "even"), one], "odd"), scale], "inputs")
    apart = add("Sub", [inputs, add("Mul", [outputs, length], "centres")], "apart")
    reach = add("Mul", [add("Max", [length, scale], "longer"), two], "reach")
    inside = add("Sub", [reach, add("Abs", [apart], "distance")], "inside")
    numerator = add("Max", [inside, zero], "numerator")
    exact = add("Cast", [numerator], "numerator_float", to=TensorProto.FLOAT)
    total = add("ReduceSum", [exact, constant("summed", [along])], "sum", keepdims=1)
    steps = add("Mul", [add("Div", [exact, total], "quotient"), "resize/steps"], "steps")
    whole = add("Floor", [add("Add", [steps, "resize/half_step"], "half_up")], "whole_steps")
    return add("Mul", [whole, "resize/step"], "weights")


def _node(graph: onnx.GraphProto, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
    graph.node.append(helper.make_node(operator, list(inputs), [output], output, **attributes))
    return output
