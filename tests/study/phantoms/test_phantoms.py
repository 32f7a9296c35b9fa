"""Phantoms: repeatable, each sign visible where it belongs, and a data set in CheXpert's layout."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.demo.shape_pretraining import CLASSES, draw_shapes
from xraytransfer.study.phantoms.anatomy import Anatomy
from xraytransfer.study.phantoms.dataset import FOLDER, write_phantoms
from xraytransfer.study.phantoms.drawing import SIGNS, draw_frontal, draw_lateral

ANATOMY = Anatomy(width=0.36, apex=0.11, base=0.76, heart=0.44, tilt=0.0, tissue=1.0, side=-1)


def draw(severity: dict[str, float], seed: int = 0, **options: bool) -> np.ndarray:
    return draw_frontal(ANATOMY, severity, np.random.default_rng(seed), size=96, **options).astype(float)


def mean_change(severity: dict[str, float], rows: slice, columns: slice) -> float:
    """Return how much brighter a region is than without the sign, mean over pictures."""
    pairs = [(draw(severity, seed), draw({}, seed)) for seed in range(4)]
    return float(np.mean([sick[rows, columns].mean() - well[rows, columns].mean() for sick, well in pairs]))


def test_a_chest_film_in_outline() -> None:
    film = np.mean([draw({}, seed) for seed in range(4)], axis=0)
    lung, spine, outside = film[40:60, 24:34], film[40:60, 46:50], film[2:8, 2:8]
    assert film.shape == (96, 96)
    assert outside.mean() < 30 < lung.mean() < 130 < spine.mean()


def test_same_numbers_same_picture() -> None:
    np.testing.assert_array_equal(draw({"edema": 0.5}, 3), draw({"edema": 0.5}, 3))
    assert not np.array_equal(draw({}, 3), draw({}, 4))


def test_signs_are_where_they_belong() -> None:
    base, hilum, left_heart_border = slice(68, 80), slice(38, 52), slice(56, 68)
    right, left = slice(14, 34), slice(62, 80)
    assert mean_change({"pleural_effusion": 0.9}, base, right) > 15
    assert mean_change({"cardiomegaly": 1.0}, left_heart_border, slice(66, 74)) > 15
    assert mean_change({"edema": 0.9}, hilum, slice(30, 44)) > 8
    assert mean_change({"consolidation": 0.9}, slice(28, 70), right) > 3
    collapsed, other = (mean_change({"atelectasis": 0.9}, slice(56, 76), side) for side in (right, left))
    assert collapsed > other + 10


def test_severity_grades() -> None:
    base, right = slice(66, 80), slice(14, 34)
    changes = [mean_change({"pleural_effusion": s}, base, right) for s in (0.3, 0.6, 0.9)]
    assert changes == sorted(changes)


def test_portable_and_lateral() -> None:
    assert draw({}, portable=True).std() > 20
    lateral = draw_lateral(ANATOMY, dict.fromkeys(SIGNS, 0.8), np.random.default_rng(0), size=96)
    assert lateral.shape == (96, 96)
    assert lateral.dtype == np.uint8
    assert lateral.std() > 30


def test_unknown_sign() -> None:
    with pytest.raises(ValueError, match="unknown signs"):
        draw({"pneumothorax": 1.0})


def test_data_set_in_chexpert_layout(tmp_path: Path) -> None:
    folder = write_phantoms(tmp_path, patients=25, size=48, seed=1)
    assert folder.name == FOLDER
    table = read_dataset("chexpert", folder, views="all")
    assert {"AP", "PA", "LATERAL"} <= set(table.view)
    assert set(table.official_split) == {"train", "validation"}
    assert all(path.is_file() for path in table.path)
    labels = table.label[table.official_split == "train"]
    assert (labels == -1).any()
    assert np.isnan(labels).any()
    certain = table.label[table.official_split == "validation"]
    assert np.isin(certain, (0, 1)).all()
    healthy = table.label[:, table.observations.index("no_finding")] == 1
    assert not (table.label[healthy][:, table.observations.index("edema")] == 1).any()
    with (folder / "train.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert first["Path"].startswith(f"{FOLDER}/train/patient00001/study1/view1_")


def test_more_patients_leave_the_first_ones_alone(tmp_path: Path) -> None:
    few = write_phantoms(tmp_path / "few", patients=2, size=32)
    more = write_phantoms(tmp_path / "more", patients=4, size=32, workers=1)
    for path in few.rglob("*.jpg"):
        assert path.read_bytes() == (more / path.relative_to(few)).read_bytes()


def test_shapes() -> None:
    pictures, label = draw_shapes(40, 32, np.random.default_rng(0))
    assert pictures.shape == (40, 32, 32)
    assert set(label) <= set(range(len(CLASSES)))
    again, _ = draw_shapes(40, 32, np.random.default_rng(0))
    np.testing.assert_array_equal(pictures, again)
