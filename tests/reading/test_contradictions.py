"""Films whose header and pixels cannot both be true: read as the pixels are, with a note, or refused."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import Radiograph, read_radiograph
from xraytransfer.reading.elements import Element, Elements
from xraytransfer.reading.grey_attributes import read_lookup_table

Film = Callable[..., bytes]
EXPLICIT = "1.2.840.10008.1.2.1"
EXTENDED, LOSSLESS_JPEG, RLE = "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"
JPEG_LS_NEAR, JPEG_2000, JPEG_2000_LOSSY = "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"


def drawn(bits: int = 12, shape: tuple[int, int] = (160, 128)) -> np.ndarray:
    """A smooth picture with noise in its lowest bits, from a tenth of the range to nine tenths."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    smooth = 0.5 + 0.3 * np.sin(5 * rows) * np.cos(4 * columns) + 0.1 * np.sin(9 * columns)
    noise = np.random.default_rng(7).normal(0, 0.004, shape)
    return ((smooth + noise).clip(0, 1) * ((1 << bits) - 1)).astype(np.uint16)


PIXELS = drawn()


def window(bits: int = 12) -> dict[str, Any]:
    return {"BitsStored": bits, "WindowCenter": 1 << (bits - 1), "WindowWidth": 1 << bits}


def furthest(one: Radiograph, other: Radiograph) -> int:
    return int(np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max())


def items(*fragments: bytes, offsets: tuple[int, ...] = ()) -> bytes:
    parts = [struct.pack(f"<{len(offsets)}I", *offsets), *fragments]
    return b"".join(b"\xfe\xff\0\xe0" + struct.pack("<I", len(part)) + part for part in parts)


def with_pixel_data(film: bytes, value: bytes) -> bytes:
    """Replace encapsulated Pixel Data by other items, as they are."""
    start = film.rindex(b"\xe0\x7f\x10\x00OB") + 12
    return film[:start] + value + b"\xfe\xff\xdd\xe0\0\0\0\0"


def even(stream: bytes) -> bytes:
    return stream + b"\0" * (len(stream) % 2)


# ------------------------------------------------------------------------------ bits of a sample


@pytest.mark.parametrize("bits", [9, 10, 11])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("quality", [50, 75, 90])
def test_lossy_samples_beyond_the_stored_range_are_clipped(
    dicom_film: Film, bits: int, photometric: str, quality: int
) -> None:
    top = (1 << bits) - 1
    saturated = (drawn(bits) * 1.4).clip(0, top).astype(np.uint16)
    stream = imagecodecs.jpeg8_encode(saturated, quality, bitspersample=12)
    decoded = imagecodecs.jpeg8_decode(stream)
    assert decoded.max() > top
    header = {**window(bits), "PhotometricInterpretation": photometric}
    film = read_radiograph(dicom_film(saturated, syntax=EXTENDED, stream=even(stream), **header))
    right = read_radiograph(dicom_film(decoded.clip(0, top), **header))
    assert furthest(film, right) == 0
    assert any("clipped" in note for note in film.notes)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEG_LS_NEAR, lambda pixels: imagecodecs.jpegls_encode(pixels, 6)),
        (
            JPEG_2000_LOSSY,
            lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=75, reversible=False, codecformat="j2k"),
        ),
    ],
)
def test_overshoot_in_sixteen_bit_streams(dicom_film: Film, syntax: str, encode: Callable[..., bytes]) -> None:
    saturated = (drawn(10) * 1.4).clip(0, 1023).astype(np.uint16)
    film = read_radiograph(dicom_film(saturated, syntax=syntax, stream=even(encode(saturated)), **window(10)))
    right = read_radiograph(dicom_film(saturated, **window(10)))
    assert np.abs(film.pixels.astype(int) - right.pixels).mean() < 4
    assert any("clipped" in note for note in film.notes)


def test_signed_lossy_samples_are_clipped_at_both_ends(dicom_film: Film) -> None:
    signed = ((drawn(12).astype(int) - 2048) * 2).clip(-2048, 2047).astype(np.int16)
    stream = imagecodecs.jpeg2k_encode(signed, level=75, reversible=False, codecformat="j2k")
    header = {"BitsStored": 12, "WindowCenter": 0, "WindowWidth": 4096}
    film = read_radiograph(dicom_film(signed, syntax=JPEG_2000_LOSSY, stream=even(stream), **header))
    right = read_radiograph(dicom_film(signed, **header))
    assert furthest(film, right) < 40


@pytest.mark.parametrize(("bits", "factor"), [(12, 1.2), (11, 1.3), (10, 1.5)])
def test_samples_above_bits_stored_are_read_with_all_their_bits(dicom_film: Film, bits: int, factor: float) -> None:
    bright = (drawn(bits) * factor).astype(np.uint16)
    assert bright.max() >= 1 << bits
    film = read_radiograph(dicom_film(bright, **window(bits)))
    right = read_radiograph(dicom_film(bright, **{**window(bits), "BitsStored": 16}))
    assert furthest(film, right) == 0
    assert f"samples use {bits + 1} bits, Bits Stored is {bits}: read with {bits + 1}" in film.notes


@pytest.mark.parametrize(("bits", "factor"), [(12, 1.4), (12, 1.8), (10, 1.5), (8, 1.5)])
def test_signed_samples_beyond_bits_stored_are_read_with_all_their_bits(
    dicom_film: Film, bits: int, factor: float
) -> None:
    signed = ((drawn(bits).astype(int) - (1 << (bits - 1))) * factor).astype(np.int16)
    assert signed.max() >= 1 << (bits - 1)
    film = read_radiograph(dicom_film(signed, BitsStored=bits, WindowCenter=0, WindowWidth=2 << bits))
    right = read_radiograph(dicom_film(signed, BitsStored=16, WindowCenter=0, WindowWidth=2 << bits))
    assert furthest(film, right) == 0
    assert film.notes == (f"samples use 16 bits, Bits Stored is {bits}: read with 16",)


@pytest.mark.parametrize("upper", [0x8000, 0xC000, 0xF000])
def test_unused_bits_that_are_always_set_are_masked(dicom_film: Film, upper: int) -> None:
    film = read_radiograph(dicom_film(PIXELS | upper, **window()))
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0
    assert film.notes == ()


def test_an_overlay_in_unused_bits_is_masked(dicom_film: Film) -> None:
    overlaid = PIXELS.copy()
    overlaid[20:60, 30:90] |= 0x1000
    overlaid[::9, ::7] |= 0x8000
    film = read_radiograph(dicom_film(overlaid, **window()))
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0


@pytest.mark.parametrize("high", [12, 13, 15])
def test_a_high_bit_that_the_samples_contradict(dicom_film: Film, high: int) -> None:
    film = read_radiograph(dicom_film(PIXELS, **{**window(), "HighBit": high}))
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0
    assert any("from the lowest bit on" in note for note in film.notes)


@pytest.mark.parametrize("high", [12, 15])
def test_a_high_bit_that_is_true(dicom_film: Film, high: int) -> None:
    shifted = PIXELS << (high - 11)
    shifted[5:9, 5:20] |= 1  # an overlay in the lowest bit
    film = read_radiograph(dicom_film(shifted, **{**window(), "HighBit": high}))
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0


@pytest.mark.parametrize(("allocated", "stored", "high"), [(16, 8, 12), (16, 10, 15), (32, 10, 16), (32, 11, 31)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_high_bit_that_the_codestream_does_not_have(
    dicom_film: Film, allocated: int, stored: int, high: int, signed: bool
) -> None:
    pixels = (PIXELS.astype(int) - 2048).astype(np.int16) if signed else PIXELS
    stream = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", bitspersample=12)
    header = {"BitsAllocated": allocated, "BitsStored": stored, "HighBit": high}
    film = read_radiograph(dicom_film(pixels, syntax=JPEG_2000, stream=even(stream), **header))
    assert furthest(film, read_radiograph(dicom_film(pixels, BitsStored=12))) == 0
    assert f"High Bit is {high}, the codestream has 12 bits: read from the lowest bit on" in film.notes


def test_lossy_samples_are_clipped_whatever_high_bit_says(dicom_film: Film) -> None:
    saturated = (drawn(10) * 1.4).clip(0, 1023).astype(np.uint16)
    stream = even(imagecodecs.jpeg8_encode(saturated, 75, bitspersample=12))
    film = read_radiograph(dicom_film(saturated, syntax=EXTENDED, stream=stream, **{**window(10), "HighBit": 15}))
    right = read_radiograph(dicom_film(saturated, syntax=EXTENDED, stream=stream, **window(10)))
    assert furthest(film, right) == 0
    assert any("clipped" in note for note in film.notes)


def test_a_codestream_knows_its_sign(dicom_film: Film) -> None:
    signed = (2047 - PIXELS.astype(int)).astype(np.int16)
    stream = imagecodecs.jpeg2k_encode(signed, level=0, reversible=True, codecformat="j2k", bitspersample=12)
    film = read_radiograph(
        dicom_film(signed, syntax=JPEG_2000, stream=even(stream), BitsStored=12, PixelRepresentation=0)
    )
    assert furthest(film, read_radiograph(dicom_film(signed, BitsStored=12))) == 0
    assert any("read as signed" in note for note in film.notes)


@pytest.mark.parametrize("border", [0, 1, 7, 30, 4090, 4095])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0, 4095), (1000, 4000), (2100, 4090), (0, 1900)])
def test_a_border_does_not_overrule_a_right_sign(
    dicom_film: Film, border: int, signed: bool, low: int, high: int
) -> None:
    film = (low + PIXELS.astype(int) * (high - low) // 4095).clip(0, 4095)
    film[:20] = film[-20:] = border
    film[60, 60] = 3  # a dead pixel
    stored = (film - 2048).astype(np.int16) if signed else film.astype(np.uint16)
    found = read_radiograph(dicom_film(stored, BitsStored=12, WindowCenter=0 if signed else 2048, WindowWidth=4096))
    assert not any("Pixel Representation" in note for note in found.notes)
    assert found.window == "window"


@pytest.mark.parametrize("signed", [False, True])
def test_a_sign_that_the_samples_contradict(dicom_film: Film, signed: bool) -> None:
    film = PIXELS.astype(int)
    stored = film.astype(np.uint16) if signed else ((film - 2048) & 0xFFF).astype(np.uint16)
    found = read_radiograph(dicom_film(stored, BitsStored=12, PixelRepresentation=int(signed)))
    assert furthest(found, read_radiograph(dicom_film(PIXELS, BitsStored=12))) <= 1
    assert any("Pixel Representation contradicts the samples" in note for note in found.notes)


@pytest.mark.parametrize("bits", [13, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_a_sign_below_the_stored_bits(dicom_film: Film, bits: int, signed: bool) -> None:
    stored = ((PIXELS.astype(int) - 2048) & 0xFFF).astype(np.uint16)
    found = read_radiograph(dicom_film(stored, BitsStored=bits, PixelRepresentation=int(signed)))
    assert furthest(found, read_radiograph(dicom_film(PIXELS, BitsStored=12))) <= 1
    assert any("read as signed samples of 12 bits" in note for note in found.notes)


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_bytes_in_the_other_order(dicom_film: Film, bits: int, signed: bool) -> None:
    stored = (PIXELS.astype(int) - 2048).astype(np.int16) if signed else PIXELS
    header = {**window(bits), "WindowCenter": 0 if signed else 2048, "WindowWidth": 4096}
    film = read_radiograph(dicom_film(stored.byteswap(), **header))
    assert furthest(film, read_radiograph(dicom_film(stored, **header))) == 0
    assert film.notes == ("the bytes of each pixel lie in the other order than the header says: exchanged",)


def test_run_length_planes_in_the_other_order(dicom_film: Film) -> None:
    from pydicom import dcmread

    packed = dcmread(io.BytesIO(dicom_film(PIXELS.byteswap(), **window())))
    packed.compress(RLE, encoding_plugin="pydicom")
    buffer = io.BytesIO()
    packed.save_as(buffer)
    film = read_radiograph(buffer.getvalue())
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0
    assert any("the other order" in note for note in film.notes)


def test_rows_and_columns_exchanged(dicom_film: Film) -> None:
    with pytest.raises(RadiographError, match="Rows is 128 and Columns 160, but pixels lie close") as caught:
        read_radiograph(dicom_film(PIXELS, **window(), Rows=PIXELS.shape[1], Columns=PIXELS.shape[0]))
    assert caught.value.reason == "invalid-attribute"


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("tint", [0, 6])
def test_the_other_planar_configuration(dicom_film: Film, planar: int, tint: int) -> None:
    three = np.repeat((PIXELS >> 4).astype(np.uint8)[..., None], 3, axis=2)
    three[..., 2] = np.minimum(three[..., 2], 255 - tint) + tint
    said, other = three, np.ascontiguousarray(np.moveaxis(three, 2, 0)).reshape(three.shape)
    right = read_radiograph(colour_film(dicom_film, said, PhotometricInterpretation="RGB", PlanarConfiguration=0))
    assert not any("Planar" in note for note in right.notes)
    film = read_radiograph(
        colour_film(
            dicom_film,
            said if planar else other,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=planar,
        )
    )
    assert furthest(film, right) == 0
    assert any(f"Planar Configuration is {planar}" in note for note in film.notes)


@pytest.mark.parametrize("shape", [(40, 200), (200, 40), (33, 32)])
def test_test_patterns_lie_as_the_header_says(dicom_film: Film, shape: tuple[int, int]) -> None:
    """Ramps, stripes and noise are no films, but their order is right."""
    rows, columns = np.indices(shape)
    noise = np.random.default_rng(0).integers(0, 4096, shape)
    for pattern in (rows * 20, columns * 20, rows * 20 + columns, noise, (rows % 2) * 20 + columns * 20, columns << 6):
        assert read_radiograph(dicom_film(pattern.astype(np.uint16), **window(16))).notes == ()


def test_an_overlay_over_a_border_is_masked(dicom_film: Film) -> None:
    film = (2600 + PIXELS.astype(int) * 1400 // 4095).astype(np.uint16)
    film[:30] = 0
    overlaid = film.copy()
    overlaid[5:20, 10:100] |= 0x1000
    found = read_radiograph(dicom_film(overlaid, **window()))
    assert furthest(found, read_radiograph(dicom_film(film, **window()))) == 0


# ------------------------------------------------------------------------------ grey range


def lut(first: int, entries: np.ndarray, bits: int, vr: str = "US") -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return [item]


@pytest.mark.parametrize("declared", [12, 14, 16])
@pytest.mark.parametrize("used", [8, 10])
def test_the_depth_that_a_lut_uses_counts(dicom_film: Film, declared: int, used: int) -> None:
    table = np.arange(4096) >> (12 - used)
    film = read_radiograph(dicom_film(PIXELS, BitsStored=12, VOILUTSequence=lut(0, table, declared)))
    right = read_radiograph(dicom_film(PIXELS, BitsStored=12, VOILUTSequence=lut(0, table, used)))
    assert film.window == "voi-lut"
    assert furthest(film, right) == 0
    assert f"the LUT's entries use {used} bits, its descriptor says {declared}: read with {used}" in film.notes


def test_the_first_value_of_a_lut_has_the_sign_of_its_input(dicom_film: Film) -> None:
    values = (PIXELS.astype(np.uint32) * 6 + 38000).astype(np.uint16)
    table = np.linspace(0, 65535, 26000).astype(int)
    film = read_radiograph(dicom_film(values, VOILUTSequence=lut(38000 - 65536, table, 16, vr="SS")))
    right = read_radiograph(dicom_film(values, VOILUTSequence=lut(38000, table, 16)))
    assert film.window == right.window == "voi-lut"
    assert furthest(film, right) == 0


def test_what_the_file_offers_next_comes_before_the_films_own_range(dicom_film: Film) -> None:
    useless = lut(60000, np.arange(4096), 12)
    film = read_radiograph(dicom_film(PIXELS, **window(), VOILUTSequence=useless))
    assert film.window == "fallback: the VOI LUT leaves one grey level; window"
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0


def test_eight_bits_fall_to_their_full_range(dicom_film: Film) -> None:
    eight = drawn(8).astype(np.uint8)
    film = read_radiograph(dicom_film(eight, WindowCenter=5000, WindowWidth=10))
    assert film.window == "fallback: the window leaves one grey level; full-range"
    assert (film.pixels == eight).all()


@pytest.mark.parametrize(("center", "width"), [(32768, 65536), (128, 256), (2048, 80000), (-50000, 120000)])
def test_a_window_that_does_not_fit_is_named(dicom_film: Film, center: int, width: int) -> None:
    bordered = PIXELS.copy()
    bordered[:20] = bordered[-20:] = 0
    film = read_radiograph(dicom_film(bordered, BitsStored=12, WindowCenter=center, WindowWidth=width))
    assert film.window.startswith("fallback: the window leaves ")
    assert film.window.endswith("; min-max")
    assert furthest(film, read_radiograph(dicom_film(bordered, BitsStored=12))) == 0


@pytest.mark.parametrize(("center", "width"), [(2048, 4096), (1500, 1500), (2048, 12000)])
def test_a_window_that_fits_is_taken(dicom_film: Film, center: int, width: int) -> None:
    film = read_radiograph(dicom_film(PIXELS, BitsStored=12, WindowCenter=center, WindowWidth=width))
    assert film.window == "window"


@pytest.mark.parametrize("value", [9000, 30000, 65535])
@pytest.mark.parametrize("size", [1, 8])
def test_few_pixels_do_not_decide_the_grey_levels(dicom_film: Film, value: int, size: int) -> None:
    marked = PIXELS.copy()
    marked[3 : 3 + size, 5 : 5 + size] = value
    film, right = read_radiograph(dicom_film(marked)), read_radiograph(dicom_film(PIXELS))
    inside = np.s_[3 + size :]
    assert np.abs(film.pixels[inside].astype(int) - right.pixels[inside]).max() <= 1
    assert (film.pixels[3 : 3 + size, 5 : 5 + size] == 255).all()
    assert any("nearly all lie from" in note for note in film.notes)
    assert right.notes == ()


def test_outliers_of_sixteen_bit_png(dicom_film: Film) -> None:
    marked = PIXELS.copy()
    marked[0, 0] = 65535
    film, right = read_radiograph(png(marked)), read_radiograph(png(PIXELS))
    assert np.abs(film.pixels[1:].astype(int) - right.pixels[1:]).max() <= 1


# ------------------------------------------------------------------------------ colour


def png(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(pixels))


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


EIGHT = (PIXELS >> 4).astype(np.uint8)
RGB = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "BitsStored": 8}


def colour_film(dicom_film: Film, pixels: np.ndarray, **attributes: Any) -> bytes:
    return dicom_film(pixels, **{"PlanarConfiguration": 0, **RGB, **attributes})


@pytest.mark.parametrize("tint", [0, 3, 6, 12])
def test_a_grey_film_in_colour_is_read_as_grey(dicom_film: Film, tint: int) -> None:
    level = EIGHT.astype(int)
    tinted = np.dstack([level + tint // 2, level, level - (tint - tint // 2)]).clip(0, 255).astype(np.uint8)
    grey = read_radiograph(png(EIGHT))
    for film in (
        png(tinted),
        jpeg(tinted),
        colour_film(dicom_film, tinted),
        colour_film(dicom_film, np.moveaxis(tinted, 2, 0).copy(), Rows=160, Columns=128, PlanarConfiguration=1),
    ):
        found = read_radiograph(film)
        assert np.abs(found.pixels.astype(int) - grey.pixels).mean() < 3
        assert any("channels" in note or "tint" in note for note in found.notes)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "RGB"])
@pytest.mark.parametrize("rgb_jpeg", [False, True])
def test_compressed_colour_of_a_grey_film(dicom_film: Film, photometric: str, rgb_jpeg: bool) -> None:
    stream = jpeg(np.dstack([EIGHT] * 3), **({"keep_rgb": True} if rgb_jpeg else {}))
    film = dicom_film(
        np.dstack([EIGHT] * 3), syntax="1.2.840.10008.1.2.4.50", stream=even(stream),
        **{**RGB, "PhotometricInterpretation": photometric},
    )  # fmt: skip
    assert np.abs(read_radiograph(film).pixels.astype(int) - EIGHT).max() <= 4


def test_lossless_and_run_length_colour(dicom_film: Film) -> None:
    from pydicom import dcmread

    rgb = np.dstack([EIGHT] * 3)
    stream = imagecodecs.jpeg2k_encode(rgb, level=0, reversible=True, codecformat="j2k")
    films = [colour_film(dicom_film, rgb, syntax=JPEG_2000, stream=even(stream))]
    packed = dcmread(io.BytesIO(colour_film(dicom_film, rgb)))
    packed.compress(RLE, encoding_plugin="pydicom")
    buffer = io.BytesIO()
    packed.save_as(buffer)
    films.append(buffer.getvalue())
    for film in films:
        assert (read_radiograph(film).pixels == EIGHT).all()


def test_native_ybr_422(dicom_film: Film) -> None:
    pairs = np.full((160, 64, 4), 128, np.uint8)
    pairs[..., :2] = EIGHT.reshape(160, 64, 2)
    film = dicom_film(
        pairs, Rows=160, Columns=128, BitsStored=8, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422"
    )
    assert (read_radiograph(film).pixels == EIGHT).all()


def test_a_grey_palette(dicom_film: Film) -> None:
    ramp = np.arange(256, dtype="<u2") * 257
    tables = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, 16]), ("Data", ramp.tobytes()))
    }
    film = dicom_film(EIGHT, PhotometricInterpretation="PALETTE COLOR", **tables)
    found = read_radiograph(film)
    assert (found.pixels == EIGHT).all()
    assert found.window == "full-range", "as its grey twin"


def test_one_sample_is_grey_whatever_the_photometric_interpretation_says(dicom_film: Film) -> None:
    film = read_radiograph(dicom_film(EIGHT, PhotometricInterpretation="YBR_FULL"))
    assert (film.pixels == EIGHT).all()
    assert any("taken for grey" in note for note in film.notes)


def test_a_small_coloured_mark_is_noted(dicom_film: Film) -> None:
    marked = np.dstack([EIGHT] * 3)
    marked[2:8, 2:8] = (250, 20, 20)
    for film in (png(marked), colour_film(dicom_film, marked)):
        assert any("are coloured, such as a mark" in note for note in read_radiograph(film).notes)


def test_a_colour_picture_is_refused(dicom_film: Film) -> None:
    photograph = np.dstack([EIGHT, EIGHT[::-1], np.roll(EIGHT, 40, axis=1)])
    for film in (png(photograph), jpeg(photograph), colour_film(dicom_film, photograph)):
        with pytest.raises(RadiographError, match="convert it to grey and score it again") as caught:
            read_radiograph(film)
        assert caught.value.reason == "colour"


def test_the_bits_of_colour_are_those_of_its_grey_twin(dicom_film: Film) -> None:
    for film, header in ((PIXELS << 4, {"BitsStored": 12, "HighBit": 15}), (PIXELS << 3, {"BitsStored": 12})):
        rgb = np.dstack([film] * 3)
        grey = read_radiograph(dicom_film(film, **header))
        found = read_radiograph(colour_film(dicom_film, rgb, **{**header, "BitsAllocated": 16}))
        assert furthest(found, grey) <= 1


@pytest.mark.parametrize("channels", ["RGB", "RGBA", "LA"])
def test_sixteen_bit_png_in_colour_or_with_alpha_keeps_its_bits(channels: str) -> None:
    opaque = np.full(PIXELS.shape, 65535, np.uint16)
    planes = {"RGB": [PIXELS] * 3, "RGBA": [PIXELS] * 3 + [opaque], "LA": [PIXELS, opaque]}[channels]
    film = read_radiograph(png(np.dstack(planes)))
    assert furthest(film, read_radiograph(png(PIXELS))) == 0


# ------------------------------------------------------------------------------ encapsulation


def jpeg_2000_film(dicom_film: Film, value: bytes) -> Radiograph:
    stream = even(imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="j2k", bitspersample=12))
    return read_radiograph(
        with_pixel_data(dicom_film(PIXELS, syntax=JPEG_2000, stream=stream, **window()), value or items(stream))
    )


@pytest.mark.parametrize("size", [600, 5000])
def test_a_fragment_is_no_frame(dicom_film: Film, size: int) -> None:
    stream = even(imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="j2k", bitspersample=12))
    parts = [even(stream[start : start + size]) for start in range(0, len(stream), size)]
    offsets = tuple(range(0, (size + 8) * len(parts), size + 8))
    film = jpeg_2000_film(dicom_film, items(*parts, offsets=offsets))
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0


@pytest.mark.parametrize("size", [200, 1024])
def test_a_run_length_frame_in_fragments(dicom_film: Film, size: int) -> None:
    from pydicom.pixels.encoders import RLELosslessEncoder

    stream = RLELosslessEncoder.encode(
        PIXELS.tobytes(), rows=160, columns=128, samples_per_pixel=1, bits_allocated=16, bits_stored=16,
        pixel_representation=0, photometric_interpretation="MONOCHROME2", number_of_frames=1,
        encoding_plugin="pydicom",
    )  # fmt: skip
    parts = [even(stream[start : start + size]) for start in range(0, len(stream), size)]
    film = read_radiograph(
        with_pixel_data(dicom_film(PIXELS, syntax=RLE, stream=even(stream), **window()), items(*parts))
    )
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0
    assert f"one run-length frame in {len(parts)} fragments" in film.notes


@pytest.mark.parametrize("zeros", [2, 64, 5000])
def test_zeros_after_the_end_marker(dicom_film: Film, zeros: int) -> None:
    stream = even(imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="j2k", bitspersample=12))
    film = jpeg_2000_film(dicom_film, items(stream + bytes(zeros)))
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0


def test_zeros_after_native_pixels_are_padding(dicom_film: Film) -> None:
    eight = (PIXELS >> 4).astype(np.uint8)
    padded = np.vstack([eight, np.zeros((3, eight.shape[1]), np.uint8)])
    found = read_radiograph(dicom_film(padded, Rows=len(eight)))
    assert (found.pixels == eight).all()
    assert found.notes == ("384 bytes after the pixels",)


def test_a_header_of_absurd_numbers() -> None:
    numbers = struct.pack("<3d", 256.0, 1e300, 16.0)
    item = Elements(LUTDescriptor=Element("FD", memoryview(numbers)), LUTData=Element("OW", memoryview(bytes(512))))
    assert read_lookup_table(item, signed_input=False) == (None, [])
    assert Elements(Rows=Element("FD", memoryview(struct.pack("<d", 1e300)))).integer("Rows") is None


def test_many_luts_take_no_time(dicom_film: Film) -> None:
    useless = [one for _ in range(300) for one in lut(60000, np.arange(16), 12)]
    found = read_radiograph(dicom_film(PIXELS, BitsStored=12, VOILUTSequence=useless))
    assert len(found.notes) <= 2


def test_rows_too_few(dicom_film: Film) -> None:
    with pytest.raises(RadiographError, match="the pixel data hold 160 rows of 128 pixels, Rows says 110") as caught:
        read_radiograph(dicom_film(PIXELS, **window(), Rows=110))
    assert caught.value.reason == "invalid-attribute"


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEG_2000, lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=12)),
        (LOSSLESS_JPEG, imagecodecs.jpegls_encode),
        (
            RLE,
            lambda pixels: imagecodecs.jpeg2k_encode(
                pixels, level=0, reversible=True, codecformat="j2k", bitspersample=12
            ),
        ),
    ],
)
def test_the_codestream_is_decoded_as_what_it_is(dicom_film: Film, syntax: str, encode: Callable[..., bytes]) -> None:
    film = read_radiograph(dicom_film(PIXELS, syntax=syntax, stream=even(encode(PIXELS)), **window()))
    assert furthest(film, read_radiograph(dicom_film(PIXELS, **window()))) == 0
    assert any("decoded as that" in note for note in film.notes)


@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG_2000])
def test_items_in_a_value_of_defined_length(dicom_film: Film, syntax: str) -> None:
    stream = imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="j2k", bitspersample=12)
    value = np.frombuffer(encapsulate([even(stream)]), np.uint8)
    film = dicom_film(value[None], Rows=160, Columns=128, **{**window(), "BitsAllocated": 16})
    found = read_radiograph(film if syntax == EXPLICIT else _named(film, syntax))
    assert furthest(found, read_radiograph(dicom_film(PIXELS, **window()))) == 0


def test_native_pixels_under_a_compressed_syntax(dicom_film: Film) -> None:
    film = dicom_film(PIXELS, **window())
    named = _named(film, LOSSLESS_JPEG)
    found = read_radiograph(named)
    assert furthest(found, read_radiograph(film)) == 0
    assert any("the pixels are not compressed" in note for note in found.notes)


def _named(film: bytes, syntax: str) -> bytes:
    """Return the film with another Transfer Syntax UID."""
    at = film.index(b"\x02\x00\x10\x00UI")
    (old,) = struct.unpack_from("<H", film, at + 6)
    new = even(syntax.encode())
    film = film[: at + 6] + struct.pack("<H", len(new)) + new + film[at + 8 + old :]
    at = film.index(b"\x02\x00\x00\x00UL") + 8
    (length,) = struct.unpack_from("<I", film, at)
    return film[:at] + struct.pack("<I", length + len(new) - old) + film[at + 4 :]


def test_a_dataset_is_not_blamed_for_what_pydicom_removed(dicom_film: Film) -> None:
    from pydicom import dcmread

    stream = even(imagecodecs.jpeg2k_encode(PIXELS, level=0, reversible=True, codecformat="j2k", bitspersample=12))
    dataset = dcmread(io.BytesIO(dicom_film(PIXELS, syntax=JPEG_2000, stream=stream, **window())))
    assert read_radiograph(dataset).notes == ()
    del dataset.file_meta
    dataset.PixelData = encapsulate([stream])
    assert furthest(read_radiograph(dataset), read_radiograph(dicom_film(PIXELS, **window()))) == 0


# ------------------------------------------------------------------------------ files that are none of ours


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"II*\0" + bytes(200), "a TIFF picture"),
        (b"PK\3\4" + bytes(200), "a zip archive"),
        (b"\x1f\x8b" + bytes(200), "a gzip file"),
        (b"\x93NUMPY" + bytes(200), "a numpy file"),
        (b"%PDF-1.7" + bytes(200), "a PDF document"),
        (b"", "an empty file"),
    ],
)
def test_other_formats_are_named(data: bytes, message: str) -> None:
    with pytest.raises(RadiographError, match=message) as caught:
        read_radiograph(data)
    assert caught.value.reason == "unsupported-format"


def test_a_file_object_at_its_end() -> None:
    file = io.BytesIO(png(EIGHT))
    file.read()
    with pytest.raises(RadiographError, match="stands at its end"):
        read_radiograph(file)


def test_a_jpeg_that_ends_too_early() -> None:
    whole = jpeg(EIGHT)
    with pytest.raises(RadiographError, match="ends too early") as caught:
        read_radiograph(whole[: len(whole) // 2])
    assert caught.value.reason == "truncated-pixels"
