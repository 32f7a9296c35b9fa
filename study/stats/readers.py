"""A model beside people who read the same images: its sensitivity at the specificity of a reader.

Conventions
-----------
label : float, shape (images,): 1, 0 or NaN (masked), the reference that judges reader and model alike.
answers : float, shape (readers, images): what each reader said, 1 or 0; NaN where a reader did not answer. Images that
    are masked or that one of the readers did not answer are left out, for the model too.
The model's ROC curve is piecewise linear, so that images of equal probability count as in the AUROC. Where the curve
rises vertically, its highest sensitivity counts. Several readers are averaged: the mean of their sensitivities stands
beside the model at the mean of their specificities.

References
----------
Sensitivity at the specificity of a reader, and of the average reader: McKinney et al., Nature 577, 2020. That average
lies below the readers' common ROC curve, so it favours the model a little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.auroc import drop_masked
from xraytransfer.study.stats.bootstrap import Interval, paired_interval

__all__ = ["ReaderComparison", "compare_with_readers"]


@dataclass(frozen=True)
class ReaderComparison:
    """A model beside a reader, or beside the average of several.

    Attributes
    ----------
    sensitivity, specificity : float
        The reader's; NaN where a class is absent.
    model_sensitivity : float
        The model's at that specificity.
    difference : Interval
        The model's sensitivity minus the reader's, paired by the replicates.
    images, positives : int
        Images that were compared, and those with the observation.
    """

    sensitivity: float
    specificity: float
    model_sensitivity: float
    difference: Interval
    images: int
    positives: int


def compare_with_readers(
    label: ArrayLike, probability: ArrayLike, answers: ArrayLike, weights: ArrayLike
) -> ReaderComparison:
    """Compare a model with one reader, or with the average of several, on one observation.

    Parameters
    ----------
    label, answers : array_like
        As the module's conventions define.
    probability : array_like
        float, shape (images,), on any monotone scale.
    weights : array_like
        From `xraytransfer.study.stats.bootstrap.resample_patients`, shape (replicates, images).

    Returns
    -------
    ReaderComparison

    Raises
    ------
    ValueError
        The shapes differ, or a label or an answer is neither 0, 1 nor NaN.
    """
    truth, said, weight = np.asarray(label, float), np.asarray(answers, float), np.asarray(weights, float)
    if said.ndim != 2 or said.shape[1:] != truth.shape or weight.shape[1:] != truth.shape:
        raise ValueError(f"answers and weights must be (n, {truth.size}), got {said.shape}, {weight.shape}")
    if not np.isin(said[~np.isnan(said)], (0.0, 1.0)).all():
        raise ValueError("answers must be 0, 1 or NaN")
    compared = ~np.isnan(truth) & ~np.isnan(said).any(axis=0)
    known, p = drop_masked(truth[compared], np.asarray(probability, float)[compared])
    once = np.ones((1, len(known)))
    every = np.concatenate([once, weight[:, compared]])  # the first row is the sample itself
    sensitivity, false_positive = (rate.mean(axis=0) for rate in _rates(known, said[:, compared], every))
    model = _roc_sensitivity(known, p, false_positive, every)
    return ReaderComparison(
        sensitivity=float(sensitivity[0]),
        specificity=float(1 - false_positive[0]),
        model_sensitivity=float(model[0]),
        difference=paired_interval(float(model[0] - sensitivity[0]), model[1:], sensitivity[1:]),
        images=len(known),
        positives=int((known == 1).sum()),
    )


def _rates(label: Floats, answers: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return shares of true and of false positives, each float64, shape (readers, replicates); NaN without a class."""
    positive, negative = weights * (label == 1), weights * (label == 0)
    with np.errstate(invalid="ignore"):
        return answers @ positive.T / positive.sum(axis=1), answers @ negative.T / negative.sum(axis=1)


def _roc_sensitivity(label: Floats, probability: Floats, false_positive: Floats, weights: Floats) -> Floats:
    """Return the sensitivity at a share of false positives, in each replicate: float64, shape (replicates,)."""
    order = np.argsort(-probability, kind="stable")
    last = np.flatnonzero(np.diff(probability[order], append=-np.inf))  # the last image of each probability
    right = _curve(weights[:, order] * (label[order] == 1), last)
    wrong = _curve(weights[:, order] * (label[order] == 0), last)
    return np.array(
        [
            np.nan if np.isnan(at + tpr[-1] + fpr[-1]) else np.interp(at, fpr, tpr)
            for at, fpr, tpr in zip(false_positive, wrong, right, strict=True)
        ]
    )


def _curve(weights: Floats, last: NDArray[np.intp]) -> Floats:
    """Return running shares from 0 to 1: float64, shape (replicates, points); NaN where nothing has weight."""
    sums = np.cumsum(weights, axis=1)[:, last]
    with np.errstate(invalid="ignore"):
        shares: Floats = np.pad(sums, ((0, 0), (1, 0))) / weights.sum(axis=1, keepdims=True)
    return shares
