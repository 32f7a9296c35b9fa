"""Maxima of maps and boxes: hits, chance, overlapping boxes, names with other endings."""

from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.export.checks.localisation import boxed_films, localisation, map_maximum
from xraytransfer.study.data.external_test_set import Box


def test_the_maximum_is_the_middle_of_a_cell():
    one = np.zeros((2, 4), np.float32)
    one[1, 2] = 1
    assert map_maximum(one) == [0.625, 0.75]


def test_hits_and_chance():
    boxes = {
        "a": [Box("a", "edema", 0, 0, 0.5, 0.5), Box("a", "edema", 0.25, 0, 0.75, 0.5)],  # overlap: 3/8 of the film
        "b": [Box("b", "edema", 0, 0, 0.5, 0.25), Box("b", "atelectasis", 0.5, 0.5, 1, 1)],
    }
    maxima = {"a": {"edema": [0.6, 0.4]}, "b": {"edema": [0.25, 0.75], "atelectasis": [0.75, 0.75]}}
    found = localisation(boxes, maxima)
    assert (found["maps"], found["hits"]) == (3, 2)
    assert found["chance"] == pytest.approx((3 / 8 + 1 / 8 + 1 / 4) / 3)
    assert found["lower"] < found["share"] == 2 / 3 < found["upper"]
    assert list(found["observations"]) == ["atelectasis", "edema"]
    assert found["observations"]["edema"]["hits"] == 1


def test_boxes_find_their_films_by_name():
    boxes = [
        Box("x/film.1.png", "edema", 0, 0, 1, 1),
        Box("x/film.1.png", "edema", 0, 0, 0.1, 1),
        Box("c", "edema", 0, 0, 1, 1),
    ]
    assert boxed_films(boxes, ["film.1.jpg", "film.2.jpg"]) == {"film.1.jpg": boxes[:2]}
    assert boxed_films(boxes, []) == {}
    assert localisation({}, {})["share"] is None
