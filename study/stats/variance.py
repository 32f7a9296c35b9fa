"""Does the family of an architecture matter more than its size? The spread of AUROC, split three ways.

Conventions
-----------
A value is one run's macro AUROC. Families hold architectures (sizes), architectures hold runs (seeds):
``value = mean + family + size within family + seed``, each part random with its own variance.

Metrics
-------
Variance components : from the three sums of squares and their expectations, solved for this very, usually
    unbalanced, grid (Henderson's first method); negative estimates are set to 0.
Share of family : family / (family + size within family).
Interval : generalised (fiducial): each sum of squares is divided by a drawn chi-square over its degrees of
    freedom and the components solved again. With few families it is wide, as it should be.
p : architectures are dealt anew to families of the same sizes; how often do families then explain as much?

Differences from the paper
--------------------------
The paper compares ranges (largest minus smallest within a family, against differences across families). A
range grows with the number of models, and one run per architecture cannot tell size from chance: seeds do.

References
----------
Searle, Casella and McCulloch, Variance Components, 1992, chapter 5.
Weerahandi, Journal of the American Statistical Association 88, 1993, 899-905 (generalised intervals).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.study.stats.bootstrap import percentile_interval

__all__ = ["VarianceSplit", "variance_split"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VarianceSplit:
    """The three parts, each as a standard deviation of AUROC.

    Attributes
    ----------
    family, size, seed : float
        Standard deviations; NaN where not defined. Without a second seed, ``seed`` is NaN and ``size``
        holds both.
    share : float
        Part of family in the variance of family and size, in [0, 1]; NaN where both are 0 or undefined.
    lower, upper : float
        95 % interval of the share.
    p : float
        Chance that randomly formed families explain as much.
    families, architectures, runs : int
        What the grid holds.
    """

    family: float
    size: float
    seed: float
    share: float
    lower: float
    upper: float
    p: float
    families: int
    architectures: int
    runs: int


def variance_split(
    value: ArrayLike,
    family: Sequence[str],
    architecture: Sequence[str],
    generator: np.random.Generator,
    replicates: int = 2000,
) -> VarianceSplit:
    """Return how much of the spread is family, size within family, and seed.

    Parameters
    ----------
    value : array_like
        float, shape (runs,), without NaN.
    family, architecture : sequence of str
        Shape (runs,).
    generator : numpy.random.Generator
        Source of chance.
    replicates : int
        Draws for the interval, and permutations.

    Returns
    -------
    VarianceSplit
        NaN throughout with fewer than two families, or where no family has two architectures.

    Raises
    ------
    ValueError
        Shapes differ, a value is NaN, or an architecture stands in two families.
    """
    y = np.asarray(value, float)
    if y.ndim != 1 or not len(y) == len(family) == len(architecture):
        raise ValueError(f"(runs,) values expected, got {y.shape}, {len(family)}, {len(architecture)}")
    if np.isnan(y).any():
        raise ValueError("a value is NaN; leave out runs without an AUROC")
    if len(set(zip(family, architecture, strict=True))) != len(set(architecture)):
        raise ValueError("an architecture stands in two families")
    families, architectures, runs = len(set(family)), len(set(architecture)), len(y)
    nan = float("nan")
    if families < 2 or architectures == families:
        return VarianceSplit(nan, nan, nan, nan, nan, nan, nan, families, architectures, runs)
    in_family, in_architecture = _indicator(family), _indicator(architecture)
    design = _Design.of(in_family, in_architecture)
    sums = design.sums(y)
    parts = design.components(sums[:, None])[0]
    freedom = np.array([families - 1, architectures - families, runs - architectures][: len(sums)])
    chance = generator.chisquare(freedom[:, None], (len(sums), replicates)) / freedom[:, None]
    drawn = design.components(sums[:, None] / chance)
    with np.errstate(invalid="ignore"):
        share = parts[0] / (parts[0] + parts[1])
        shares = drawn[:, 0] / (drawn[:, 0] + drawn[:, 1])
    interval = percentile_interval(float(share), shares)
    p = _permutation_p(y, in_family, in_architecture, generator, replicates)
    seed = float(np.sqrt(parts[2])) if runs > architectures else nan
    return VarianceSplit(
        float(np.sqrt(parts[0])),
        float(np.sqrt(parts[1])),
        seed,
        float(share),
        interval.lower,
        interval.upper,
        p,
        families,
        architectures,
        runs,
    )


@dataclass(frozen=True, eq=False)
class _Design:
    """Quadratic forms of the sums of squares, and the system that gives the components."""

    forms: tuple[Floats, ...]
    system: Floats

    @classmethod
    def of(cls, in_family: Floats, in_architecture: Floats) -> _Design:
        runs = len(in_family)
        mean = np.full((runs, runs), 1 / runs)
        by_family, by_architecture = _projection(in_family), _projection(in_architecture)
        forms = [by_family - mean, by_architecture - by_family]
        effects = [in_family @ in_family.T, in_architecture @ in_architecture.T]
        if in_architecture.shape[1] < runs:  # else a single seed each: nothing tells seed from size
            forms.append(np.eye(runs) - by_architecture)
            effects.append(np.eye(runs))
        system = np.array([[np.sum(form * effect) for effect in effects] for form in forms])
        return cls(tuple(forms), system)

    def sums(self, y: Floats) -> Floats:
        """Return the sums of squares: float64, shape (2,), or (3,) with more than one seed."""
        return np.array([y @ form @ y for form in self.forms])

    def components(self, sums: Floats) -> Floats:
        """Return variances, float64, shape (draws, 3): family, size, seed; none below 0."""
        solved = np.linalg.solve(self.system, sums)
        if len(solved) == 2:
            solved = np.vstack([solved, np.zeros(solved.shape[1])])
        parts: Floats = np.maximum(solved.T, 0.0)
        return parts


def _indicator(group: Sequence[str]) -> Floats:
    """Return which group each run is in, float64, shape (runs, groups)."""
    index = np.unique(np.asarray(group), return_inverse=True)[1].reshape(-1)
    return np.eye(int(index.max()) + 1)[index]


def _projection(indicator: Floats) -> Floats:
    """Return the matrix that replaces each value by its group's mean."""
    answer: Floats = indicator / indicator.sum(axis=0) @ indicator.T
    return answer


def _permutation_p(
    y: Floats, in_family: Floats, in_architecture: Floats, generator: np.random.Generator, rows: int
) -> float:
    """Deal architectures' means anew to families and compare the spread between families."""
    mean = in_architecture.T @ y / in_architecture.sum(axis=0)
    belongs = (in_architecture.T @ in_family > 0).astype(float)
    between = _projection(belongs) - 1 / len(mean)
    dealt = generator.permuted(np.broadcast_to(mean, (rows, len(mean))), axis=1)
    explained = np.einsum("rn,nm,rm->r", dealt, between, dealt, optimize=True)
    observed = float(mean @ between @ mean)
    return (int((explained >= observed - 1e-15).sum()) + 1) / (rows + 1)
