"""A model beside readers: exact on small cases, in agreement with scikit-learn, paired by patient."""

from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.study.stats.bootstrap import resample_patients
from xraytransfer.study.stats.readers import compare_with_readers

LABEL = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
ONCE = np.ones((1, 8))


def made_up(seed: int = 0, films: int = 300, readers: int = 5):
    generator = np.random.default_rng(seed)
    patient = generator.integers(0, films // 2, films)
    label = (generator.random(films) < 0.3).astype(float)
    probability = np.clip(0.3 * label + 0.7 * generator.random(films), 0, 1)
    right = generator.random((readers, films)) < 0.8
    return label, probability, np.where(right, label, 1 - label), resample_patients(patient, 200, generator)


def test_a_small_case_by_hand():
    probability = np.array([0.9, 0.8, 0.3, 0.2, 0.7, 0.6, 0.1, 0.05])
    reader = np.array([[1.0, 1, 1, 0, 1, 0, 0, 0]])  # three of four found, one of four wrong
    found = compare_with_readers(LABEL, probability, reader, ONCE)
    assert (found.sensitivity, found.specificity, found.model_sensitivity) == (0.75, 0.75, 0.5)
    assert found.difference.value == -0.25
    assert (found.images, found.positives) == (8, 4)


def test_a_model_that_says_what_the_reader_says_equals_the_reader():
    label, _, answers, weights = made_up()
    same = compare_with_readers(label, answers[0], answers[:1], weights)
    assert same.difference.value == same.difference.lower == same.difference.upper == 0


def test_the_curve_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    label, probability, answers, weights = made_up()
    fpr, tpr, _ = metrics.roc_curve(label, np.round(probability, 2), drop_intermediate=False)
    found = compare_with_readers(label, np.round(probability, 2), answers[:1], weights)
    assert found.model_sensitivity == pytest.approx(np.interp(1 - found.specificity, fpr, tpr))
    recall = metrics.recall_score(label, answers[0])
    assert found.sensitivity == pytest.approx(recall)


def test_the_average_reader_is_the_mean_of_the_readers():
    label, probability, answers, weights = made_up()
    each = [compare_with_readers(label, probability, answers[[row]], weights) for row in range(5)]
    average = compare_with_readers(label, probability, answers, weights)
    assert average.sensitivity == pytest.approx(np.mean([one.sensitivity for one in each]))
    assert average.specificity == pytest.approx(np.mean([one.specificity for one in each]))
    assert average.difference.lower < average.difference.value < average.difference.upper


def test_replicates_are_samples_of_their_own():
    """A replicate as integer weights gives what the repeated films give."""
    label, probability, answers, weights = made_up(films=60)
    repeated = np.repeat(np.arange(60), weights[0])
    alone = compare_with_readers(
        label[repeated], probability[repeated], answers[:1, repeated], np.ones((1, len(repeated)))
    )
    one = compare_with_readers(label, probability, answers[:1], weights[:1])
    assert one.difference.lower == pytest.approx(alone.difference.value)


def test_films_that_a_reader_did_not_answer_are_left_out():
    label, probability, answers, weights = made_up()
    answers[1, :100] = np.nan
    label[200:210] = np.nan
    found = compare_with_readers(label, probability, answers[:2], weights)
    kept = np.r_[100:200, 210:300]
    fewer = compare_with_readers(label[kept], probability[kept], answers[:2][:, kept], weights[:, kept])
    assert found == fewer
    assert found.images == 190


def test_an_absent_class_is_undefined():
    found = compare_with_readers(np.zeros(8), np.linspace(0, 1, 8), LABEL[None], ONCE)
    assert np.isnan(found.sensitivity)
    assert np.isnan(found.model_sensitivity)
    assert np.isnan(found.difference.value)
    nothing = compare_with_readers(np.full(8, np.nan), np.linspace(0, 1, 8), LABEL[None], ONCE)
    assert np.isnan(nothing.model_sensitivity)
    assert nothing.images == 0


def test_wrong_input():
    with pytest.raises(ValueError, match=r"answers and weights must be \(n, 8\)"):
        compare_with_readers(LABEL, LABEL, LABEL, ONCE)
    with pytest.raises(ValueError, match="answers must be 0, 1 or NaN"):
        compare_with_readers(LABEL, LABEL, LABEL[None] + 1, ONCE)
