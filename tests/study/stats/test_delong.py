"""DeLong's covariance against the definition, written out pair by pair, and against worked numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from xraytransfer.study.stats.auroc import auroc
from xraytransfer.study.stats.bootstrap import bootstrap, bootstrap_difference, resample_patients
from xraytransfer.study.stats.delong import delong_covariance, delong_test


def by_definition(label: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROCs and covariance from placement values, DeLong 1988 equations 4 to 6."""
    x, y = scores[:, label == 1], scores[:, label == 0]
    m, n, k = x.shape[1], y.shape[1], len(scores)
    psi = np.empty((k, m, n))
    for r in range(k):
        for i in range(m):
            for j in range(n):
                psi[r, i, j] = 1.0 if y[r, j] < x[r, i] else 0.5 if y[r, j] == x[r, i] else 0.0
    theta = psi.mean(axis=(1, 2))
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    s10, s01 = np.cov(v10, ddof=1), np.cov(v01, ddof=1)
    return theta, s10 / m + s01 / n


def case(seed: int, decimals: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (rng.random(70) < 0.35).astype(float)
    common = rng.normal(0, 1, 70)
    scores = np.stack([label * s + common + rng.normal(0, 1, 70) for s in (1.0, 0.6, 0.0)])
    return label, np.round(scores, decimals)


@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("seed", range(3))
def test_as_the_definition(seed: int, decimals: int) -> None:
    label, scores = case(seed, decimals)
    area, covariance = delong_covariance(label, scores)
    expected_area, expected = by_definition(label, scores)
    assert area == pytest.approx(expected_area, abs=1e-12)
    assert covariance == pytest.approx(expected, abs=1e-12)
    assert area[0] == pytest.approx(auroc(label, scores[0]), abs=1e-12)


def test_worked_by_hand() -> None:
    # positives 3, 5, 7; negatives 1, 2, 4, 6. Placements of positives 2/4, 3/4, 1: mean 3/4, variance 1/16.
    # Placements of negatives 1, 1, 2/3, 1/3: variance 11/108. Var = (1/16)/3 + (11/108)/4 = .0208333 + .025463
    label, score = [1, 1, 1, 0, 0, 0, 0], [[3.0, 5, 7, 1, 2, 4, 6]]
    area, covariance = delong_covariance(label, score)
    assert area[0] == pytest.approx(0.75)
    assert covariance[0, 0] == pytest.approx(1 / 48 + 11 / 432, abs=1e-15)


def test_aneurysmal_haemorrhage() -> None:
    # Hanley and McNeil 1982 (Radiology 143, table I): 58 normal and 51 abnormal CT images, five ratings; the
    # area is .893. Stata's manual of `roctab` prints DeLong's numbers of these: .8932, .0307, .83295 to .95339.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    label = np.repeat([0.0, 1.0], [58, 51])
    rating = np.concatenate([np.repeat(np.arange(1, 6), counts) for counts in (normal, abnormal)])
    area, covariance = delong_covariance(label, rating[None])
    error = float(np.sqrt(covariance[0, 0]))
    assert area[0] == pytest.approx(0.8932, abs=5e-5)
    assert error == pytest.approx(0.0307, abs=5e-5)
    assert (area[0] - 1.959964 * error, area[0] + 1.959964 * error) == pytest.approx((0.83295, 0.95339), abs=1e-5)


def test_one_image_a_patient_is_plain_delong() -> None:
    label, scores = case(4, 1)
    plain = delong_covariance(label, scores)[1]
    assert delong_covariance(label, scores, [f"p{i}" for i in range(70)])[1] == pytest.approx(plain, abs=1e-15)


def test_doubled_images_do_not_add_information() -> None:
    label, scores = case(5, 9)
    patient = np.arange(70)
    once = delong_covariance(label, scores, patient)[1]
    twice = delong_covariance(np.tile(label, 2), np.tile(scores, 2), np.tile(patient, 2))[1]
    assert twice == pytest.approx(once, rel=1e-9)
    naive = delong_covariance(np.tile(label, 2), np.tile(scores, 2))[1]
    assert naive[0, 0] < 0.6 * once[0, 0]


def test_clustered_agrees_with_the_bootstrap_by_patient() -> None:
    rng = np.random.default_rng(6)
    patient = np.repeat(np.arange(150), 4)
    label = (rng.random(600) < np.repeat(rng.random(150), 4)).astype(float)
    score = label + np.repeat(rng.normal(0, 1, 150), 4) + rng.normal(0, 0.7, 600)
    error = np.sqrt(delong_covariance(label, score[None], patient)[1][0, 0])
    interval = bootstrap(label, score, resample_patients(patient, 2000, rng))
    assert error == pytest.approx((interval.upper - interval.lower) / (2 * 1.96), rel=0.1)


def test_paired_test() -> None:
    label, scores = case(7, 9)
    test = delong_test(label, scores[0], scores[2])
    area, covariance = by_definition(label, scores[[0, 2]])
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert test.difference == pytest.approx(area[0] - area[1])
    assert test.z == pytest.approx(test.difference / error)
    from scipy.stats import norm

    assert test.p == pytest.approx(2 * norm.sf(abs(test.z)), rel=1e-6)
    assert (test.lower + test.upper) / 2 == pytest.approx(test.difference)
    weights = resample_patients(np.arange(70), 2000, np.random.default_rng(0))
    boot = bootstrap_difference(label[:, None], scores[0][:, None], scores[2][:, None], weights)
    assert (test.lower, test.upper) == pytest.approx((boot.lower, boot.upper), abs=0.03)


def test_equal_models_and_small_classes() -> None:
    label, scores = case(8, 9)
    same = delong_test(label, scores[0], scores[0])
    assert (same.difference, same.z, same.p) == (0, 0, 1)
    few = delong_test([1, 0, 0], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3])
    assert np.isnan([few.p, few.lower]).all()
    perfect = delong_test([1, 1, 0, 0], [4, 3, 2, 1], [1, 2, 3, 4])
    assert (perfect.difference, perfect.p) == (1, 0)


def test_masked_labels_and_bad_input() -> None:
    label, scores = case(9, 9)
    masked = label.copy()
    masked[::4] = np.nan
    kept = ~np.isnan(masked)
    assert delong_covariance(masked, scores, np.arange(70))[1] == pytest.approx(
        delong_covariance(label[kept], scores[:, kept])[1]
    )
    with pytest.raises(ValueError, match="uncertainty policy"):
        delong_covariance([0, 1, -1], np.ones((1, 3)))
    with pytest.raises(ValueError, match="models, images"):
        delong_covariance([0, 1], np.ones(2))


def test_a_very_small_p_is_not_0() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0.0, 1.0], 400)
    test = delong_test(label, label + rng.normal(0, 0.4, 800), rng.normal(0, 1, 800))
    assert test.z > 9
    assert test.p == pytest.approx(2 * norm.sf(test.z), rel=1e-9, abs=0)
