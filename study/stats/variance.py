"""The variance of AUROC between runs, split into family, size within family, and seed.

Conventions
-----------
A value is one run's macro AUROC. A family holds architectures (its sizes), an architecture holds runs (its
seeds): ``value = mean + family + size within family + seed``, where each part is random with its own variance.

Metrics
-------
Variance components : from the three sums of squares and their expectations, solved for the grid at hand, which
    is usually unbalanced (Henderson's first method). Negative estimates are set to 0.
Patients : the covariance of the values over the bootstrap by patient is taken off the sums of squares before they are
    solved, because it would count as size. It is estimated, and stays in the random draws of the interval.
Share of family : family / (family + size within family).
Interval : generalised (fiducial). Each sum of squares is divided by a random chi-square over its degrees of
    freedom, and the components are solved again. With few families the interval is wide, as it should be.
p : architectures are assigned at random to families of the same sizes; p is how often families then explain as
    much.

Differences from the paper
--------------------------
The paper compares ranges (largest minus smallest within a family, against differences across families). A
range grows with the number of models. One run per architecture cannot separate size from chance; several seeds can.

References
----------
Searle, Casella and McCulloch, Variance Components, 1992, chapter 5.
Weerahandi, Journal of the American Statistical Association 88, 1993, 899-905 (generalised intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.bootstrap import Interval, percentile_interval

__all__ = ["VarianceSplit", "variance_split"]


@dataclass(frozen=True)
class VarianceSplit:
    """The three parts of the variance, each as a standard deviation of AUROC.

    Attributes
    ----------
    family, size, seed : float
        Standard deviations; NaN where not defined. Without a second seed, ``seed`` is NaN and ``size``
        holds both.
    share : float
        Share of family in the variance of family and size, in [0, 1]; NaN where both are 0 or undefined.
    lower, upper : float
        95 % interval of the share.
    p : float
        Probability that randomly formed families explain as much.
    p_size : float
        p of "families hold more than half", from the interval: below .05 where the interval ends below one half.
    families, architectures, runs : int
        How many the grid holds.
    """

    family: float
    size: float
    seed: float
    share: float
    lower: float
    upper: float
    p: float
    p_size: float
    families: int
    architectures: int
    runs: int


def variance_split(
    value: ArrayLike,
    family: Sequence[str],
    architecture: Sequence[str],
    generator: np.random.Generator,
    replicates: int = 2000,
    *,
    patients: ArrayLike | None = None,
) -> VarianceSplit:
    """Return how much of the spread is family, size within family, and seed.

    Parameters
    ----------
    value : array_like
        float, shape (runs,), without NaN.
    family, architecture : sequence of str
        Shape (runs,).
    generator : numpy.random.Generator
        Source of randomness.
    replicates : int
        Number of draws for the interval, and of permutations.
    patients : array_like, optional
        float, shape (draws, runs): the values in each replicate of the bootstrap by patient; rows with NaN are left
        out. If absent, the values count as known without error.

    Returns
    -------
    VarianceSplit
        All numbers are NaN with fewer than two families, or where no family has two architectures.

    Raises
    ------
    ValueError
        Shapes differ, a value is NaN, or an architecture stands in two families.
    """
    y = _checked(value, family, architecture)
    nan = float("nan")
    counts = {"families": len(set(family)), "architectures": len(set(architecture)), "runs": len(y)}
    if counts["families"] < 2 or counts["architectures"] == counts["families"]:
        return VarianceSplit(nan, nan, nan, nan, nan, nan, nan, nan, **counts)
    in_family, in_architecture = _indicator(family), _indicator(architecture)
    design = _Design.of(in_family, in_architecture, _covariance(patients, len(y)))
    sums = design.sums(y)
    components = design.components(sums[:, None])[0]
    share, p_size = _share_interval(design, sums, components, generator, replicates)
    p = _permutation_p(y, in_family, in_architecture, generator, replicates)
    family_sd, size_sd, seed_sd = (float(np.sqrt(component)) for component in components)
    if counts["runs"] == counts["architectures"]:
        seed_sd = nan
    return VarianceSplit(family_sd, size_sd, seed_sd, share.value, share.lower, share.upper, p, p_size, **counts)


def _checked(value: ArrayLike, family: Sequence[str], architecture: Sequence[str]) -> Floats:
    """Return the values, or raise `ValueError`."""
    y = np.asarray(value, float)
    if y.ndim != 1 or not len(y) == len(family) == len(architecture):
        raise ValueError(f"(runs,) values expected, got {y.shape}, {len(family)}, {len(architecture)}")
    if np.isnan(y).any():
        raise ValueError("a value is NaN; leave out runs without an AUROC")
    if len(set(zip(family, architecture, strict=True))) != len(set(architecture)):
        raise ValueError("an architecture stands in two families")
    return y


@dataclass(frozen=True, eq=False)
class _Design:
    """Quadratic forms of the sums of squares, and the system that gives the components."""

    forms: tuple[Floats, ...]
    system: Floats
    noise: Floats
    """What the patients add to each sum of squares."""
    shape: tuple[int, int, int]
    """Runs, architectures and families."""

    @classmethod
    def of(cls, in_family: Floats, in_architecture: Floats, covariance: Floats) -> _Design:
        runs = len(in_family)
        mean = np.full((runs, runs), 1 / runs)
        by_family, by_architecture = _projection(in_family), _projection(in_architecture)
        forms = [by_family - mean, by_architecture - by_family]
        effects = [in_family @ in_family.T, in_architecture @ in_architecture.T]
        if in_architecture.shape[1] < runs:  # with one seed each, seed and size cannot be separated
            forms.append(np.eye(runs) - by_architecture)
            effects.append(np.eye(runs))
        system = np.array([[np.sum(form * effect) for effect in effects] for form in forms])
        noise = np.array([np.sum(form * covariance) for form in forms])
        return cls(tuple(forms), system, noise, (runs, in_architecture.shape[1], in_family.shape[1]))

    def sums(self, y: Floats) -> Floats:
        """Return the sums of squares: float64, shape (2,), or (3,) with more than one seed."""
        return np.array([y @ form @ y for form in self.forms])

    def components(self, sums: Floats) -> Floats:
        """Return the variances of family, size and seed, float64, shape (draws, 3); none below 0."""
        solved = np.linalg.solve(self.system, sums - self.noise[:, None])
        if len(solved) == 2:
            solved = np.vstack([solved, np.zeros(solved.shape[1])])
        parts: Floats = np.maximum(solved.T, 0.0)
        return parts


def _covariance(patients: ArrayLike | None, runs: int) -> Floats:
    """Return the covariance of the values over replicates; 0 without replicates."""
    rows = np.empty((0, runs)) if patients is None else np.asarray(patients, float)
    rows = rows[~np.isnan(rows).any(axis=1)]
    return np.atleast_2d(np.cov(rows, rowvar=False)) if len(rows) > 1 else np.zeros((runs, runs))


def _indicator(group: Sequence[str]) -> Floats:
    """Return which group each run is in, float64, shape (runs, groups)."""
    index = np.unique(np.asarray(group), return_inverse=True)[1].reshape(-1)
    return np.eye(int(index.max()) + 1)[index]


def _projection(indicator: Floats) -> Floats:
    """Return the matrix that replaces each value by its group's mean."""
    projection: Floats = indicator / indicator.sum(axis=0) @ indicator.T
    return projection


def _share_interval(
    design: _Design, sums: Floats, components: Floats, generator: np.random.Generator, replicates: int
) -> tuple[Interval, float]:
    """Return the share of family with its generalised interval, and the p of more than half."""
    runs, architectures, families = design.shape
    freedom = np.array([families - 1, architectures - families, runs - architectures][: len(sums)])
    chance = generator.chisquare(freedom[:, None], (len(sums), replicates)) / freedom[:, None]
    draws = design.components(sums[:, None] / chance)
    with np.errstate(invalid="ignore"):
        share = components[0] / (components[0] + components[1])
        shares = draws[:, 0] / (draws[:, 0] + draws[:, 1])
    defined = shares[~np.isnan(shares)]
    p_size = min(1.0, 2 * (int((defined >= 0.5).sum()) + 1) / (defined.size + 1))
    return percentile_interval(float(share), shares), p_size


def _permutation_p(
    y: Floats, in_family: Floats, in_architecture: Floats, generator: np.random.Generator, permutations: int
) -> float:
    """Assign the architectures' means at random to families and compare the spread between families."""
    mean = in_architecture.T @ y / in_architecture.sum(axis=0)
    belongs = (in_architecture.T @ in_family > 0).astype(float)
    between = _projection(belongs) - 1 / len(mean)
    orders = generator.permuted(np.broadcast_to(mean, (permutations, len(mean))), axis=1)
    explained = np.einsum("rn,nm,rm->r", orders, between, orders, optimize=True)
    observed = float(mean @ between @ mean)
    return (int((explained >= observed - 1e-15).sum()) + 1) / (permutations + 1)
