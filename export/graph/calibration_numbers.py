"""The numbers of a graph's calibration: read, and replaced by others while every node stays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from xraytransfer.errors import ExportError

__all__ = ["CALIBRATION_INITIALISERS", "calibration_numbers", "set_calibration"]

CALIBRATION_INITIALISERS = ("calibration_a", "calibration_b", "calibration_c")
"""float32 [k] each, so that a site's own calibration replaces numbers and not nodes."""


def calibration_numbers(model: onnx.ModelProto) -> list[NDArray[np.float64]]:
    """Return a, b and c as a graph holds them, float64 (k,).

    Raises
    ------
    ExportError
        The graph holds no calibration of ours.
    """
    return [numpy_helper.to_array(tensor).astype(np.float64) for tensor in _calibration_tensors(model)]


def set_calibration(model: onnx.ModelProto, numbers: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a calibration's numbers into a graph, in place.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph.
    numbers : mapping
        a, b and c, float32 (k,) each, as `Calibration.initialisers` gives them.

    Raises
    ------
    ExportError
        The graph holds no calibration of ours.
    """
    for tensor, name in zip(_calibration_tensors(model), ("a", "b", "c"), strict=True):
        tensor.CopyFrom(numpy_helper.from_array(numbers[name], tensor.name))


def _calibration_tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    if missing := [name for name in CALIBRATION_INITIALISERS if name not in held]:
        raise ExportError(f"the graph has no {missing[0]}: it was not written by xraytransfer export")
    return [held[name] for name in CALIBRATION_INITIALISERS]
