from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.resize import resize


def test_average_of_all_that_shrinks() -> None:
    # A fine chequerboard is grey from afar; without antialiasing it would stay black and white.
    board = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(board, (64, 64))
    assert small.shape == (64, 64)
    assert small.dtype == np.uint8
    assert np.abs(small.astype(int) - 128).max() <= 2


def test_whole_film_is_stretched() -> None:
    film = np.zeros((100, 300), np.uint8)
    film[:, 150:] = 200
    small = resize(film, (40, 20))
    assert small.shape == (40, 20)
    assert (small[:, :9] == 0).all()
    assert (small[:, 11:] == 200).all()


def test_enlarges() -> None:
    assert resize(np.full((2, 3), 7, np.uint8), (5, 4)).tolist() == [[7] * 4] * 5


def test_same_resolution_is_the_same_array() -> None:
    film = np.zeros((8, 9), np.uint8)
    assert resize(film, (8, 9)) is film


def test_slices_are_resized_as_they_look() -> None:
    film = np.arange(200, dtype=np.uint8).reshape(10, 20)
    assert (resize(film[::-1, ::2], (5, 5)) == resize(film[::-1, ::2].copy(), (5, 5))).all()


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        resize(pixels, (2, 2))


def test_empty_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 x 1, got 0 x 5"):
        resize(np.zeros((4, 4), np.uint8), (0, 5))
