"""The resize inside the graph: matrix products, which every runtime computes alike.

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
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from xraytransfer.export.graph.nodes import add_constant, add_node
from xraytransfer.model_file import INPUT

__all__ = [
    "GATE_PIXELS",
    "PIXELS",
    "RESIZE_WEIGHTS",
    "add_any_input",
    "add_fixed_input",
    "add_fixed_resize",
    "resized",
    "weights",
]

PIXELS = "pixels"
"""float32 [batch, 1, rows, columns], 0 to 255: what every member takes."""
GATE_PIXELS = "judge_pixels"
"""float32 [batch, 1, side, side], 0 to 255: what the quality gate takes."""
RESIZE_WEIGHTS = ("/column_weights", "/row_weights")
"""What the names of the weights between two known sizes end in."""
_AXES = {"columns": 3, "rows": 2}
"""Of the input, in the order in which they are resized."""
_MOST_STRIPS = 8
"""As fast as ONNX Runtime's own Resize; 4 take longer for large films, 16 for those at the model's resolution."""
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
    add_node(graph, "Shape", [INPUT], "resize/shape")
    for name, value in (("zero", 0), ("one", 1), ("two", 2)):
        add_constant(graph, f"resize/{name}", np.array(value, np.int64))
    for name, share in (("steps", _STEPS), ("half_step", 0.5), ("step", 1 / _STEPS)):
        add_constant(graph, f"resize/{name}", np.array(share, np.float32))
    columns, rows = _Axis(graph, "columns", resolution[1]), _Axis(graph, "rows", resolution[0])
    narrowed = _rounded(graph, "resize", columns.resize(INPUT), "resize/narrowed_levels")
    _rounded(graph, "resize", rows.resize(narrowed), PIXELS)


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
        add_node(graph, "Cast", [INPUT], PIXELS, to=TensorProto.FLOAT)
    else:
        add_node(graph, "Identity", [INPUT], PIXELS)


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
        add_node(graph, "Identity", [source], target)
        return
    narrow = add_constant(graph, target + RESIZE_WEIGHTS[0], weights(columns, new_columns).T.copy())
    shorten = add_constant(graph, target + RESIZE_WEIGHTS[1], weights(rows, new_rows))
    narrowed = add_node(graph, "MatMul", [source, narrow], f"{target}/narrowed")
    if rounded:
        narrowed = _rounded(graph, target, narrowed, f"{target}/narrowed_levels")
    resized = add_node(graph, "MatMul", [shorten, narrowed], f"{target}/resized" if rounded else target)
    if rounded:
        _rounded(graph, target, resized, target)


def resized(film: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a film resized as `add_fixed_resize` does: a few pixels may be one grey level off from Pillow's.

    Parameters
    ----------
    film : ndarray
        uint8, shape (rows, columns).
    size : tuple of int
        Rows and columns wanted.

    Returns
    -------
    ndarray
        uint8, of that shape.
    """
    if film.shape == size:
        return film
    narrowed = np.floor(film.astype(np.float32) @ weights(film.shape[1], size[1]).T + _HALF)
    shortened: NDArray[np.float32] = np.floor(weights(film.shape[0], size[0]) @ narrowed + _HALF)
    return shortened.astype(np.uint8)


def _rounded(graph: onnx.GraphProto, prefix: str, source: str, target: str) -> str:
    """Round to the nearest whole number, halves upwards; ONNX's Round would take them to even ones."""
    half = f"{prefix}/half"
    if all(tensor.name != half for tensor in graph.initializer):
        add_constant(graph, half, np.array(_HALF))
    return add_node(graph, "Floor", [add_node(graph, "Add", [source, half], f"{target}/half_up")], target)


@dataclass(frozen=True)
class _Axis:
    """One axis of the resize of films of any size, in strips.

    A strip is some neighbouring outputs and the inputs within their reach. The weights of all other inputs are 0: with
    eight strips, six of seven multiplications are left out.
    """

    graph: onnx.GraphProto
    name: str
    size: int

    @property
    def strips(self) -> int:
        """Return the number of strips, which all have as many outputs."""
        return next(count for count in range(_MOST_STRIPS, 0, -1) if self.size % count == 0)

    def resize(self, source: str) -> str:
        """Add the resize of `source`; return the name of the result, which is not rounded."""
        first, count = self._inputs()
        ends = self._split(self._add("Add", [first, count], "end"))
        strips = zip(self._split(first), ends, self._split(self._weights(first, count)), strict=True)
        axes = self._constant("axes", [_AXES[self.name]])
        products = []
        for number, (begin, end, matrix) in enumerate(strips):
            part = self._add("Slice", [source, begin, end, axes], f"part/{number}")
            if source == INPUT:  # uint8: the whole film is never float32
                part = self._add("Cast", [part], f"part_float/{number}", to=TensorProto.FLOAT)
            factors = [part, matrix] if self.name == "columns" else [matrix, part]
            products.append(self._add("MatMul", factors, f"product/{number}"))
        return self._add("Concat", products, "resized", axis=_AXES[self.name])

    def _inputs(self) -> tuple[str, str]:
        """Add the inputs of each strip: int64 [strips], the first of each, and their number, int64, alike for all.

        Inputs between the numerators' zeros: of a strip's first output on the left, of its last on the right. At the
        film's edges the strip is moved inwards.
        """
        width = self.size // self.strips
        length = self._add("Gather", ["resize/shape", self._constant("axis", _AXES[self.name])], "length", axis=0)
        size = self._constant("size", self.size)
        reach = self._add("Mul", [self._add("Max", [length, size], "longer"), "resize/two"], "reach")
        apart = self._add("Mul", [length, self._constant("steps", width - 1)], "centres_apart")
        span = self._add("Div", [self._add("Add", [apart, reach], "doubled_span"), size], "span")
        count = self._add("Min", [self._add("Add", [span, "resize/two"], "enough"), length], "count")
        first_outputs = self._constant("first_outputs", 2 * width * np.arange(self.strips) + 1)
        left = self._add("Sub", [self._add("Mul", [length, first_outputs], "first_centres"), reach], "left")
        first = self._add("Div", [left, self._constant("twice_size", 2 * self.size)], "unbounded")
        last = self._add("Sub", [length, count], "last")
        return self._add("Min", [self._add("Max", [first, "resize/zero"], "bounded"), last], "first"), count

    def _weights(self, first: str, count: str) -> str:
        """Add the weights: float32 [strips, inputs, outputs] of columns, which stand on the right of the product.

        Those of rows are [strips, outputs, inputs].
        """
        inputs_axis, outputs_axis = (1, 2) if self.name == "columns" else (2, 1)
        odd = (2 * np.arange(self.size) + 1).reshape(self.strips, -1)
        outputs = self._constant("outputs", np.expand_dims(odd, inputs_axis))
        run = self._add("Range", ["resize/zero", count, "resize/one"], "range")
        run = self._add("Unsqueeze", [run, self._constant("other_axes", [0, outputs_axis])], "run")
        begin = self._add("Unsqueeze", [first, self._constant("both_axes", [1, 2])], "begin")
        doubled = self._add("Mul", [self._add("Add", [begin, run], "positions"), "resize/two"], "even")
        inputs = self._add("Mul", [self._add("Add", [doubled, "resize/one"], "odd"), self._named("size")], "inputs")
        centres = self._add("Mul", [outputs, self._named("length")], "centres")
        distance = self._add("Abs", [self._add("Sub", [inputs, centres], "apart")], "distance")
        inside = self._add("Sub", [self._named("reach"), distance], "inside")
        numerator = self._add("Max", [inside, "resize/zero"], "numerator")
        exact = self._add("Cast", [numerator], "numerator_float", to=TensorProto.FLOAT)
        total = self._add("ReduceSum", [exact, self._constant("summed", [inputs_axis])], "sum", keepdims=1)
        steps = self._add("Mul", [self._add("Div", [exact, total], "quotient"), "resize/steps"], "in_steps")
        whole = self._add("Floor", [self._add("Add", [steps, "resize/half_step"], "half_up")], "whole_steps")
        return self._add("Mul", [whole, "resize/step"], "weights")

    def _split(self, source: str) -> list[str]:
        """Add what divides a tensor by its first axis, the strips."""
        parts = [f"{source}/{number}" for number in range(self.strips)]
        self.graph.node.append(helper.make_node("Split", [source], parts, source + "/split", axis=0))
        return parts

    def _add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        return add_node(self.graph, operator, inputs, self._named(output), **attributes)

    def _constant(self, name: str, values: Any) -> str:
        return add_constant(self.graph, self._named(name), np.array(values, np.int64))

    def _named(self, name: str) -> str:
        return f"resize/{self.name}/{name}"
