from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xraytransfer.errors import RadiographError
from xraytransfer.reading.intensity import INTENSITIES, equalise, grey_levels
from xraytransfer.reading.pixel_format import PixelFormat
from xraytransfer.reading.transforms import LookupTable, Padding, Rescale, Window


def stored(words: np.ndarray, bits: int | None = None, high: int | None = None, signed: bool = False) -> PixelFormat:
    bits = bits or 8 * words.itemsize
    return PixelFormat(*words.shape, 8 * words.itemsize, bits, bits - 1 if high is None else high, signed)


def row(*values: int, dtype: type = np.uint16) -> np.ndarray:
    return np.array([values], dtype)


@pytest.mark.parametrize(
    ("window", "values", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: of center c and width w, c-0.5-(w-1)/2 is black, c-0.5+(w-1)/2 is white.
        (Window(2048, 4096), (0, 2047, 4095), (0, 127, 255)),
        (Window(2048, 1), (2047, 2048, 2049), (0, 255, 255)),
        # C.11.2.1.3.2: c-w/2 is black, c+w/2 is white.
        (Window(100, 100, "LINEAR_EXACT"), (49, 50, 75, 100, 150, 151), (0, 0, 64, 128, 255, 255)),
        # C.11.2.1.3.1: 1/(1+exp(-4(x-c)/w)); at c half, at c+w/4 0.731.
        (Window(100, 100, "SIGMOID"), (100, 125, 75, 60000), (128, 186, 69, 255)),
    ],
)
def test_window_functions(window: Window, values: tuple[int, ...], expected: tuple[int, ...]) -> None:
    words = row(*values)
    grey = grey_levels(words, stored(words), voi=[window])
    assert grey.window == "window"
    assert np.abs(grey.pixels[0].astype(int) - expected).max() <= 1


def test_eight_bits_without_a_window_are_taken_as_they_are() -> None:
    words = row(3, 7, 200, dtype=np.uint8)
    grey = grey_levels(words, stored(words))
    assert grey.pixels.tolist() == [[3, 7, 200]]
    assert grey.window == "full-range"


def test_more_bits_without_a_window_are_stretched() -> None:
    words = row(1000, 1100, 2000)
    grey = grey_levels(words, stored(words))
    assert grey.pixels.tolist() == [[0, 26, 255]]
    assert grey.window == "min-max"


def test_order_modality_voi_inversion() -> None:
    # 100 -> 2*100+50 = 250: the middle of the window; inverted once, at the end.
    words = row(0, 100, 200)
    grey = grey_levels(
        words,
        stored(words),
        modality=Rescale(2, 50),
        voi=[Window(250, 400, "LINEAR_EXACT")],
        invert=True,
    )
    assert grey.pixels.tolist() == [[255, 127, 0]]


def test_negative_slope_turns_the_picture_round() -> None:
    words = row(0, 10)
    assert grey_levels(words, stored(words), recipe="minmax", modality=Rescale(-1, 0)).pixels.tolist() == [[255, 0]]


def test_modality_table_then_voi_table() -> None:
    modality = LookupTable(10, np.array([100, 101, 102], np.uint16), 16)
    voi = LookupTable(100, np.array([0, 128, 255], np.uint16), 8)
    words = row(0, 10, 11, 12, 999)
    grey = grey_levels(words, stored(words), modality=modality, voi=[voi])
    assert grey.pixels.tolist() == [[0, 0, 128, 255, 255]]
    assert grey.window == "voi-lut"


@pytest.mark.parametrize(
    ("voi", "word"),
    [
        (Window(2725, 5310), "window"),
        (LookupTable(0, np.array([0, 9], np.uint16), 8), "VOI LUT"),
    ],
)
def test_a_window_that_leaves_one_level_falls_back(voi: Window | LookupTable, word: str) -> None:
    words = row(32744, 50000, 65535)
    grey = grey_levels(words, stored(words), voi=[voi])
    assert grey.window == f"fallback: the {word} leaves one grey level; min-max"
    assert grey.pixels[0, 0] == 0
    assert grey.pixels[0, 2] == 255


@pytest.mark.parametrize("recipe", INTENSITIES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_constant_films_are_refused(recipe: str, dtype: type) -> None:
    words = np.full((4, 4), 77, dtype)
    with pytest.raises(RadiographError, match="same value") as caught:
        grey_levels(words, stored(words), recipe=recipe, voi=[Window(70, 40)])
    assert caught.value.reason == "constant"


def test_unused_bits_are_masked_and_high_bit_shifts() -> None:
    samples = row(0, 1, 2048, 4095)
    plain = grey_levels(samples, stored(samples, 12), recipe="minmax").pixels
    overlay = samples | 0xF000
    assert (grey_levels(overlay, stored(overlay, 12), recipe="minmax").pixels == plain).all()
    shifted = (samples << 4) | 0xF
    assert (grey_levels(shifted, stored(shifted, 12, high=15), recipe="minmax").pixels == plain).all()


@given(st.lists(st.integers(-2048, 2047), min_size=2, max_size=20), st.integers(0, 4))
def test_signed_samples_of_any_place(samples: list[int], shift: int) -> None:
    words = (np.array([samples]) & 0xFFF).astype(np.uint16) << shift
    fmt = PixelFormat(1, len(samples), 16, 12, 11 + shift, True)
    assert fmt.values(words).tolist() == [samples]


def test_padding_is_black_and_has_no_part_in_the_range() -> None:
    words = row(0, 1000, 2000, 65535)
    padding = Padding(60000, 65535, 65535)
    for invert, expected in ((False, [0, 128, 255, 0]), (True, [255, 127, 0, 0])):
        words = row(1000, 1500, 2000, 65535)
        grey = grey_levels(words, stored(words), recipe="minmax", padding=padding, invert=invert)
        assert grey.pixels[0].tolist() == expected


def test_padding_above_the_stored_bits_is_found_as_a_word() -> None:
    words = row(100, 200, 0xF800)
    padding = Padding(0xF800, 0xF800, 0xF800)
    assert grey_levels(words, stored(words, 11), recipe="minmax", padding=padding).pixels.tolist() == [[0, 255, 0]]


@pytest.mark.parametrize("recipe", ["voi", "minmax"])
def test_one_level_and_padding_is_constant_and_nothing_but_padding_is_named(recipe: str) -> None:
    words = row(5, 5, 9)
    with pytest.raises(RadiographError, match="same value"):
        grey_levels(words, stored(words), recipe=recipe, voi=[Window(7, 10)], padding=Padding(9, 9, 9))
    with pytest.raises(RadiographError, match="cover every pixel"):
        grey_levels(words, stored(words), recipe=recipe, padding=Padding(5, 9, 9))


def test_chexpert_by_hand() -> None:
    # Least 100, most 500: 0, 63 (63.75 cut), 255; of six pixels three, two, one.
    # equalizeHist: scale 255/(6-3) = 85; levels 0, 2*85 = 170, 3*85 = 255.
    words = np.array([[100, 100, 100], [200, 200, 500]], np.uint16)
    grey = grey_levels(words, stored(words), recipe="chexpert")
    assert grey.pixels.tolist() == [[0, 0, 0], [170, 170, 255]]
    assert grey.window == "min-max, equalised"
    # Inverted before equalisation: 255 (three), 192 (two), 0 (one): scale 255/5 = 51.
    inverted = grey_levels(words, stored(words), recipe="chexpert", invert=True)
    assert inverted.pixels.tolist() == [[255, 255, 255], [102, 102, 0]]


def test_chexpert_leaves_modality_window_and_padding_out() -> None:
    words = row(0, 10, 20, 4000)
    plain = grey_levels(words, stored(words), recipe="chexpert").pixels
    other = grey_levels(
        words,
        stored(words),
        recipe="chexpert",
        modality=Rescale(-1, 7),
        voi=[Window(5, 2)],
        padding=Padding(4000, 4000, 4000),
    ).pixels
    assert (plain == other).all()


def test_equalise_is_opencvs_formula() -> None:
    # Each level: round(255 * (pixels up to it, without the first level) / (all but the first level)).
    pixels = np.repeat(np.array([10, 20, 30, 40], np.uint8), [4, 1, 2, 5])
    assert np.unique(equalise(pixels)).tolist() == [0, 32, 96, 255]  # 31.875, 95.625


def test_equalise_is_opencvs_result() -> None:
    # What cv2.equalizeHist of OpenCV 5.0 makes of these pixels; 3,020 random pictures were equal, too.
    pixels = np.random.default_rng(7).integers(0, 256, (4, 8)).astype(np.uint8) // 3 * 2
    assert equalise(pixels).tolist() == [
        [247, 156, 165, 230, 148, 181, 214, 33],
        [8, 74, 58, 222, 239, 0, 115, 206],
        [25, 189, 16, 99, 197, 74, 82, 49],
        [173, 41, 255, 90, 107, 123, 148, 132],
    ]


def test_equalise_of_one_level_is_unchanged() -> None:
    pixels = np.full((3, 3), 9, np.uint8)
    assert (equalise(pixels) == 9).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(INTENSITIES))
def test_inverted_monochrome1_is_monochrome2(seed: int, recipe: str) -> None:
    words = np.random.default_rng(seed).integers(0, 4096, (8, 9)).astype(np.uint16)
    fmt = stored(words, 12)
    window = Window(2048, 4096)
    one = grey_levels(4095 - words, fmt, recipe=recipe, voi=[window], invert=True).pixels.astype(int)
    two = grey_levels(words, fmt, recipe=recipe, voi=[window]).pixels.astype(int)
    # Rounding at halves, and cutting in chexpert, may differ by one level before equalisation.
    assert np.abs(one - two).max() <= (1 if recipe != "chexpert" else 255 // 8)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(INTENSITIES), st.booleans(), st.booleans())
def test_words_of_32_bits_read_as_those_of_16(seed: int, recipe: str, signed: bool, invert: bool) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 65536, (7, 8)).astype(np.uint16)
    voi = Window(float(rng.integers(-30000, 30000)), float(rng.integers(1, 60000)))
    padding = Padding(-5, 5, 5)
    wide = words.astype(np.int16).astype(np.int32).view(np.uint32) if signed else words.astype(np.uint32)
    narrow = grey_levels(words, stored(words, signed=signed), recipe=recipe, voi=[voi], invert=invert, padding=padding)
    other = grey_levels(wide, stored(wide, signed=signed), recipe=recipe, voi=[voi], invert=invert, padding=padding)
    assert narrow.window == other.window
    assert (narrow.pixels == other.pixels).all()


def test_blocks_join_without_seams() -> None:
    words = np.arange(600 * 500, dtype=np.uint32).reshape(600, 500)
    pixels = grey_levels(words, stored(words), recipe="minmax").pixels
    assert (np.diff(pixels.ravel().astype(int)) >= 0).all()
    assert pixels[0, 0] == 0
    assert pixels[-1, -1] == 255


def test_unknown_recipe() -> None:
    words = row(1, 2)
    with pytest.raises(ValueError, match="unknown intensity recipe 'raw'"):
        grey_levels(words, stored(words), recipe="raw")
