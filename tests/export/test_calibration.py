"""Calibration: right shapes, order kept, chosen by measured error, honest about too few films."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from xraytransfer.errors import ExportError
from xraytransfer.export.calibration import METHODS, compare, fit, identity
from xraytransfer.study.stats.auroc import auroc
from xraytransfer.study.stats.calibration_error import expected_calibration_error

FILMS = 4000


def films(slope=1.0, shift=0.0, seed=0, k=2):
    """Return labels, probabilities whose logit is `slope` and `shift` away from the truth, and patients."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1, 1.5, (FILMS, k))
    label = (rng.random((FILMS, k)) < expit(truth)).astype(float)
    return label, expit((truth - shift) / slope), np.arange(FILMS) // 2


def test_a_calibrated_model_stays_as_it_is():
    label, p, patient = films()
    found = fit(label, p, patient, np.random.default_rng(0))
    assert found.method == "none"
    np.testing.assert_allclose(found.apply(p), p, atol=1e-6)


@pytest.mark.parametrize(("slope", "shift", "method"), [(2.0, 0.0, "temperature"), (1.0, -1.0, "platt")])
def test_the_simplest_method_that_helps_is_chosen_and_finds_the_truth(slope, shift, method):
    label, p, patient = films(slope, shift)
    found = fit(label, p, patient, np.random.default_rng(0))
    assert found.method == method
    np.testing.assert_allclose(found.a, slope, rtol=0.1)
    np.testing.assert_allclose(found.c, shift, atol=0.15)
    for k in range(2):
        after = expected_calibration_error(label[:, k], found.apply(p)[:, k])
        assert after < 0.5 * expected_calibration_error(label[:, k], p[:, k])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(METHODS), st.integers(0, 1000))
def test_every_method_keeps_the_order_of_films(method, seed):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 2, (80, 1))
    label = (rng.random((80, 1)) < p).astype(float)
    found = fit(label, p, np.arange(80), rng, method)
    after = found.apply(np.sort(p, axis=0))[:, 0]
    assert (np.diff(after) >= 0).all()
    if not np.isnan(auroc(label[:, 0], p[:, 0])):
        assert auroc(label[:, 0], found.apply(p)[:, 0]) == pytest.approx(auroc(label[:, 0], p[:, 0]), abs=1e-9)


def test_gradient_of_the_fit_leads_to_the_least_loss():
    label, p, patient = films(1.5, 0.5)
    found = fit(label, p, patient, np.random.default_rng(0), "beta")

    def loss(a, b, c):
        z = a * np.log(p[:, 0]) - b * np.log1p(-p[:, 0]) + c
        return np.mean(np.logaddexp(0, z) - label[:, 0] * z)

    best = loss(found.a[0], found.b[0], found.c[0])
    for step in np.eye(3) * 0.02:
        for sign in (-1, 1):
            moved = np.array([found.a[0], found.b[0], found.c[0]]) + sign * step
            assert loss(*moved) >= best - 1e-6


def test_masked_labels_are_left_out():
    label, p, patient = films(2.0)
    half = label.copy()
    half[::2] = np.nan
    masked = fit(half, p, patient, np.random.default_rng(0), "temperature")
    kept = fit(label[1::2], p[1::2], patient[1::2], np.random.default_rng(0), "temperature")
    np.testing.assert_allclose(masked.a, kept.a, rtol=1e-6)


def test_an_observation_with_too_few_positives_stays_as_it_is():
    label, p, patient = films(2.0)
    label[:, 1] = 0
    label[:4, 1] = 1
    found = fit(label, p, patient, np.random.default_rng(0))
    assert found.fitted.tolist() == [True, False]
    np.testing.assert_allclose(found.apply(p)[:, 1], p[:, 1], atol=1e-6)


def test_no_patient_is_on_both_sides_of_a_fold():
    """One patient with all films: every fold but one has nothing to learn from, so nothing can be gained."""
    label, p, _ = films(3.0)
    errors = compare(label, p, np.zeros(FILMS), np.random.default_rng(0))
    assert errors["temperature"] == pytest.approx(errors["none"])


def test_stored_numbers_give_the_same_curve():
    label, p, patient = films(1.5, 0.5)
    found = fit(label, p, patient, np.random.default_rng(0), "beta")
    stored = found.to_dict("validation patients")
    a, b, c = (np.array(stored["parameters"][key]) for key in "abc")
    np.testing.assert_allclose(expit(a * np.log(p) - b * np.log1p(-p) + c), found.apply(p), atol=1e-9)
    assert all(values.dtype == np.float32 for values in found.initialisers().values())


def test_identity_and_saturation():
    values = identity(1).apply([[0.0], [1.0], [0.5]])
    assert ((values > 0) & (values < 1)).all()
    assert logit(values[2, 0]) == pytest.approx(0)


def test_refusals():
    with pytest.raises(ExportError, match="unknown calibration 'isotonic'"):
        fit([[1.0]], [[0.5]], [0], np.random.default_rng(0), "isotonic")
    with pytest.raises(ExportError, match="needs labelled films"):
        fit(np.empty((0, 6)), np.empty((0, 6)), [], np.random.default_rng(0))
