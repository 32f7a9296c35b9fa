"""AUROC and AUPRC against scikit-learn and against pairs counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from xraytransfer.study.stats.auroc import (
    auprc,
    auroc,
    macro_auroc,
    weighted_auprc,
    weighted_auroc,
)


def sample(seed: int, images: int = 300, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = (rng.random(images) < 0.2).astype(float)
    return label, np.round(rng.random(images) * 0.7 + 0.3 * label * rng.random(images), decimals)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_auroc_counts_pairs(rows: list[tuple[bool, int]]) -> None:
    positive = [score for label, score in rows if label]
    negative = [score for label, score in rows if not label]
    measured = auroc([float(label) for label, _ in rows], [score for _, score in rows])
    if not positive or not negative:
        assert np.isnan(measured)
        return
    won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert measured == pytest.approx(won / (len(positive) * len(negative)), abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("seed", range(3))
def test_as_scikit_learn(seed: int, decimals: int) -> None:
    label, probability = sample(seed, decimals=decimals)
    assert auroc(label, probability) == pytest.approx(roc_auc_score(label, probability), abs=1e-12)
    assert auprc(label, probability) == pytest.approx(average_precision_score(label, probability), abs=1e-12)


@pytest.mark.parametrize("decimals", [1, 12])
def test_weights_are_repetitions(decimals: int) -> None:
    label, probability = sample(5, decimals=decimals)
    weights = np.random.default_rng(1).integers(0, 4, (20, len(label)))
    areas, precisions = (f(label, probability, weights) for f in (weighted_auroc, weighted_auprc))
    for row, area, precision in zip(weights, areas, precisions, strict=True):
        index = np.repeat(np.arange(len(label)), row)
        assert area == pytest.approx(roc_auc_score(label[index], probability[index]), abs=1e-12)
        assert precision == pytest.approx(average_precision_score(label[index], probability[index]), abs=1e-12)


def test_fractional_weights_as_scikit_learn() -> None:
    label, probability = sample(6)
    weights = np.random.default_rng(2).random((1, len(label)))
    expected = roc_auc_score(label, probability, sample_weight=weights[0])
    assert weighted_auroc(label, probability, weights)[0] == pytest.approx(expected, abs=1e-12)


def test_masked_labels_do_not_count() -> None:
    label, probability = sample(7)
    masked = label.copy()
    masked[::3] = np.nan
    kept = ~np.isnan(masked)
    probability[~kept] = np.nan  # a masked image need not have been scored
    assert auroc(masked, probability) == auroc(label[kept], probability[kept])
    assert auprc(masked, probability) == auprc(label[kept], probability[kept])
    ones = np.ones((1, len(label)))
    assert weighted_auroc(masked, probability, ones)[0] == pytest.approx(auroc(masked, probability))


def test_perfect_inverted_and_constant() -> None:
    label = np.array([0, 0, 1, 1.0])
    assert auroc(label, [0.1, 0.2, 0.3, 0.4]) == 1
    assert auroc(label, [0.4, 0.3, 0.2, 0.1]) == 0
    assert auroc(label, [0.5] * 4) == 0.5
    assert auprc(label, [0.1, 0.2, 0.3, 0.4]) == 1
    assert auprc(label, [0.5] * 4) == 0.5


@pytest.mark.parametrize("label", [[0.0, 0.0], [1.0, 1.0], [np.nan, np.nan], []])
def test_one_class_is_undefined(label: list[float]) -> None:
    probability = [0.1, 0.2][: len(label)]
    assert np.isnan(auroc(label, probability))
    assert np.isnan(auprc(label, probability))


def test_macro_leaves_out_what_is_undefined() -> None:
    label, probability = sample(8)
    labels = np.column_stack([label, np.zeros_like(label), 1 - label])
    probabilities = np.column_stack([probability, probability, probability])
    expected = (auroc(label, probability) + auroc(1 - label, probability)) / 2
    assert macro_auroc(labels, probabilities) == pytest.approx(expected)
    assert np.isnan(macro_auroc(labels[:, 1:2], probabilities[:, 1:2]))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="uncertainty policy"):
        auroc([0, -1, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="diverged"):
        auroc([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="arrays"):
        auroc([0, 1], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="observations"):
        macro_auroc([0, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="weights must be"):
        weighted_auroc([0, 1], [0.1, 0.2], np.ones((2, 3)))
