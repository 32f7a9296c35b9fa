"""Calibration errors and thresholds against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_curve

from xraytransfer.study.stats.calibration_error import (
    brier,
    expected_calibration_error,
    reliability_curve,
    sensitivity_specificity,
    threshold_at_sensitivity,
    wilson_interval,
    youden_threshold,
)


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    probability = rng.beta(1, 4, 1000)
    return (rng.random(1000) < probability**0.7).astype(float), probability


def test_curve_as_scikit_learn(sample: tuple[np.ndarray, np.ndarray]) -> None:
    curve = reliability_curve(*sample, bins=10)
    observed, mean = calibration_curve(*sample, n_bins=10, strategy="quantile")
    assert curve.probability == pytest.approx(mean, abs=0.002)  # its edges lie between images, ours on them
    assert curve.observed == pytest.approx(observed, abs=0.02)
    assert curve.images.sum() == 1000
    assert curve.images.min() >= 99
    assert ((curve.lower <= curve.observed) & (curve.observed <= curve.upper)).all()


def test_error_is_the_weighted_gap(sample: tuple[np.ndarray, np.ndarray]) -> None:
    label, probability = sample
    order = np.argsort(probability)
    gaps = [abs(label[i].mean() - probability[i].mean()) for i in np.array_split(order, 20)]
    assert expected_calibration_error(label, probability, 20) == pytest.approx(np.mean(gaps), abs=1e-12)


def test_calibrated_probabilities_have_a_small_error() -> None:
    rng = np.random.default_rng(1)
    probability = rng.random(20000)
    label = (rng.random(20000) < probability).astype(float)
    assert expected_calibration_error(label, probability) < 0.02
    assert expected_calibration_error(label, np.full(20000, label.mean())) < 1e-9
    assert expected_calibration_error(label, np.ones(20000)) == pytest.approx(1 - label.mean())


def test_brier_as_scikit_learn(sample: tuple[np.ndarray, np.ndarray]) -> None:
    assert brier(*sample) == pytest.approx(brier_score_loss(*sample))
    assert brier([0, 1], [0, 1]) == 0
    assert np.isnan(brier([np.nan], [0.5]))


def test_wilson_as_scipy() -> None:
    lower, upper = wilson_interval([0, 3, 10], [10, 10, 10])
    for index, count in enumerate([0, 3, 10]):
        theirs = binomtest(count, 10).proportion_ci(method="wilson")
        assert (lower[index], upper[index]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_youden_as_scikit_learn(sample: tuple[np.ndarray, np.ndarray]) -> None:
    label, probability = sample
    false, true, _ = roc_curve(label, probability)
    sensitivity, specificity = sensitivity_specificity(label, probability, youden_threshold(label, probability))
    assert sensitivity + specificity - 1 == pytest.approx((true - false).max())


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95, 1.0])
def test_threshold_at_sensitivity(sample: tuple[np.ndarray, np.ndarray], wanted: float) -> None:
    label, probability = np.array(sample[0]), np.round(sample[1], 2)
    threshold = threshold_at_sensitivity(label, probability, wanted)
    sensitivity, _ = sensitivity_specificity(label, probability, threshold)
    assert sensitivity >= wanted
    higher = probability[probability > threshold].min() + 1e-9
    assert sensitivity_specificity(label, probability, higher)[0] < wanted
    assert threshold not in probability  # midway: a rounding error flips nothing


def test_masked_and_one_class() -> None:
    label, probability = np.array([0, 1, np.nan, 1, 0]), np.array([0.1, 0.7, 0.9, 0.8, 0.2])
    assert youden_threshold(label, probability) == pytest.approx(0.45)
    assert np.isnan(youden_threshold([0, 0], [0.1, 0.2]))
    assert np.isnan(threshold_at_sensitivity([1, 1], [0.1, 0.2], 0.9))
    sensitivity, specificity = sensitivity_specificity([0, 0], [0.1, 0.2], 0.15)
    assert np.isnan(sensitivity)
    assert specificity == 0.5
    assert np.isnan(expected_calibration_error([np.nan], [0.1]))


def test_everything_positive() -> None:
    threshold = threshold_at_sensitivity([1, 0, 1], [0.2, 0.5, 0.9], 1.0)
    assert threshold == pytest.approx(0.1)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="sigmoid"):
        brier([0, 1], [0.1, 1.2])
    with pytest.raises(ValueError, match="uncertainty policy"):
        brier([0, -1], [0.1, 0.2])
    with pytest.raises(ValueError, match="sensitivity"):
        threshold_at_sensitivity([0, 1], [0.1, 0.2], 0)
    with pytest.raises(ValueError, match="bin"):
        reliability_curve([0, 1], [0.1, 0.2], 0)
    with pytest.raises(ValueError, match="arrays"):
        brier([0, 1], [0.1])
