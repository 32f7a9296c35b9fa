"""The slope within families against least squares by scipy, and the mean over families."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xraytransfer.study.stats.slope import mean_over_families, size_slope

FAMILY = list("aaabbcc")
SIZE = np.array([1.0, 2.0, 8.0, 3.0, 6.0, 20.0, 30.0])


def test_one_family_is_linear_regression() -> None:
    y = np.array([0.7, 0.75, 0.72, 0.8])
    ours = size_slope(y, SIZE[:4], list("aaaa"))
    theirs = scipy_stats.linregress(np.log2(SIZE[:4]), y)
    assert ours.value == pytest.approx(theirs.slope)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.freedom == 2


def test_levels_of_families_do_not_matter() -> None:
    y = np.random.default_rng(0).normal(0.8, 0.01, 7)
    shifted = y + np.array([0.1, 0.1, 0.1, 0.0, 0.0, -0.2, -0.2])
    one, two = size_slope(y, SIZE, FAMILY), size_slope(shifted, SIZE, FAMILY)
    assert (one.value, one.lower, one.p) == pytest.approx((two.value, two.lower, two.p))
    assert (one.freedom, one.models, one.families) == (3, 7, 3)
    assert (one.p < 0.05) == (one.lower > 0 or one.upper < 0)


def test_patients_widen() -> None:
    y = np.random.default_rng(0).normal(0.8, 0.01, 7)
    drawn = y + np.random.default_rng(1).normal(0, 0.02, (500, 7))
    drawn[0] = np.nan
    one, two = size_slope(y, SIZE, FAMILY), size_slope(y, SIZE, FAMILY, drawn)
    assert two.upper - two.lower > 1.5 * (one.upper - one.lower)


def test_too_few_models() -> None:
    no_pair = size_slope([0.7, 0.8], [1, 2], ["a", "b"])
    assert np.isnan([no_pair.value, no_pair.p]).all()
    no_freedom = size_slope([0.7, 0.8, 0.9], [1, 2, 3], ["a", "a", "b"])
    assert no_freedom.value == pytest.approx(0.1)
    assert np.isnan([no_freedom.lower, no_freedom.p]).all()
    with pytest.raises(ValueError, match="greater than 0"):
        size_slope([0.7, 0.8], [0, 2], ["a", "a"])
    with pytest.raises(ValueError, match="expected"):
        size_slope([0.7, 0.8], [1], ["a", "a"])


def test_mean_over_families_is_a_t_test_of_their_means() -> None:
    value = np.array([0.01, 0.03, 0.02, 0.05, 0.01, 0.02, 0.0])
    mean, lower, upper, p = mean_over_families(value, FAMILY)
    theirs = scipy_stats.ttest_1samp([0.02, 0.03, 0.01], 0)
    assert (mean, p) == pytest.approx((0.02, theirs.pvalue))
    assert (lower, upper) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert np.isnan(mean_over_families([0.1, 0.2], ["a", "b"])[1])
