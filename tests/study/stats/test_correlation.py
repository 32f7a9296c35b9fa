"""Spearman's rho against scipy, Holm by hand; intervals, p and power that agree with each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xraytransfer.study.stats.correlation import correlate, detectable_rho, effective_models, holm, spearman

FAMILY = list("aaaabbbccdeeeeff")
"""The paper's sixteen architectures in six families."""


@pytest.mark.parametrize("decimals", [0, 6])
@pytest.mark.parametrize("n", [3, 8, 16, 40])
def test_rho_as_scipy(n: int, decimals: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(0, 2, n).round(decimals)
    y = (x + rng.normal(0, 2, n)).round(decimals)
    assert spearman(x, y) == pytest.approx(scipy_stats.spearmanr(x, y).statistic, abs=1e-12)


def test_independent_models_are_worth_their_number() -> None:
    x = np.random.default_rng(0).normal(size=16)
    assert effective_models(x, [str(i) for i in range(16)]) == pytest.approx(16)
    assert effective_models(x, ["one"] * 16) != effective_models(x, FAMILY)
    assert 3 < effective_models(x, FAMILY) <= 16


def test_families_that_hold_all_of_x_are_worth_their_number() -> None:
    # four families of four models: worth four where x is the family's
    assert effective_models(np.repeat([1.0, 2, 3, 4], 4), np.repeat(list("abcd"), 4).tolist()) == pytest.approx(4)


@pytest.mark.parametrize("seed", range(8))
def test_p_and_interval_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=16)
    one = correlate(x, x + rng.normal(size=16) * 0.8, FAMILY, x + rng.normal(size=(50, 16)))
    assert (one.p < 0.05) == (one.lower > 0 or one.upper < 0)
    assert one.lower < one.rho < one.upper
    assert one.patients[0] < one.patients[1]


def test_patients_widen() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=16)
    y = x + rng.normal(size=16)
    known, drawn = correlate(x, y, FAMILY), correlate(x, y, FAMILY, y + rng.normal(size=(400, 16)))
    assert known.rho == drawn.rho
    assert drawn.upper - drawn.lower > known.upper - known.lower


def test_power_by_simulation_of_the_test() -> None:
    x = np.random.default_rng(0).normal(size=16)
    alone = [str(i) for i in range(16)]
    one = detectable_rho(x, alone, np.random.default_rng(1))
    assert 0.6 < one < 0.75
    assert detectable_rho(x, alone, np.random.default_rng(1), tests=3) > one
    assert detectable_rho(x, alone, np.random.default_rng(1), variance=0.1) > one
    rng, r, seen = np.random.default_rng(2), 2 * np.sin(np.pi * one / 6), 0
    score = (x - x.mean()) / x.std()
    for _ in range(300):
        seen += correlate(x, r * score + np.sqrt(1 - r**2) * rng.normal(size=16), alone).p < 0.05
    assert seen / 300 == pytest.approx(0.8, abs=0.07)


def test_few_models_have_no_power() -> None:
    assert np.isnan(detectable_rho([1.0, 2, 3, 4], list("abcd"), np.random.default_rng(0)))
    assert np.isnan(detectable_rho([1.0, 2], list("ab"), np.random.default_rng(0)))


def test_holm() -> None:
    # Holm by hand: .005*4, .01*3, .03*2, .04*1, then never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    corrected = holm([0.5, np.nan, 0.9])
    assert corrected[[0, 2]] == pytest.approx([1.0, 1.0])
    assert np.isnan(corrected[1])
    assert holm([]).shape == (0,)


def test_small_and_constant() -> None:
    two = correlate([1, 2], [1, 2], ["a", "b"])
    assert np.isnan([two.rho, two.lower, two.p]).all()
    assert two.n == 2
    assert correlate([], [], []).n == 0
    assert np.isnan(spearman([1, 2, 3], [5, 5, 5]))
    perfect = correlate([1, 2, 3, 4], [1, 2, 3, 4], list("abcd"))
    assert perfect.rho == pytest.approx(1)
    assert perfect.p > 0.05  # with four models not even a perfect order is significant


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="models"):
        spearman([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="NaN"):
        spearman([1, 2, np.nan], [1, 2, 3])
