"""AUROC and AUPRC of one sample, and of many weightings of the same sample at once.

Conventions
-----------
label : float, shape (images,): 1 present, 0 absent, NaN masked (uncertain and ignored, or never read).
probability : float, shape (images,), in [0, 1]; any strictly increasing function of it (such as logits)
    gives the same AUROC and AUPRC. Never NaN.
weights : how often each image counts, shape (replicates, images). A bootstrap replicate drawn with
    replacement is a row of whole-number weights, so all replicates share one sort.

A number that is not defined (no positive, or no negative) is NaN, never 0 and never 0.5.

Metrics
-------
AUROC : the probability that a positive image has a higher probability than a negative one; a tie counts one
    half (Mann-Whitney). Macro: the plain mean over the observations for which it is defined.
AUPRC : average precision, the step-wise sum of precision over gains in recall, without interpolation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.study.stats import Floats

__all__ = [
    "auprc",
    "auroc",
    "drop_masked",
    "macro_auroc",
    "weighted_auprc",
    "weighted_auroc",
]

_CHUNK = 4_000_000
"""Cells of (replicates, images) computed at once: 32 MB of float64."""


def auroc(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the area under the ROC curve.

    Parameters
    ----------
    label : array_like
        float, shape (images,), 1, 0 or NaN (masked).
    probability : array_like
        float, shape (images,), on any monotone scale.

    Returns
    -------
    float
        In [0, 1]; NaN where either class is absent.

    Raises
    ------
    ValueError
        The shapes differ, a label is neither 0, 1 nor NaN, or a probability is NaN.

    Examples
    --------
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return float(weighted_auroc(label, probability, np.ones((1, np.size(label))))[0])


def auprc(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the area under the precision-recall curve as average precision.

    Parameters and errors are those of `auroc`.

    Returns
    -------
    float
        In (0, 1]; chance is the share of positives. NaN where there is no positive or no negative.

    Examples
    --------
    >>> round(auprc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
    0.8333
    """
    return float(weighted_auprc(label, probability, np.ones((1, np.size(label))))[0])


def macro_auroc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean AUROC over the observations for which it is defined.

    Parameters
    ----------
    labels, probabilities : array_like
        float, shape (images, observations).

    Returns
    -------
    float
        In [0, 1]; NaN where no observation has both classes.

    Raises
    ------
    ValueError
        As for `auroc`.
    """
    label, probability = np.asarray(labels, float), np.asarray(probabilities, float)
    if label.ndim != 2 or label.shape != probability.shape:
        raise ValueError(f"two (images, observations) arrays expected, got {label.shape}, {probability.shape}")
    each = [auroc(label[:, k], probability[:, k]) for k in range(label.shape[1])]
    defined = [value for value in each if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def weighted_auroc(label: ArrayLike, probability: ArrayLike, weights: ArrayLike) -> Floats:
    """Return one AUROC for each row of weights.

    Parameters
    ----------
    label, probability : array_like
        As for `auroc`.
    weights : array_like
        Not negative, shape (replicates, images).

    Returns
    -------
    ndarray
        float64, shape (replicates,); NaN where a row leaves a class without weight.
    """
    areas: Floats = np.full(len(np.asarray(weights)), np.nan)
    for part, ranking in _rankings(label, probability, weights):
        pairs_won = np.einsum("pr,pr->r", ranking.positive, 0.5 * (ranking.below + ranking.below_or_equal))
        with np.errstate(invalid="ignore", divide="ignore"):
            areas[part] = pairs_won / (ranking.positives[-1] * ranking.negatives)
    return areas


def weighted_auprc(label: ArrayLike, probability: ArrayLike, weights: ArrayLike) -> Floats:
    """Return one average precision for each row of weights.

    Parameters and return value are those of `weighted_auroc`.
    """
    areas: Floats = np.full(len(np.asarray(weights)), np.nan)
    for part, ranking in _rankings(label, probability, weights):
        total = ranking.positives[-1]
        # with each positive's probability as the threshold, at or above which an image counts as positive
        true_positives = total - ranking.positives[ranking.first_of_equal]
        at_or_above = true_positives + ranking.negatives - ranking.below
        precision = np.divide(true_positives, at_or_above, out=np.zeros_like(at_or_above), where=at_or_above > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.einsum("pr,pr->r", ranking.positive, precision) / total
        areas[part] = np.where(ranking.negatives > 0, mean, np.nan)
    return areas


def drop_masked(label: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats]:
    """Return labels and probabilities without the masked images.

    Raises
    ------
    ValueError
        The shapes differ, or a label is neither 0, 1 nor NaN.
    """
    truth, score = np.asarray(label, float), np.asarray(probability, float)
    if truth.ndim != 1 or truth.shape != score.shape:
        raise ValueError(f"label and probability must be two (images,) arrays, got {truth.shape}, {score.shape}")
    known = ~np.isnan(truth)
    truth, score = truth[known], score[known]
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("labels must be 0, 1 or NaN (masked); apply the uncertainty policy first")
    return truth, score


@dataclass(frozen=True, eq=False)
class _Ranking:
    """Weights of a chunk of replicates, the positives in increasing order of probability.

    All arrays are float64. `positive`, `below` (negatives of lower probability) and `below_or_equal` are
    (positives, replicates), `positives` (their running sum from 0) is (positives + 1, replicates), `negatives`
    (replicates,). `first_of_equal` (positives,) counts positives of lower probability.
    """

    positive: Floats
    below: Floats
    below_or_equal: Floats
    positives: Floats
    negatives: Floats
    first_of_equal: NDArray[np.intp]


def _rankings(label: ArrayLike, probability: ArrayLike, weights: ArrayLike) -> Iterator[tuple[slice, _Ranking]]:
    """Yield the ranking of each chunk of replicates; none where a class is absent.

    Images are rows here, so that running sums go down rows of neighbouring replicates, which are contiguous in
    memory. Only the positives, which are fewer, are looked up in the running sum of the negatives.
    """
    weight = np.asarray(weights)
    known = ~np.isnan(np.asarray(label, float))
    truth, score = drop_masked(label, probability)
    if np.isnan(score).any():
        raise ValueError("a probability is NaN; the run that wrote it has diverged")
    if weight.ndim != 2 or weight.shape[1] != len(known):
        raise ValueError(f"weights must be (replicates, {len(known)}), got {weight.shape}")
    present = truth == 1
    if not present.any() or present.all():
        return
    image = np.flatnonzero(known)
    order = np.argsort(score, kind="stable")
    positive, negative = order[present[order]], order[~present[order]]
    low = np.searchsorted(score[negative], score[positive], side="left")
    high = np.searchsorted(score[negative], score[positive], side="right")
    first = np.searchsorted(score[positive], score[positive], side="left")
    step = max(1, _CHUNK // len(order))
    for begin in range(0, len(weight), step):
        part = slice(begin, begin + step)
        columns = weight.T[:, part]
        misses, hits = _running_sums(columns, image[negative]), _running_sums(columns, image[positive])
        yield (
            part,
            _Ranking(
                positive=columns[image[positive]].astype(np.float64),
                below=misses[low],
                below_or_equal=misses[high],
                positives=hits,
                negatives=misses[-1],
                first_of_equal=first,
            ),
        )


def _running_sums(weights: NDArray[Any], rows: NDArray[np.intp]) -> Floats:
    """Return running sums of some rows, from 0: float64, shape (rows + 1, replicates)."""
    sums = np.zeros((len(rows) + 1, weights.shape[1]))
    sums[1:] = weights[rows]
    return np.cumsum(sums, axis=0, out=sums)
