"""The maximum over views."""

from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.study.examination import examination_maximum


def test_maximum_over_views() -> None:
    examination = ["b", "a", "b", "c"]
    labels = np.array([[0, 1], [np.nan, 0], [np.nan, 1], [1, np.nan]], float)
    probabilities = np.array([[0.1, 0.9], [0.5, 0.5], [0.3, 0.2], [0.4, 0.6]])
    first, label, probability = examination_maximum(examination, labels, probabilities)
    assert first.tolist() == [1, 0, 3]
    np.testing.assert_array_equal(label, [[np.nan, 0], [np.nan, 1], [1, np.nan]])
    np.testing.assert_array_equal(probability, [[0.5, 0.5], [0.3, 0.9], [0.4, 0.6]])


def test_one_view_each_changes_nothing_but_the_order() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 2, (20, 3)).astype(float), rng.random((20, 3))
    names = rng.permutation(20)
    first, label, probability = examination_maximum(names, labels, probabilities)
    np.testing.assert_array_equal(label, labels[first])
    np.testing.assert_array_equal(probability, probabilities[first])


def test_as_a_loop() -> None:
    rng = np.random.default_rng(1)
    names = rng.integers(0, 7, 40)
    labels, probabilities = rng.integers(0, 2, (40, 2)).astype(float), rng.random((40, 2))
    _, label, probability = examination_maximum(names, labels, probabilities)
    for row, name in enumerate(np.unique(names)):
        np.testing.assert_array_equal(label[row], labels[names == name].max(axis=0))
        np.testing.assert_array_equal(probability[row], probabilities[names == name].max(axis=0))


def test_empty_and_bad() -> None:
    first, label, _ = examination_maximum([], np.empty((0, 2)), np.empty((0, 2)))
    assert first.size == 0
    assert label.shape == (0, 2)
    with pytest.raises(ValueError, match="observations"):
        examination_maximum(["a"], np.ones((2, 2)), np.ones((2, 2)))
