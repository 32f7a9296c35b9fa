"""The bootstrap against a plain loop over patients and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import roc_auc_score

from xraytransfer.study.stats.auroc import auprc, auroc, macro_auroc, weighted_auprc
from xraytransfer.study.stats.bootstrap import (
    bootstrap,
    bootstrap_difference,
    bootstrap_macro,
    paired_interval,
    percentile_interval,
    resample_patients,
)


def data(images: int = 400, patients: int = 120, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    patient = rng.integers(0, patients, images)
    label = (rng.random((images, 2)) < 0.3).astype(float)
    probability = rng.random((images, 2)) + 0.5 * label
    return patient, label, probability


def test_resampling_is_by_patient() -> None:
    patient, _, _ = data()
    weights = resample_patients(patient, 50, np.random.default_rng(1))
    assert weights.shape == (50, len(patient))
    for one in np.unique(patient):
        columns = weights[:, patient == one]
        assert (columns == columns[:, :1]).all()
    _, first = np.unique(patient, return_index=True)
    assert (weights[:, first].sum(axis=1) == len(first)).all()  # as many patients as there are


def test_resampling_repeats_with_the_generator() -> None:
    patient, _, _ = data()
    one, two = (resample_patients(patient, 5, np.random.default_rng(9)) for _ in range(2))
    assert (one == two).all()
    assert resample_patients(patient.astype(str), 5, np.random.default_rng(9)).shape == one.shape


def test_as_a_plain_loop() -> None:
    patient, label, probability = data()
    weights = resample_patients(patient, 200, np.random.default_rng(2))
    names, index = np.unique(patient, return_inverse=True)
    rng, drawn = np.random.default_rng(2), []
    for _ in range(200):
        chosen = rng.integers(0, len(names), len(names))
        images = np.concatenate([np.flatnonzero(index == one) for one in chosen])
        drawn.append(roc_auc_score(label[images, 0], probability[images, 0]))
    interval = bootstrap(label[:, 0], probability[:, 0], weights)
    assert interval.value == pytest.approx(auroc(label[:, 0], probability[:, 0]), abs=1e-12)
    assert [interval.lower, interval.upper] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=1e-12)


def test_close_to_scipy_where_each_image_is_a_patient() -> None:
    _, label, probability = data(seed=3)
    ours = bootstrap(label[:, 0], probability[:, 0], resample_patients(np.arange(400), 4000, np.random.default_rng(0)))
    theirs = scipy_bootstrap(
        (label[:, 0], probability[:, 0]),
        roc_auc_score,
        paired=True,
        vectorized=False,
        n_resamples=999,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert [ours.lower, ours.upper] == pytest.approx(list(theirs), abs=0.006)


def test_patients_with_many_images_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    patient = np.repeat(np.arange(60), 10)
    label = np.repeat((rng.random(60) < 0.5).astype(float), 10)
    probability = np.repeat(rng.random(60), 10) + 0.3 * label + 0.01 * rng.random(600)
    by_patient, by_image = (
        bootstrap(label, probability, resample_patients(who, 500, np.random.default_rng(5)))
        for who in (patient, np.arange(600))
    )
    assert by_patient.upper - by_patient.lower > 2 * (by_image.upper - by_image.lower)


def test_replicates_without_a_class_are_counted() -> None:
    label = np.array([1.0, 0, 0, 0, 0])
    interval = bootstrap(label, np.linspace(1, 0, 5), resample_patients(range(5), 500, np.random.default_rng(0)))
    assert interval.value == 1
    assert interval.replicates == 500
    assert 100 < interval.undefined < 230  # the one positive is left out with a chance of .8**5 = .33
    assert (interval.lower, interval.upper) == (1, 1)


def test_undefined_stays_undefined() -> None:
    weights = resample_patients(range(4), 20, np.random.default_rng(0))
    interval = bootstrap(np.zeros(4), np.arange(4), weights)
    assert np.isnan([interval.value, interval.lower, interval.upper]).all()
    assert interval.undefined == 20
    macro, drawn = bootstrap_macro(np.zeros((4, 2)), np.zeros((4, 2)), weights)
    assert np.isnan(macro.value)
    assert np.isnan(drawn).all()


def test_macro_and_differences_are_paired() -> None:
    patient, label, probability = data()
    weights = resample_patients(patient, 300, np.random.default_rng(6))
    macro, drawn = bootstrap_macro(label, probability, weights)
    assert macro.value == pytest.approx(macro_auroc(label, probability))
    assert macro.lower < macro.value < macro.upper
    same = bootstrap_difference(label, probability, probability, weights)
    assert (same.value, same.lower, same.upper, same.p) == (0, 0, 0, 1)
    noisy = probability + np.random.default_rng(7).normal(0, 0.5, probability.shape)
    worse = bootstrap_difference(label, noisy, probability, weights)
    assert worse.upper < 0
    assert worse.p < 0.02
    _, noisy_drawn = bootstrap_macro(label, noisy, weights)
    again = paired_interval(worse.value, noisy_drawn, drawn)
    assert again == worse


def test_auprc_has_an_interval_too() -> None:
    patient, label, probability = data()
    weights = resample_patients(patient, 100, np.random.default_rng(8))
    interval = bootstrap(label[:, 0], probability[:, 0], weights, weighted_auprc)
    assert interval.value == pytest.approx(auprc(label[:, 0], probability[:, 0]))
    assert interval.lower < interval.value < interval.upper


def test_percentile_interval_and_p() -> None:
    interval = percentile_interval(50.0, np.arange(101.0))
    assert (interval.lower, interval.upper) == pytest.approx((2.5, 97.5))
    shifted = paired_interval(1.0, np.arange(1.0, 100.0), np.zeros(99))
    assert shifted.p == pytest.approx(2 * 1 / 100)


@pytest.mark.slow
def test_coverage_is_near_95_percent() -> None:
    # AUROC of two normals one apart is Phi(1 / sqrt 2) = .7602
    rng, covered = np.random.default_rng(10), 0
    for _ in range(200):
        label = np.repeat([0.0, 1.0], 60)
        probability = rng.normal(label, 1)
        weights = resample_patients(np.arange(120), 300, rng)
        interval = bootstrap(label, probability, weights)
        covered += interval.lower <= 0.76025 <= interval.upper
    assert 0.90 <= covered / 200 <= 0.985
