"""Spearman's rho over a few models that come in families: interval, p, Holm's correction and power.

Conventions
-----------
A point is one model (an architecture), never an image, so n is small: 16 in the paper, in six families. Models
of one family share much, so that sixteen models tell less than sixteen independent ones would.

Metrics
-------
Spearman's rho : Pearson's correlation of midranks.
Effective number of models : 1 + 1 / variance of rho where the two sides are unrelated, given the order of x, for
    errors of y that are shared within families. The variance is the larger of its values for no sharing and for
    complete sharing, because six families cannot tell how much is shared (after Dutilleul, who estimates it).
Interval and p : both from Fisher's z with Bonett and Wright's variance (1 + rho^2 / 2) / (effective - 3), to which
    the variance of z over the replicates of the bootstrap by patient is added. p < .05 exactly where the interval
    leaves out 0. The interval is wider than 95 % would need wherever less is shared than the worst case assumes.
Power : by simulating this test, the correction by Holm's first step included.

References
----------
Bonett and Wright, Psychometrika 65, 2000, 23-28.
Dutilleul, Biometrics 49, 1993, 305-314.
Holm, Scandinavian Journal of Statistics 6, 1979, 65-70.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from xraytransfer.study.stats import Floats

__all__ = [
    "Correlation",
    "correlate",
    "detectable_rho",
    "effective_models",
    "holm",
    "patients_variance",
    "spearman",
]

_SIMULATIONS = 2000
"""Studies drawn for the power: its standard error at 80 % is below 1 %."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho with the numbers that belong beside it.

    Attributes
    ----------
    rho : float
        In [-1, 1]; NaN with fewer than three models or where one side is constant.
    lower, upper : float
        95 % interval; NaN where the effective number of models is 3 or less.
    p : float
        Two-sided; NaN where there is no interval.
    n, families : int
        Models, and the families that they belong to.
    effective : float
        Effective number of models.
    rho_of_means : float
        Spearman's rho of the families' means; NaN with fewer than three families.
    patients : tuple of float
        2.5th and 97.5th percentile of rho over the replicates by patient: how far other patients alone move it.
    """

    rho: float
    lower: float
    upper: float
    p: float
    n: int
    families: int
    effective: float
    rho_of_means: float
    patients: tuple[float, float]


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Return Spearman's rho.

    Parameters
    ----------
    x, y : array_like
        float, shape (models,), without NaN.

    Returns
    -------
    float
        In [-1, 1]; NaN with fewer than three points or where one side is constant.

    Raises
    ------
    ValueError
        The shapes differ or a value is NaN.

    Examples
    --------
    >>> round(spearman([1, 2, 3, 4], [1, 3, 2, 4]), 3)
    0.8
    """
    one, two = _points(x, y)
    if len(one) < 3:
        return float("nan")
    return float(_rank_correlation(one, two[None])[0])


def effective_models(x: ArrayLike, family: Sequence[str]) -> float:
    """Return how many independent models these are worth.

    Parameters
    ----------
    x : array_like
        float, shape (models,): the side that is known, such as the accuracy on ImageNet.
    family : sequence of str
        Shape (models,).

    Returns
    -------
    float
        At most the number of models; NaN where x is constant.
    """
    index = np.unique(np.asarray(family), return_inverse=True)[1]
    ranks = rankdata(x)
    centred, n = ranks - ranks.mean(), len(ranks)
    size, total = np.bincount(index), np.bincount(index, centred)
    spread, left = float(centred @ centred), n - float(size @ size) / n
    if spread == 0 or left <= 0:
        return float("nan")
    return float(1 + 1 / max(1 / (n - 1), float(total @ total) / spread / left))


def correlate(x: ArrayLike, y: ArrayLike, family: Sequence[str], replicates: ArrayLike | None = None) -> Correlation:
    """Return rho with its interval and p.

    Parameters
    ----------
    x, y : array_like
        float, shape (models,), without NaN.
    family : sequence of str
        Shape (models,).
    replicates : array_like, optional
        float, shape (replicates, models): y in each replicate of the bootstrap. Rows with NaN are left out. If
        absent, y counts as known without error.

    Returns
    -------
    Correlation

    Raises
    ------
    ValueError
        The shapes differ, or a value of x or y is NaN.
    """
    one, two = _points(x, y)
    if len(family) != len(one):
        raise ValueError(f"{len(family)} families for {len(one)} models")
    rho, n, nan = spearman(one, two), len(one), float("nan")
    families, effective = len(set(family)), effective_models(one, family) if n else nan
    means = [[float(side[np.asarray(family) == name].mean()) for name in sorted(set(family))] for side in (one, two)]
    drawn = _drawn_rho(one, replicates)
    patients = (nan, nan) if np.isnan(rho) or not len(drawn) else tuple(np.quantile(drawn, [0.025, 0.975]).tolist())
    lower, upper, p = (
        float(v[0]) for v in _interval(np.array([rho]), n, effective, patients_variance(one, replicates))
    )
    return Correlation(rho, lower, upper, p, n, families, effective, spearman(*means), patients)


def patients_variance(x: ArrayLike, replicates: ArrayLike | None) -> float:
    """Return the variance of Fisher's z of rho over the replicates of y; 0 without replicates."""
    one = np.asarray(x, float)
    drawn = _drawn_rho(one, replicates)
    return float(np.arctanh(_capped(drawn, len(one))).var()) if len(drawn) > 1 else 0.0


def detectable_rho(
    x: ArrayLike,
    family: Sequence[str],
    generator: np.random.Generator,
    *,
    tests: int = 1,
    variance: float = 0.0,
    power: float = 0.8,
) -> float:
    """Return the smallest true absolute rho that is significant with a given power, by simulating the test.

    Parameters
    ----------
    x : array_like
        float, shape (models,).
    family : sequence of str
        Shape (models,).
    generator : numpy.random.Generator
        Source of randomness.
    tests : int
        Tests that Holm's method corrects for; the first step, .05 / tests, is simulated.
    variance : float
        From `patients_variance`.
    power : float
        Probability that it is significant, in (.05, 1).

    Returns
    -------
    float
        Of bivariate normal data whose errors are independent, the friendliest case; NaN where even the strongest
        relationship is seen less often.
    """
    one = np.asarray(x, float)
    effective = effective_models(one, family) if len(one) > 2 else float("nan")
    if not effective > 3:
        return float("nan")
    score = norm.ppf((rankdata(one) - 0.5) / len(one))
    score = score / score.std()
    error = generator.normal(size=(_SIMULATIONS, len(one)))
    for r in np.arange(0.02, 1.0, 0.01):
        rho = _rank_correlation(one, r * score + np.sqrt(1 - r**2) * error)
        if (_interval(rho, len(one), effective, variance)[2] < 0.05 / tests).mean() >= power:
            return float(6 / np.pi * np.arcsin(r / 2))
    return float("nan")


def holm(p: ArrayLike) -> Floats:
    """Return p values corrected for multiple testing by Holm's step-down method.

    Parameters
    ----------
    p : array_like
        float, shape (tests,), in [0, 1]; NaN (not tested) stays NaN and does not count as a test.

    Returns
    -------
    ndarray
        float64, shape (tests,), each at least as large as before, at most 1.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, float)
    corrected = np.full(values.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(values))
    order = tests[np.argsort(values[tests], kind="stable")]
    factor = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factor))
    return corrected


def _interval(rho: Floats, n: int, effective: float, variance: float) -> tuple[Floats, Floats, Floats]:
    """Return lower and upper bounds and p of some rho; NaN where too few models are effective."""
    if not effective > 3:
        nothing = np.full(rho.shape, np.nan)
        return nothing, nothing, nothing
    z = np.arctanh(_capped(rho, n))
    error = np.sqrt((1 + rho**2 / 2) / (effective - 3) + variance)
    reach = norm.ppf(0.975) * error
    return np.tanh(z - reach), np.tanh(z + reach), 2 * norm.sf(np.abs(z) / error)


def _capped(rho: Floats, n: int) -> Floats:
    """Return rho, a perfect order as half of one exchange of neighbours less, because Fisher's z has no 1."""
    most = 1 - 6 / (n * (n**2 - 1)) if n > 2 else 0.0
    return np.clip(rho, -most, most)


def _drawn_rho(x: Floats, replicates: ArrayLike | None) -> Floats:
    """Return rho in each replicate without NaN: float64, shape (replicates,)."""
    rows = np.empty((0, len(x))) if replicates is None else np.asarray(replicates, float)
    if len(x) < 3:
        return np.empty(0)
    drawn = _rank_correlation(x, rows[~np.isnan(rows).any(axis=1)])
    return drawn[~np.isnan(drawn)]


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Return both sides as arrays, or raise `ValueError`."""
    one, two = np.asarray(x, float), np.asarray(y, float)
    if one.ndim != 1 or one.shape != two.shape:
        raise ValueError(f"two (models,) arrays expected, got {one.shape}, {two.shape}")
    if np.isnan(one).any() or np.isnan(two).any():
        raise ValueError("a value is NaN; leave out models without both numbers")
    return one, two


def _rank_correlation(x: Floats, rows: NDArray[np.float64]) -> Floats:
    """Return Spearman's rho of x with each row; NaN where a side is constant."""
    left, right = rankdata(x), rankdata(rows, axis=1)
    left, right = left - left.mean(), right - right.mean(axis=1, keepdims=True)
    scale = np.sqrt((left**2).sum() * (right**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, right @ left / scale, np.nan)
