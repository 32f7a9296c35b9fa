from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from xraytransfer.errors import REASONS, RadiographError
from xraytransfer.radiograph import Radiograph, read_radiograph

Film = Callable[..., bytes]
ROW, COLUMN = np.mgrid[0:40, 0:50]
# 12 bits: every value from 0 to 1999 once.
RAMP = (ROW * 50 + COLUMN).astype(np.uint16)


def read(data: bytes, **options: Any) -> Radiograph:
    return read_radiograph(data, **options)


def outcome(data: bytes, **options: Any) -> Radiograph | RadiographError:
    try:
        return read(data, **options)
    except RadiographError as error:
        return error


def lut(entries: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def replaced(film: bytes, old: bytes, new: bytes) -> bytes:
    assert film.count(old) == 1
    return film.replace(old, new.ljust(len(old)))


def test_linear_window(dicom_film: Film) -> None:
    film = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=1001))
    assert film.window == "window"
    assert film.pixels.dtype == np.uint8
    # Black up to 499.5, white from 1499.5.
    assert film.pixels.ravel()[499] == 0
    assert film.pixels.ravel()[1500] == 255
    assert abs(int(film.pixels.ravel()[1000]) - 128) <= 1


def test_the_first_of_several_windows(dicom_film: Film) -> None:
    one = read(dicom_film(RAMP, BitsStored=12, WindowCenter=[1000, 5], WindowWidth=[1001, 9]))
    two = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=1001))
    assert (one.pixels == two.pixels).all()


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_other_window_functions(dicom_film: Film, function: str) -> None:
    film = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=400, VOILUTFunction=function))
    assert abs(int(film.pixels.ravel()[1000]) - 128) <= 1
    expected = 255 if function == "LINEAR_EXACT" else 188  # 255 / (1 + exp(-1)) at a quarter of the width
    at = 1200 if function == "LINEAR_EXACT" else 1104
    assert abs(int(film.pixels.ravel()[at]) - expected) <= 3


def test_unknown_window_function_is_linear_and_noted(dicom_film: Film) -> None:
    film = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=400, VOILUTFunction="CUBIC"))
    assert film.window == "window"
    assert "the VOI LUT Function is unknown: taken for LINEAR" in film.notes


def test_voi_lut_comes_before_the_window(dicom_film: Film) -> None:
    table = lut(np.linspace(0, 4095, 2000), 0, 12)
    film = read(dicom_film(RAMP, BitsStored=12, VOILUTSequence=[table], WindowCenter=5, WindowWidth=2))
    assert film.window == "voi-lut"
    assert film.pixels[0, 0] == 0
    assert film.pixels[-1, -1] == 255


def test_modality_lut_comes_before_the_window(dicom_film: Film) -> None:
    table = lut(np.arange(2000)[::-1], 0, 16)
    film = read(dicom_film(RAMP, BitsStored=12, ModalityLUTSequence=[table], WindowCenter=1000, WindowWidth=2000))
    assert film.pixels[0, 0] == 255
    assert film.pixels[-1, -1] == 0


def test_rescale_moves_the_window(dicom_film: Film) -> None:
    scaled = read(
        dicom_film(RAMP, BitsStored=12, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=1900, WindowWidth=2001)
    )
    plain = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=1001))
    assert np.abs(scaled.pixels.astype(int) - plain.pixels).max() <= 1


def test_voi_lut_with_a_negative_first_value(dicom_film: Film) -> None:
    signed = (RAMP.astype(np.int16) - 1000).astype(np.int16)
    item = lut(np.linspace(0, 255, 2000), 0, 8)
    item.add_new("LUTDescriptor", "SS", [2000, -1000, 8])
    film = read(dicom_film(signed, VOILUTSequence=[item]))
    assert film.pixels[0, 0] == 0
    assert film.pixels[-1, -1] == 255
    assert abs(int(film.pixels[20, 0]) - 128) <= 1


def test_lut_of_bytes(dicom_film: Film) -> None:
    item = lut(np.arange(2), 0, 8)
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OB", bytes(range(256))[::-1])
    film = read(dicom_film((RAMP >> 3).astype(np.uint8), VOILUTSequence=[item]))
    assert (film.pixels == 255 - (RAMP >> 3)).all()


def test_lut_that_uses_more_bits_than_it_says(dicom_film: Film) -> None:
    film = read(dicom_film(RAMP, BitsStored=12, VOILUTSequence=[lut(np.linspace(0, 4095, 2000), 0, 10)]))
    assert film.pixels[-1, -1] == 255
    assert abs(int(film.pixels[20, 0]) - 128) <= 1


@pytest.mark.parametrize("interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", [None, "IDENTITY", "INVERSE"])
def test_inverted_exactly_once(dicom_film: Film, interpretation: str, shape: str | None) -> None:
    film = read(
        dicom_film(
            RAMP,
            BitsStored=12,
            PhotometricInterpretation=interpretation,
            PresentationLUTShape=shape,
            WindowCenter=1000,
            WindowWidth=2000,
        )
    )
    inverted = interpretation == "MONOCHROME1"
    assert film.inverted is inverted
    assert film.photometric_interpretation == interpretation
    assert film.pixels[0, 0] == (255 if inverted else 0)
    assert film.pixels[-1, -1] == (0 if inverted else 255)
    agrees = shape is None or (shape == "INVERSE") == inverted
    assert agrees == (film.notes == ())


def test_high_bit_above_the_stored_bits(dicom_film: Film) -> None:
    film = read(dicom_film(RAMP << 4, BitsStored=12, HighBit=15, WindowCenter=1000, WindowWidth=2000))
    plain = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=2000))
    assert (film.pixels == plain.pixels).all()
    assert film.notes == ("High Bit is 15 with 12 bits stored: samples were shifted down",)


def test_overlay_in_unused_bits(dicom_film: Film) -> None:
    film = read(dicom_film(RAMP | 0x8000, BitsStored=12, WindowCenter=1000, WindowWidth=2000))
    plain = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=2000))
    assert (film.pixels == plain.pixels).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint32, np.int32])
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"])
def test_types_and_stored_syntaxes(dicom_film: Film, dtype: type, syntax: str) -> None:
    stored = (RAMP >> 4).astype(dtype)
    film = read(dicom_film(stored, syntax=syntax), intensity="minmax")
    expected = np.rint(stored / stored.max() * 255)
    assert (film.pixels == expected).all()
    assert film.transfer_syntax == syntax
    assert film.bits_stored == 8 * stored.itemsize


def test_window_outside_of_the_values_falls_back(dicom_film: Film) -> None:
    # Seen in a real film: window 2725/5310, values from 32744.
    film = read(dicom_film(RAMP + 32744, WindowCenter=2725, WindowWidth=5310))
    assert film.window == "fallback: the window leaves one grey level; min-max"
    assert film.pixels[0, 0] == 0
    assert film.pixels[-1, -1] == 255


@pytest.mark.parametrize(
    ("new", "window"),
    [
        (b"AUTO", "fallback: the window is no pair of numbers; min-max"),
        (b"nan", "fallback: the window is no pair of numbers; min-max"),
        (b"1e30", "fallback: the window is no pair of numbers; min-max"),
        (b"", "fallback: the window is no pair of numbers; min-max"),
        (b"876,5", "window"),
    ],
)
def test_window_centre_that_is_no_number(dicom_film: Film, new: bytes, window: str) -> None:
    film = dicom_film(RAMP, BitsStored=12, WindowCenter="876.54", WindowWidth=1000)
    assert read(replaced(film, b"876.54", new)).window == window


@pytest.mark.parametrize("width", ["0", "-5", "0.5"])
def test_window_width_below_one(dicom_film: Film, width: str) -> None:
    film = read(dicom_film(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=width))
    assert film.window == f"fallback: the window is {width} wide; min-max"


def test_unusable_voi_lut_falls_back_to_the_window(dicom_film: Film) -> None:
    broken = lut(np.arange(10), 0, 12)
    broken.LUTDescriptor = [500, 0, 12]
    film = read(dicom_film(RAMP, BitsStored=12, VOILUTSequence=[broken], WindowCenter=1000, WindowWidth=2000))
    assert film.window == "window"
    assert "the VOI LUT is unusable" in film.notes


@pytest.mark.parametrize("items", [[], [Dataset()]])
def test_empty_modality_lut(dicom_film: Film, items: list[Dataset]) -> None:
    film = read(dicom_film(RAMP, BitsStored=12, ModalityLUTSequence=items, WindowCenter=1000, WindowWidth=2000))
    assert film.notes == ("the Modality LUT is unusable and was left out",)
    scaled = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 4000}
    beside = read(dicom_film(RAMP, BitsStored=12, ModalityLUTSequence=items, **scaled))
    assert (beside.pixels == read(dicom_film(RAMP, BitsStored=12, **scaled)).pixels).all()


@pytest.mark.parametrize(
    ("new", "reason"), [(b"nan", "invalid-attribute"), (b"x", "invalid-attribute"), (b"0", "invalid-attribute")]
)
def test_rescale_slope_that_is_no_slope(dicom_film: Film, new: bytes, reason: str) -> None:
    film = replaced(dicom_film(RAMP, RescaleSlope="876.54", RescaleIntercept=0), b"876.54", new)
    with pytest.raises(RadiographError, match="RescaleSlope") as caught:
        read(film)
    assert caught.value.reason == reason
    assert read(film, intensity="chexpert").intensity == "chexpert"


def test_rescale_slope_with_a_decimal_comma(dicom_film: Film) -> None:
    film = replaced(dicom_film(RAMP, RescaleSlope="1.000000", RescaleIntercept=0), b"1.000000", b"1,000000")
    assert read(film).window == "min-max"


def test_padding(dicom_film: Film) -> None:
    stored = RAMP + 100
    stored[:5] = 0
    film = read(dicom_film(stored, BitsStored=12, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1"))
    assert (film.pixels[:5] == 0).all()
    assert film.pixels[5, 0] == 255
    assert film.pixels[-1, -1] == 0
    assert film.notes == ("padding pixels are black",)
    ranged = read(dicom_film(stored, BitsStored=12, PixelPaddingValue=0, PixelPaddingRangeLimit=1000))
    assert (ranged.pixels[stored <= 1000] == 0).all()
    assert ranged.pixels[stored > 1000].min() == 0
    assert ranged.pixels[stored > 1001].min() >= 0


def test_signed_padding_value_of_an_unsigned_film(dicom_film: Film) -> None:
    stored = RAMP.copy()
    stored[:5] = 0xFFFF
    data = dicom_film(stored, PixelPaddingValue=0xFFFF)
    at = data.index(b"\x28\0\x20\1US")
    film = read(data[: at + 4] + b"SS" + data[at + 6 :])
    assert (film.pixels[:5] == 0).all()
    assert film.pixels[-1, -1] == 255


@pytest.mark.parametrize(
    ("attributes", "reason", "message"),
    [
        ({"Rows": None}, "invalid-attribute", "Rows is absent"),
        ({"Columns": None}, "invalid-attribute", "Columns is absent"),
        ({"BitsAllocated": None}, "invalid-attribute", "BitsAllocated is absent"),
        ({"PhotometricInterpretation": None}, "invalid-attribute", "Photometric Interpretation is absent"),
        ({"PhotometricInterpretation": "GREY"}, "invalid-attribute", "absent or unknown"),
        ({"Rows": 0}, "invalid-attribute", "50 x 0 pixels"),
        ({"Rows": 65535, "Columns": 65535}, "too-large", "65535 x 65535 pixels; at most 100,000,000"),
        ({"Rows": 20}, "too-small", "50 x 20 pixels"),
        ({"Rows": 41}, "truncated-pixels", "4,000 bytes of pixel data, 4,100 expected"),
        ({"Rows": 400}, "truncated-pixels", "4,000 bytes"),
        ({"NumberOfFrames": 1_000_000_000}, "multi-frame", "1,000,000,000 frames"),
        ({"NumberOfFrames": 2}, "multi-frame", "2 frames"),
        ({"BitsStored": 17, "HighBit": 16}, "invalid-attribute", "17 stored"),
        ({"BitsStored": 0, "HighBit": 0}, "invalid-attribute", "0 stored"),
        ({"BitsStored": 12, "HighBit": 3}, "invalid-attribute", "high bit 3"),
        ({"BitsAllocated": 12}, "invalid-attribute", "12 bits allocated"),
        ({"BitsAllocated": 64, "BitsStored": 64}, "invalid-attribute", "64 bits allocated"),
        ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "multi-frame", "more than one frame"),
        ({"PixelRepresentation": 7}, "invalid-attribute", "Pixel Representation is 7"),
        ({"SamplesPerPixel": 4}, "colour", "4 samples per pixel"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "truncated-pixels", "12,000 expected"),
        ({"PhotometricInterpretation": "CMYK"}, "colour", "is CMYK"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "invalid-attribute", "the Red palette .* is unusable"),
        ({"ViewPosition": "LL"}, "not-frontal", "LL"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "not-a-radiograph", "CT"),
    ],
)
def test_refused_headers(dicom_film: Film, attributes: dict[str, Any], reason: str, message: str) -> None:
    with pytest.raises(RadiographError, match=message) as caught:
        read(dicom_film((RAMP).astype(np.uint16), **attributes))
    assert caught.value.reason == reason
    assert str(caught.value).startswith("<bytes>: ")


@pytest.mark.parametrize(
    ("attributes", "note"),
    [
        ({"BitsStored": None, "HighBit": None}, "Bits Stored is absent: taken for 16"),
        ({"HighBit": None}, "High Bit is absent: taken for 15"),
        ({"PixelRepresentation": None}, "Pixel Representation is absent: taken for unsigned"),
        ({"SamplesPerPixel": None}, "Samples per Pixel is absent: taken for 1"),
        ({"NumberOfFrames": 0}, "Number of Frames is invalid: taken for 1"),
        ({"Modality": "CT"}, "Modality is CT in a Computed Radiography object"),
        ({"Modality": None}, "Modality is absent in a Computed Radiography object"),
    ],
)
def test_headers_that_leave_something_open(dicom_film: Film, attributes: dict[str, Any], note: str) -> None:
    film = read(dicom_film(RAMP, **attributes))
    assert note in film.notes
    assert film.window == "min-max"


def test_any_modality_reads_the_rest(dicom_film: Film) -> None:
    for attributes in ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, {"BodyPartExamined": "HAND"}):
        data = dicom_film(RAMP, **attributes)
        with pytest.raises(RadiographError, match="any_modality=True") as refused:
            read(data)
        assert "any" not in refused.value.message
        assert read(data, any_modality=True).pixels.shape == RAMP.shape


def test_constant_film(dicom_film: Film) -> None:
    with pytest.raises(RadiographError, match="same value") as caught:
        read(dicom_film(np.full((40, 40), 7, np.uint16)))
    assert caught.value.reason == "constant"


def test_float_pixels(dicom_film: Film) -> None:
    data = bytearray(dicom_film(RAMP))
    at = data.index(b"\xe0\x7f\x10\x00")
    data[at + 2] = 8
    data[at + 4 : at + 6] = b"OF"
    with pytest.raises(RadiographError, match="FloatPixelData instead of pixels") as caught:
        read(bytes(data))
    assert caught.value.reason == "no-pixels"


@pytest.mark.parametrize("size", [0, 4])
def test_no_pixels(dicom_film: Film, size: int) -> None:
    data = dicom_film(RAMP)
    at = data.index(b"\xe0\x7f\x10\x00")
    ending = data[at : at + 8] + b"\0\0\0\0" if size else b""
    with pytest.raises(RadiographError, match="empty" if size else "no pixel data") as caught:
        read(data[:at] + ending)
    assert caught.value.reason == "no-pixels"


def test_double_length_is_not_a_second_opinion(dicom_film: Film) -> None:
    with pytest.raises(RadiographError, match="more than one frame") as caught:
        read(dicom_film(np.vstack([RAMP, RAMP]), Rows=40))
    assert caught.value.reason == "multi-frame"


values = st.one_of(st.none(), st.integers(0, 65535))
texts = st.one_of(st.none(), st.sampled_from(["", "0", "1", "-1", "2048", "1e9", "nan", "0.5"]))


@settings(max_examples=100, deadline=None)
@given(
    rows=st.sampled_from([None, 0, 1, 39, 40, 41, 65535]),
    columns=st.sampled_from([None, 0, 49, 50, 51, 65535]),
    allocated=st.sampled_from([None, 0, 1, 8, 12, 16, 32, 64]),
    stored=st.one_of(st.none(), st.integers(0, 33)),
    high=st.one_of(st.none(), st.integers(0, 33)),
    signed=st.sampled_from([None, 0, 1, 2]),
    padding=values,
    limit=values,
    center=texts,
    width=texts,
    slope=texts,
    function=st.sampled_from([None, "LINEAR", "LINEAR_EXACT", "SIGMOID", "X"]),
    interpretation=st.sampled_from([None, "MONOCHROME1", "MONOCHROME2", "RGB", ""]),
    frames=st.sampled_from([None, "0", "1", "2"]),
    intensity=st.sampled_from(["voi", "minmax", "chexpert"]),
    syntax=st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]),
)
def test_any_header_is_read_or_refused(dicom_film: Film, intensity: str, syntax: str, **attributes: Any) -> None:
    keywords = {
        "rows": "Rows",
        "columns": "Columns",
        "allocated": "BitsAllocated",
        "stored": "BitsStored",
        "high": "HighBit",
        "signed": "PixelRepresentation",
        "padding": "PixelPaddingValue",
        "limit": "PixelPaddingRangeLimit",
        "center": "WindowCenter",
        "width": "WindowWidth",
        "slope": "RescaleSlope",
        "function": "VOILUTFunction",
        "interpretation": "PhotometricInterpretation",
        "frames": "NumberOfFrames",
    }
    header = {keywords[name]: value for name, value in attributes.items()}
    film = outcome(dicom_film(RAMP, syntax=syntax, **header), intensity=intensity)
    if isinstance(film, RadiographError):
        assert film.reason in REASONS
        assert "Doe" not in str(film)
    else:
        assert film.pixels.shape == (header["Rows"], header["Columns"])
        assert film.pixels.dtype == np.uint8
        assert film.pixels.min() < film.pixels.max()
        assert "Doe" not in str(film.provenance())
