"""Spearman's rho over a few models: interval, permutation p, Holm's correction and the smallest detectable rho.

Conventions
-----------
A point is one model (an architecture), never an image, so n is small: 16 in the paper. Every rho therefore
comes with its interval and with the smallest |rho| that so many models would show with a power of 80 %. Without
that number, "no relationship" cannot be distinguished from "too few models to see one".

Metrics
-------
Spearman's rho : Pearson's correlation of midranks.
Interval : Fisher's z with Bonett and Wright's variance (1 + rho^2 / 2) / (n - 3).
p : by permutation: all n! orders up to n = 8, a sample of orders above. One is added to the count of a sample,
    so that p is never 0.

References
----------
Bonett and Wright, Psychometrika 65, 2000, 23-28.
Holm, Scandinavian Journal of Statistics 6, 1979, 65-70.
Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010, article 39.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from xraytransfer.study.stats import Floats

__all__ = [
    "Correlation",
    "detectable_rho",
    "holm",
    "power_of_rho",
    "spearman",
    "spearman_interval",
    "spearman_test",
]

_EXACT = 8
"""The largest n for which all n! orders are counted: 40,320."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho with the numbers that belong beside it.

    Attributes
    ----------
    rho : float
        In [-1, 1]; NaN with fewer than three models or where one side is constant.
    lower, upper : float
        95 % interval; NaN with fewer than four models.
    p : float
        Two-sided, by permutation.
    n : int
        Models.
    detectable : float
        The smallest |rho| seen with a power of 80 % at p < .05 with n models; NaN with fewer than four.
    """

    rho: float
    lower: float
    upper: float
    p: float
    n: int
    detectable: float


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
    return float(_pearson(rankdata(one), rankdata(two)[None])[0])


def spearman_interval(rho: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of a rho from n models.

    Parameters
    ----------
    rho : float
        In [-1, 1].
    n : int
        Models.
    level : float
        Coverage, in (0, 1).

    Returns
    -------
    tuple of float
        Lower and upper bound; both NaN with fewer than four models, and where rho is undefined or exactly 1
        or -1, where the method has no answer.
    """
    if n < 4 or math.isnan(rho) or abs(rho) >= 1:
        return float("nan"), float("nan")
    reach = _NORMAL.inv_cdf((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)


def spearman_test(
    x: ArrayLike, y: ArrayLike, generator: np.random.Generator, permutations: int = 20_000
) -> Correlation:
    """Return rho with its interval, permutation p and the smallest detectable rho.

    Parameters
    ----------
    x, y : array_like
        float, shape (models,), without NaN.
    generator : numpy.random.Generator
        Source of randomness, used for more than eight models.
    permutations : int
        Orders drawn for more than eight models.

    Returns
    -------
    Correlation

    Raises
    ------
    ValueError
        As for `spearman`.
    """
    one, two = _points(x, y)
    rho, n = spearman(one, two), len(one)
    if math.isnan(rho):
        nan = float("nan")
        return Correlation(nan, nan, nan, nan, n, detectable_rho(n))
    ranks, others = rankdata(one), rankdata(two)
    if n <= _EXACT:
        orders = others[np.array(list(itertools.permutations(range(n))))]
        added = 0
    else:
        orders = generator.permuted(np.broadcast_to(others, (permutations, n)), axis=1)
        added = 1
    as_far = int((np.abs(_pearson(ranks, orders)) >= abs(rho) - 1e-12).sum())
    p = (as_far + added) / (len(orders) + added)
    return Correlation(rho, *spearman_interval(rho, n), p, n, detectable_rho(n))


def power_of_rho(rho: float, n: int, alpha: float = 0.05) -> float:
    """Return the probability that a true rho is significant with n models.

    Parameters
    ----------
    rho : float
        The true value, in (-1, 1).
    n : int
        Models.
    alpha : float
        Two-sided level.

    Returns
    -------
    float
        In [0, 1], on Fisher's scale; NaN with fewer than four models.
    """
    if n < 4:
        return float("nan")
    bound = _NORMAL.inv_cdf(1 - alpha / 2) / math.sqrt(n - 3)
    error = math.sqrt((1 + rho**2 / 2) / (n - 3))
    centre = math.atanh(rho)
    return _NORMAL.cdf((centre - bound) / error) + _NORMAL.cdf((-centre - bound) / error)


def detectable_rho(n: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest |rho| that n models would show with this power.

    Parameters
    ----------
    n : int
        Models.
    power : float
        Probability that it is significant, in (alpha, 1).
    alpha : float
        Two-sided level.

    Returns
    -------
    float
        In (0, 1): about .67 for the paper's sixteen models; NaN with fewer than four models.
    """
    if n < 4:
        return float("nan")
    low, high = 0.0, 1 - 1e-12
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power_of_rho(middle, n, alpha) >= power else (middle, high)
    return high


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


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """Return both sides as arrays, or raise `ValueError`."""
    one, two = np.asarray(x, float), np.asarray(y, float)
    if one.ndim != 1 or one.shape != two.shape:
        raise ValueError(f"two (models,) arrays expected, got {one.shape}, {two.shape}")
    if np.isnan(one).any() or np.isnan(two).any():
        raise ValueError("a value is NaN; leave out models without both numbers")
    return one, two


def _pearson(x: Floats, rows: Floats) -> Floats:
    """Return the correlation of x with each row; NaN where a side is constant."""
    left, right = x - x.mean(), rows - rows.mean(axis=1, keepdims=True)
    scale = np.sqrt((left**2).sum() * (right**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, right @ left / scale, np.nan)
