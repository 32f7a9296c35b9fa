"""Overlays: the film where nothing spoke, colour where something did."""

from __future__ import annotations

import numpy as np
from PIL import Image

from xraytransfer.overlay import captioned, overlay


def test_colour_stands_where_the_map_is_high():
    film = np.full((200, 100), 90, np.uint8)
    activation = np.full((4, 2), -1.0, np.float32)
    activation[0, 0] = 3.0
    picture = np.asarray(overlay(film, activation))
    assert picture.shape == (200, 100, 3)
    colourfulness = np.ptp(picture.astype(int), axis=2)
    assert colourfulness[:30, :30].mean() > 40
    assert colourfulness[150:].max() == 0


def test_without_positive_values_the_film_stays_plain():
    film = np.arange(100, dtype=np.uint8).reshape(10, 10)
    for value in (-1.0, 0.0, np.nan):
        picture = np.asarray(overlay(film, np.full((3, 3), value, np.float32)))
        np.testing.assert_array_equal(picture, np.repeat(film[..., None], 3, axis=2))


def test_large_films_shrink_and_small_ones_stay():
    activation = np.ones((2, 2), np.float32)
    assert overlay(np.zeros((3000, 1500), np.uint8), activation).size == (512, 1024)
    assert overlay(np.zeros((30, 20), np.uint8), activation).size == (20, 30)
    assert overlay(np.zeros((3000, 1500), np.uint8), activation, size=None).size == (1500, 3000)


def test_one_scale_makes_weak_evidence_look_weak():
    film = np.full((50, 50), 90, np.uint8)
    weak = np.full((2, 2), 0.1, np.float32)
    own, shared = (np.asarray(overlay(film, weak, full_scale=scale)) for scale in (None, 4.0))
    assert np.ptp(own[25, 25].astype(int)) > 3 * np.ptp(shared[25, 25].astype(int))


def test_a_caption_stands_below_the_picture():
    picture = captioned(Image.new("RGB", (400, 300), "white"), ["Edema: probability 0.1", "second line"])
    pixels = np.asarray(picture)
    assert pixels.shape[1] == 400
    assert (pixels[:300] == 255).all()
    assert pixels[300:].max() > 200
    assert pixels[300:].min() == 0
