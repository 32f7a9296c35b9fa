"""Flip widths: quantiles of the films near a threshold, and small changes that leave a film readable."""

from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.export.checks.flip_widths import (
    FEWEST,
    SmallChanges,
    flip_width,
    measure_small_changes,
    with_flip_widths,
)
from xraytransfer.export.checks.robustness import SMALL_CHANGES
from xraytransfer.radiograph import read_radiograph


def test_the_films_that_flip_decide():
    probability = np.linspace(0, 1, 1001)
    changed = np.stack([probability, np.clip(probability - 0.02, 0, 1)])
    assert flip_width(probability, changed, 0.5) == pytest.approx(0.019, abs=0.001)  # those from .5 to .52 flip
    assert flip_width(probability, changed[:1], 0.5) is None  # nothing changes, nothing flips


def test_ninety_five_of_a_hundred_flips_lie_within():
    rng = np.random.default_rng(1)
    probability = rng.random(5000)
    changed = probability + rng.normal(0, 0.03, (4, 5000))
    width = flip_width(probability, changed, 0.4)
    flips = ((changed >= 0.4) != (probability >= 0.4)).any(axis=0)
    assert np.mean(np.abs(probability[flips] - 0.4) <= width) == pytest.approx(0.95, abs=0.005)


def test_too_few_flips_and_no_threshold_give_no_width():
    films = np.linspace(0.5, 0.51, FEWEST)
    assert flip_width(films[1:], films[None, 1:] - 0.1, 0.5) is None
    rows = [{"observation": "edema", "threshold": None}, {"observation": "edema", "threshold": 0.5}]
    changes = SmallChanges(films[:, None], films[None, :, None] - 0.1)
    with_widths = with_flip_widths(rows, changes, ["edema"])
    assert "flip_width" not in with_widths[0]
    assert with_widths[1]["flip_width"] == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("variant", SMALL_CHANGES, ids=lambda variant: variant.name)
@pytest.mark.parametrize("shape", [(200, 160), (32, 33)])
def test_a_small_change_is_small_and_can_be_read(variant, shape):
    film = np.linspace(20, 230, shape[0] * shape[1]).reshape(shape).astype(np.uint8)
    made = read_radiograph(variant.make(film, np.random.default_rng(0))).pixels
    if shape[0] > 100:
        assert all(0.98 * side <= got <= side for side, got in zip(shape, made.shape, strict=True))
        rows, columns = shape[0] // 4, shape[1] // 4
        middle = made[rows:-rows, columns:-columns].astype(float).mean()
        assert middle == pytest.approx(film[rows:-rows, columns:-columns].mean(), abs=2)


def test_changes_are_measured_with_the_model(toy_model, tmp_path):
    from PIL import Image

    from xraytransfer.classifier import Classifier

    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        noise = np.random.default_rng(index).integers(0, 256, (60, 50), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    classifier = Classifier(toy_model, device="cpu")
    found = measure_small_changes(classifier, paths)
    assert found.probability.shape == (3, 6)
    assert found.changed.shape == (4, 3, 6)
    assert (found.changed != found.probability).all()
    assert found.probability[1] == pytest.approx(classifier.predict(paths[1]).probability)
    turned = measure_small_changes(classifier, paths, SMALL_CHANGES[-1:])
    assert (turned.changed[0] == found.changed[-1]).all()
