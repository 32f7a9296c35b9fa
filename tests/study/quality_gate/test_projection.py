"""Projections of a volume: known bodies at known angles."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from xraytransfer.study.quality_gate.projection import CUBE, project, resample


def body() -> np.ndarray:
    """Return a box of water, 100 mm high, 60 mm deep and 120 mm wide, with bone on the patient's right, in front."""
    volume = np.full((50, 80, 80), -1000, np.int16)
    volume[:, 25:55, 10:70] = 0
    volume[20:30, 25:30, 10:20] = 1000
    return volume


def test_a_volume_becomes_cubes_of_attenuation_relative_to_water():
    cubes = resample(body(), (2.0, 2.0, 2.0))
    assert cubes.shape == tuple(round(side * 2 / CUBE) for side in body().shape)
    assert cubes.min() == 0
    assert cubes[20, 32, 32] == pytest.approx(1)
    assert cubes.max() == pytest.approx(2, abs=0.1)


def test_a_frontal_film_is_as_wide_as_the_body_and_a_side_view_as_deep():
    cubes = resample(body(), (2.0, 2.0, 2.0))
    frontal, lateral = project(cubes, 0), project(cubes, 90)
    assert frontal.dtype == np.uint8
    assert frontal.shape == pytest.approx((100 / CUBE, 120 / CUBE), abs=2)
    assert lateral.shape == pytest.approx((100 / CUBE, 60 / CUBE), abs=2)


def test_bone_is_bright_and_the_patients_right_is_on_the_left():
    frontal = project(resample(body(), (2.0, 2.0, 2.0)), 0).astype(float)
    middle = frontal[len(frontal) // 2]
    assert middle[3] > middle[-4] + 20
    assert frontal[len(frontal) // 2, 3] > frontal[3, 3] + 20


def test_both_side_views_show_the_front_on_opposite_sides():
    cubes = resample(body(), (2.0, 2.0, 2.0))
    one, other = (project(cubes, angle).astype(float) for angle in (90, -90))
    np.testing.assert_allclose(one, other[:, ::-1], atol=40)
