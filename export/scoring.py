"""A graph in memory: scoring many pictures with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from xraytransfer.model_file import INPUT, OUTPUTS
from xraytransfer.study.data.placement import FilmPixels
from xraytransfer.study.data.predictions import Predictions, predictions_of
from xraytransfer.study.data.run_data import RunData

__all__ = ["member_probability", "predict_split"]

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


def predict_split(session: ort.InferenceSession, data: RunData, split: str, observations: Sequence[str]) -> Predictions:
    """Return a graph's answers for the films of one split, with their labels.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        A model file's graph.
    data : RunData
        The films.
    split : {'train', 'validation', 'test'}
        Which.
    observations : sequence of str
        The graph's, in order.
    """
    rows = data.rows[split]
    probability = member_probability(session, data.pixels, rows)
    members = [-1] * probability.shape[1]
    return predictions_of(data.table.subset(rows), observations, data.label[rows], probability, members)
