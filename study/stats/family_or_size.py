"""Whether the family or the size within a family moves AUROC more.

Conventions
-----------
The variance of the runs is split as it is, and with the slope on size taken off, at five slopes across its interval.
Families also differ in size, so that an effect of size alone lets families differ; with the slope off, such a
difference goes. *Family matters more* only if all these splits put more than half of the variance in families and all
are more than chance; *size matters more* only if the split of the values as they are puts less than half there. Both
are corrected for the number of initialisations. With one seed everywhere, the chance of training counts as size, and
intervals of the share would be wrong: there is then no verdict and no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.slope import size_slope
from xraytransfer.study.stats.variance import VarianceSplit, variance_split

__all__ = ["FamilyOrSize", "family_or_size"]


@dataclass(frozen=True)
class FamilyOrSize:
    """The verdict, and what it rests on.

    Attributes
    ----------
    verdict : str
        ``family``, ``size``, ``undecided``, or ``one seed`` and ``too few``, where it cannot be told.
    split : VarianceSplit
        Of the values as they are; without an interval where there is no verdict.
    adjusted_p, adjusted_lower : float
        Largest p and lowest lower end of the share with the slopes on size taken off.
    """

    verdict: Literal["family", "size", "undecided", "one seed", "too few"]
    split: VarianceSplit
    adjusted_p: float
    adjusted_lower: float


def family_or_size(
    value: ArrayLike,
    family: Sequence[str],
    architecture: Sequence[str],
    parameters: ArrayLike,
    generator: np.random.Generator,
    *,
    patients: ArrayLike | None = None,
    tests: int = 1,
    replicates: int = 2000,
) -> FamilyOrSize:
    """Return whether family or size matters more.

    Parameters
    ----------
    value, parameters : array_like
        float, shape (runs,), without NaN.
    family, architecture : sequence of str
        Shape (runs,).
    generator : numpy.random.Generator
        Source of randomness.
    patients : array_like, optional
        float, shape (draws, runs): see `variance_split`.
    tests : int
        Splits that the study makes; p must be below .05 over this number.
    replicates : int
        Draws for the interval, and permutations.

    Returns
    -------
    FamilyOrSize

    Raises
    ------
    ValueError
        As for `variance_split` and `size_slope`.
    """
    split = variance_split(value, family, architecture, generator, replicates, patients=patients)
    nan = float("nan")
    if np.isnan(split.family):
        return FamilyOrSize("too few", split, nan, nan)
    if split.runs == split.architectures:
        return FamilyOrSize("one seed", replace(split, lower=nan, upper=nan), nan, nan)
    others = [
        variance_split(rest, family, architecture, generator, replicates, patients=patients)
        for rest in _without_slopes(value, family, architecture, parameters)
    ]
    by_family = all(one.lower > 0.5 and one.p < 0.05 / tests for one in (split, *others))
    by_size = split.upper < 0.5 and split.p_size < 0.05 / tests
    verdict: Literal["family", "size", "undecided"] = "family" if by_family else "size" if by_size else "undecided"
    return FamilyOrSize(verdict, split, max(one.p for one in others), min(one.lower for one in others))


def _without_slopes(
    value: ArrayLike, family: Sequence[str], architecture: Sequence[str], parameters: ArrayLike
) -> list[Floats]:
    """Return the runs' values less each of five slopes on size, across the slope's interval within families."""
    y, size = np.asarray(value, float), np.asarray(parameters, float)
    _, first, index = np.unique(np.asarray(architecture), return_index=True, return_inverse=True)
    means = np.bincount(index, y) / np.bincount(index)
    slope = size_slope(means, size[first], np.asarray(family)[first].tolist())
    ends = (slope.value, slope.value) if np.isnan(slope.lower) else (slope.lower, slope.upper)
    return [y - one * np.log2(size) for one in np.nan_to_num(np.linspace(*ends, 5))]
