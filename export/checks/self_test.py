"""The self-test of a model file is measured when the file is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from xraytransfer.runtime import open_session
from xraytransfer.self_test import made_picture

__all__ = ["NOTICEABLE", "TOLERANCES", "measure_self_test", "sampled"]

TOLERANCES = {"float32": 0.003, "float16-weights": 0.003, "float16": 0.01, "int8": 0.01}
"""Largest difference of a probability in a runtime that computes rightly. float32 arithmetic moves one by 1e-6 and
TF32 by 1e-3, bfloat16 by 0.005 and more; int8 is rounded otherwise by each runtime: by up to 0.007 here."""
NOTICEABLE = 0.05
"""How far a probability has to move where a film is sampled and not averaged, so that nothing else explains it."""
_ROWS, _COLUMNS = 700, 600
_DETAILS = (2, 1, 3, 4, 5)
"""Widths of stripes that are tried; the first that is noticeable is taken."""


def measure_self_test(
    model: onnx.ModelProto, resolution: tuple[int, int], precision: str, *, fixed: bool = False
) -> dict[str, Any]:
    """Score the made picture with a finished graph on the CPU.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph as it will be written, calibrated.
    resolution : tuple of int
        Rows and columns of the model.
    precision : str
        Decides the tolerance.
    fixed : bool
        Whether the graph takes films at `resolution` alone: the made picture then has this size.

    Returns
    -------
    dict
        The entry ``self_test`` of the description. ``without_antialiasing`` says how far a probability moves where
        the picture is sampled and not averaged; None for a fixed input.
    """
    session, _ = open_session(model.SerializeToString(), "cpu")
    tolerance = TOLERANCES[precision]
    if fixed:
        entry = _entry(session, *resolution, _DETAILS[0])
        return {**entry, "tolerance": tolerance, "without_antialiasing": None}
    tried = list(_until_noticeable(session, resolution))
    chosen = max(tried, key=lambda entry: min(float(entry["without_antialiasing"]), NOTICEABLE))
    return {**chosen, "tolerance": tolerance}


def _until_noticeable(session: ort.InferenceSession, resolution: tuple[int, int]) -> Iterable[dict[str, Any]]:
    """Yield entries for finer and coarser stripes, up to the first that would be noticed."""
    for detail in _DETAILS:
        entry = _entry(session, _ROWS, _COLUMNS, detail)
        wrong = _answer(session, sampled(made_picture(_ROWS, _COLUMNS, detail), resolution))
        moved = float(np.abs(wrong - entry["probability"]).max())
        yield {**entry, "without_antialiasing": moved}
        if moved >= NOTICEABLE:
            return


def sampled(film: NDArray[np.uint8], resolution: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a film resized as runtimes do that ignore ``antialias``: bilinear between the two nearest pixels.

    Parameters
    ----------
    film : ndarray
        uint8, shape (rows, columns).
    resolution : tuple of int
        Rows and columns of the result.
    """
    values = film.astype(np.float64)
    for axis, size in enumerate(resolution):
        length = film.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        lower = np.floor(position).astype(int)
        share = np.expand_dims(position - lower, 1 - axis)
        upper = np.minimum(lower + 1, length - 1)
        values = values.take(lower, axis) * (1 - share) + values.take(upper, axis) * share
    return np.floor(values + 0.5).astype(np.uint8)


def _entry(session: ort.InferenceSession, rows: int, columns: int, detail: int) -> dict[str, Any]:
    probability = _answer(session, made_picture(rows, columns, detail))
    return {"rows": rows, "columns": columns, "detail": detail, "probability": [float(value) for value in probability]}


def _answer(session: ort.InferenceSession, film: NDArray[np.uint8]) -> NDArray[np.float32]:
    (entry,) = session.get_inputs()
    image = film[None, None].astype(np.float32 if entry.type == "tensor(float)" else np.uint8)
    probability: NDArray[np.float32] = session.run(["probability"], {entry.name: image})[0][0]
    return probability
