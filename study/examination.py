"""From images to examinations: the maximum over the views, as the paper's lab judged.

Conventions
-----------
An examination is what a patient came for once: one or more radiographs, frontal and lateral. The lab took,
for every observation, the maximum of the views' logits; the sigmoid rises, so the maximum of probabilities
orders examinations the same way. This holds for No Finding too: it is the lab's rule, not ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["examination_maximum"]

Floats = NDArray[np.float64]


def examination_maximum(
    examination: ArrayLike, labels: ArrayLike, probabilities: ArrayLike
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return one row per examination.

    Parameters
    ----------
    examination : array_like
        Any values that sort, shape (images,); unique over patients.
    labels : array_like
        float, shape (images, observations), 1, 0 or NaN (masked).
    probabilities : array_like
        float, shape (images, observations), in [0, 1].

    Returns
    -------
    tuple of ndarray
        Index of each examination's first image, shape (examinations,), for its patient and the like; labels
        and probabilities, float64, shape (examinations, observations). A label is 1 where one view has it,
        else NaN where one view is masked, else 0.

    Raises
    ------
    ValueError
        The shapes do not fit.
    """
    label, probability = np.asarray(labels, float), np.asarray(probabilities, float)
    if label.ndim != 2 or label.shape != probability.shape or len(np.asarray(examination)) != len(label):
        raise ValueError(f"(images, observations) arrays expected, got {label.shape}, {probability.shape}")
    if not len(label):
        return np.empty(0, np.intp), label, probability
    _, first, index = np.unique(np.asarray(examination), return_index=True, return_inverse=True)
    order = np.argsort(index.reshape(-1), kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(index.reshape(-1)))[:-1]])
    # between "absent" and "present", so that the maximum keeps a masked view over an absent one
    coded = np.where(np.isnan(label), 0.5, label)
    highest = np.maximum.reduceat(coded[order], starts, axis=0)
    return (
        first,
        np.where(highest == 0.5, np.nan, highest),
        np.maximum.reduceat(probability[order], starts, axis=0),
    )
