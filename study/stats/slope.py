"""The effect of size within families: AUROC on the logarithm of the parameters, each family with its own level.

Conventions
-----------
A point is one model. The slope is AUROC per doubling of the parameters. Each family has a level of its own, so that
differences between families, which are also ordered by size, cannot pass for an effect of size.

Metrics
-------
Slope : least squares, families as fixed levels (analysis of covariance).
Interval and p : both from Student's t with models - families - 1 degrees of freedom. The residuals hold what other
    patients and another training would change in each model by itself; the variance of the slope over the bootstrap by
    patient is added, because errors that models of like size share do not show in residuals. Part of the patients'
    noise counts twice, so the interval is wider than it need be.

References
----------
Searle, Linear Models, 1971, chapter 8 (analysis of covariance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from xraytransfer.study.stats import Floats

__all__ = ["Slope", "mean_over_families", "size_slope"]


@dataclass(frozen=True)
class Slope:
    """The slope within families.

    Attributes
    ----------
    value : float
        AUROC per doubling of the parameters; NaN where no family has two sizes.
    lower, upper, p : float
        95 % interval and two-sided p; NaN without a degree of freedom.
    freedom : int
        Degrees of freedom: models less families less one.
    models, families : int
        Models in all, and families.
    """

    value: float
    lower: float
    upper: float
    p: float
    freedom: int
    models: int
    families: int


def size_slope(
    auroc: ArrayLike, parameters: ArrayLike, family: Sequence[str], replicates: ArrayLike | None = None
) -> Slope:
    """Return the slope of AUROC on doublings of the parameters within families.

    Parameters
    ----------
    auroc, parameters : array_like
        float, shape (models,), without NaN; parameters greater than 0.
    family : sequence of str
        Shape (models,).
    replicates : array_like, optional
        float, shape (replicates, models): AUROC in each replicate of the bootstrap; rows with NaN are left out.

    Returns
    -------
    Slope

    Raises
    ------
    ValueError
        Shapes differ, a value is NaN, or a number of parameters is not greater than 0.
    """
    y, size = np.asarray(auroc, float), np.asarray(parameters, float)
    if y.ndim != 1 or not len(y) == len(size) == len(family):
        raise ValueError(f"(models,) arrays expected, got {y.shape}, {size.shape}, {len(family)} families")
    if np.isnan(y).any() or not (size > 0).all():
        raise ValueError("each model needs an AUROC and a number of parameters greater than 0")
    names, index = np.unique(np.asarray(family), return_inverse=True)
    x = _within(np.log2(size)[None], index)[0]
    spread, freedom = float(x @ x), len(y) - len(names) - 1
    counts, nan = {"freedom": max(freedom, 0), "models": len(y), "families": len(names)}, float("nan")
    if spread < 1e-12:
        return Slope(nan, nan, nan, nan, **counts)
    centred = _within(y[None], index)[0]
    value = float(x @ centred / spread)
    if freedom < 1:
        return Slope(value, nan, nan, nan, **counts)
    residual = centred - value * x
    variance = float(residual @ residual) / freedom / spread + _drawn_variance(replicates, x)
    return Slope(value, *_student(value, variance, freedom), **counts)


def mean_over_families(
    value: ArrayLike, family: Sequence[str], replicates: ArrayLike | None = None
) -> tuple[float, float, float, float]:
    """Return the mean of the families' means with an interval that holds for other families.

    Parameters
    ----------
    value : array_like
        float, shape (models,), such as the boost of each.
    family : sequence of str
        Shape (models,).
    replicates : array_like, optional
        float, shape (replicates, models).

    Returns
    -------
    tuple of float
        Mean, lower and upper bound, p: Student's t over families, the variance over patients added. All but the
        mean are NaN with fewer than three families.
    """
    index = np.unique(np.asarray(family), return_inverse=True)[1]
    count = np.bincount(index)
    means = np.bincount(index, np.asarray(value, float)) / count
    if len(means) < 3:
        return float(means.mean()), float("nan"), float("nan"), float("nan")
    weight = (1 / count / len(count))[index]
    variance = float(means.var(ddof=1)) / len(means) + _variance_of(replicates, weight)
    return (float(means.mean()), *_student(float(means.mean()), variance, len(means) - 1))


def _student(value: float, variance: float, freedom: int) -> tuple[float, float, float]:
    """Return lower and upper bound, and p."""
    error = float(np.sqrt(variance))
    reach = float(student.ppf(0.975, freedom)) * error
    p = float(2 * student.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    return value - reach, value + reach, p


def _within(rows: Floats, index: ArrayLike) -> Floats:
    """Return rows less the means of their families: float64, shape (rows, models)."""
    indicator = np.eye(int(np.max(index)) + 1)[np.asarray(index)]
    rest: Floats = rows - (rows @ indicator / indicator.sum(axis=0)) @ indicator.T
    return rest


def _drawn_variance(replicates: ArrayLike | None, x: Floats) -> float:
    return _variance_of(replicates, x / (x @ x))


def _variance_of(replicates: ArrayLike | None, weight: Floats) -> float:
    """Return the variance over replicates of a weighted sum of models; 0 without replicates."""
    rows = np.empty((0, len(weight))) if replicates is None else np.asarray(replicates, float)
    sums = rows[~np.isnan(rows).any(axis=1)] @ weight
    return float(sums.var()) if len(sums) > 1 else 0.0
