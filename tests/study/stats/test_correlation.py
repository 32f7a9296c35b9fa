"""Spearman's rho, its p and Holm's correction against scipy; intervals and power against known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xraytransfer.study.stats.correlation import (
    detectable_rho,
    holm,
    power_of_rho,
    spearman,
    spearman_interval,
    spearman_test,
)


@pytest.mark.parametrize("decimals", [0, 6])
@pytest.mark.parametrize("n", [3, 8, 16, 40])
def test_rho_as_scipy(n: int, decimals: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(0, 2, n).round(decimals)
    y = (x + rng.normal(0, 2, n)).round(decimals)
    assert spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize("n", [5, 7, 16])
def test_permutation_p_as_scipy(n: int) -> None:
    rng = np.random.default_rng(n + 100)
    x, y = rng.normal(0, 1, n), rng.normal(0, 1, n)
    theirs = scipy_stats.permutation_test(
        (x,),
        lambda one: scipy_stats.spearmanr(one, y).statistic,
        permutation_type="pairings",
        n_resamples=5040 if n < 8 else 2000,
        rng=np.random.default_rng(0),
    )
    ours = spearman_test(x, y, np.random.default_rng(1))
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-9 if n < 8 else 0.04)


def test_p_of_the_published_boost() -> None:
    # rho = -.72 over 16 models: p about .0017 by Student's t
    rng = np.random.default_rng(3)
    x = np.arange(16.0)
    while abs(spearman(x, y := x + rng.normal(0, 5, 16)) - 0.72) > 0.005:
        pass
    assert spearman_test(x, -y, rng).p == pytest.approx(0.0017, abs=0.001)


@pytest.mark.parametrize(("rho", "expected"), [(0.08, (-0.43, 0.55)), (-0.72, (-0.91, -0.29)), (0.0, (-0.496, 0.496))])
def test_interval_for_sixteen_models(rho: float, expected: tuple[float, float]) -> None:
    assert spearman_interval(rho, 16) == pytest.approx(expected, abs=0.006)


def test_interval_covers() -> None:
    # normal data with Pearson r have Spearman rho = 6/pi asin(r/2)
    rng, r, covered = np.random.default_rng(4), 0.6, 0
    rho = 6 / np.pi * np.arcsin(r / 2)
    for _ in range(1000):
        x = rng.normal(0, 1, 16)
        y = r * x + np.sqrt(1 - r**2) * rng.normal(0, 1, 16)
        lower, upper = spearman_interval(spearman(x, y), 16)
        covered += lower <= rho <= upper
    assert 0.92 < covered / 1000 < 0.98


def test_power() -> None:
    assert power_of_rho(0.0, 16) == pytest.approx(0.05, abs=1e-9)
    detectable = detectable_rho(16)
    assert power_of_rho(detectable, 16) == pytest.approx(0.8, abs=1e-6)
    assert detectable_rho(100) < detectable < detectable_rho(5) < 1
    assert np.isnan(detectable_rho(3))
    # by simulation: bivariate normal with that rho, and the t test, for which |rho| must be .497 with 16 models
    rng, r = np.random.default_rng(5), 2 * np.sin(np.pi * detectable / 6)
    x = rng.normal(0, 1, (2000, 16))
    y = r * x + np.sqrt(1 - r**2) * rng.normal(0, 1, (2000, 16))
    seen = np.mean([abs(spearman(a, b)) >= 0.497 for a, b in zip(x, y, strict=True)])
    assert seen == pytest.approx(0.8, abs=0.05)


def test_holm() -> None:
    # Holm by hand: .005*4, .01*3, .03*2, .04*1, then never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = holm([0.5, np.nan, 0.9])
    assert corrected[[0, 2]] == pytest.approx([1.0, 1.0])
    assert np.isnan(corrected[1])
    assert holm([]).shape == (0,)


def test_small_and_constant() -> None:
    rng = np.random.default_rng(0)
    two = spearman_test([1, 2], [1, 2], rng)
    assert np.isnan([two.rho, two.lower, two.p, two.detectable]).all()
    assert two.n == 2
    assert np.isnan(spearman([1, 2, 3], [5, 5, 5]))
    perfect = spearman_test([1, 2, 3, 4], [1, 2, 3, 4], rng)
    assert perfect.rho == pytest.approx(1)
    assert np.isnan([perfect.lower, perfect.upper]).all()  # Fisher's z has no interval for a perfect order
    assert perfect.p == pytest.approx(2 / 24)  # with four models no p can fall below .083


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="models"):
        spearman([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="NaN"):
        spearman([1, 2, np.nan], [1, 2, 3])
