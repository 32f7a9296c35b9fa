"""A graph in memory: scoring many pictures with it, and replacing the numbers of its calibration."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.calibration import Calibration
from xraytransfer.export.graph.to_onnx import CALIBRATION_INITIALISERS
from xraytransfer.model_file import INPUT, OUTPUTS
from xraytransfer.study.data.placement import FilmPixels

__all__ = ["member_probability", "set_calibration"]

_BATCH = 32


def member_probability(
    session: ort.InferenceSession, pixels: FilmPixels, rows: NDArray[np.intp] | None = None
) -> NDArray[np.float32]:
    """Return each member's probabilities for each picture.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        A model file's graph.
    pixels : ndarray
        uint8, shape (films, rows, columns); a memory map is read in batches.
    rows : ndarray, optional
        Which films; all where absent.

    Returns
    -------
    ndarray
        float32, shape (films, members, 6), in [0, 1], uncalibrated.
    """
    chosen = np.arange(len(pixels)) if rows is None else rows
    answers = [
        session.run([OUTPUTS[1]], {INPUT: np.ascontiguousarray(pixels[chosen[start : start + _BATCH]][:, None])})[0]
        for start in range(0, len(chosen), _BATCH)
    ]
    return np.concatenate(answers)


def set_calibration(model: onnx.ModelProto, calibration: Calibration) -> None:
    """Write a calibration's numbers into a graph, in place.

    Raises
    ------
    ExportError
        The graph holds no calibration of ours.
    """
    values = dict(zip(CALIBRATION_INITIALISERS, calibration.initialisers().values(), strict=True))
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values.pop(tensor.name), tensor.name))
    if values:
        raise ExportError(f"the graph has no {', '.join(values)}: it was not written by xraytransfer export")
