"""Numbers of the card: the points of ROC curves."""

from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.export.checks.evaluation import POINTS, roc_points
from xraytransfer.study.stats.auroc import auroc


def test_few_points_of_a_roc_curve_hold_its_area():
    rng = np.random.default_rng(4)
    label = (rng.random(3000) < 0.05).astype(float)
    for probability in (rng.normal(label, 1), np.round(rng.normal(label, 1), 1), np.zeros(3000)):
        wrong, right = roc_points([*label, np.nan], [*probability, 0.5])
        assert (wrong[0], right[0], wrong[-1], right[-1]) == (0, 0, 1, 1)
        assert len(wrong) == len(right) <= POINTS
        assert (np.diff(wrong) >= 0).all()
        assert (np.diff(right) >= 0).all()
        assert np.trapezoid(right, wrong) == pytest.approx(auroc(label, probability), abs=0.005)
    assert roc_points([0, 0], [0.1, 0.2]) == ([], [])
