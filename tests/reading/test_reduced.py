"""Decoding at reduced resolution."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from xraytransfer import load
from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.resize import resize

Film = Callable[..., bytes]
JPEG_2000, HTJ2K, BASELINE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.50"


def drawn(bits: int, shape: tuple[int, int] = (612, 500)) -> np.ndarray:
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    smooth = 0.5 + 0.3 * np.sin(5 * rows) * np.cos(4 * columns) + 0.1 * np.sin(40 * columns)
    return (smooth.clip(0, 1) * ((1 << bits) - 1)).astype(np.uint16 if bits > 8 else np.uint8)


def j2k(pixels: np.ndarray, bits: int) -> bytes:
    stream = imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k", bitspersample=bits)
    return bytes(stream) + b"\0" * (len(stream) % 2)


def film(dicom_film: Film, bits: int, **attributes: Any) -> bytes:
    pixels = attributes.pop("pixels", drawn(bits))
    window = {} if bits == 8 else {"WindowCenter": 1 << (bits - 1), "WindowWidth": 1 << bits}
    if pixels.dtype.kind == "i" and window:
        window["WindowCenter"] = 0
    return dicom_film(
        pixels, syntax=JPEG_2000, stream=j2k(pixels, bits), **{"BitsStored": bits, **window, **attributes}
    )


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize(("side", "reduction"), [(126, 1), (125, 2), (62, 4), (31, 8), (300, 1)])
def test_the_lowest_level_that_is_twice_as_large(dicom_film: Film, bits: int, side: int, reduction: int) -> None:
    data = film(dicom_film, bits)
    small, full = read_radiograph(data, reduced_to=side), read_radiograph(data)
    assert small.reduction == small.provenance()["reduction"] == reduction
    assert small.pixels.shape == (-(-612 // reduction), -(-500 // reduction))
    assert full.reduction == 1
    assert small.window == full.window
    assert small.bits_stored == full.bits_stored
    difference = resize(small.pixels, (61, 50)).astype(int) - resize(full.pixels, (61, 50))
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_signed_samples(dicom_film: Film, photometric: str) -> None:
    signed = (drawn(12).astype(int) - 2048).astype(np.int16)
    data = film(dicom_film, 12, pixels=signed, PhotometricInterpretation=photometric)
    small, full = read_radiograph(data, reduced_to=31), read_radiograph(data)
    assert small.reduction == 8
    assert np.abs(resize(small.pixels, (61, 50)).astype(int) - resize(full.pixels, (61, 50))).mean() < 3


def test_high_throughput(dicom_film: Film) -> None:
    if not hasattr(imagecodecs, "htj2k_encode"):
        pytest.skip("this imagecodecs encodes no High-Throughput JPEG 2000")
    pixels = drawn(16)
    stream = bytes(imagecodecs.htj2k_encode(pixels, reversible=True))
    data = dicom_film(pixels, syntax=HTJ2K, stream=stream + b"\0" * (len(stream) % 2))
    small, full = read_radiograph(data, reduced_to=31), read_radiograph(data)
    assert small.reduction == 8
    assert np.abs(resize(small.pixels, (61, 50)).astype(int) - resize(full.pixels, (61, 50))).mean() < 3


def test_jpeg_of_eight_bits_in_dicom_and_as_a_file(dicom_film: Film) -> None:
    pixels = drawn(8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    stream = buffer.getvalue() + b"\0" * (len(buffer.getvalue()) % 2)
    for data in (buffer.getvalue(), dicom_film(pixels, syntax=BASELINE, stream=stream)):
        small = read_radiograph(data, reduced_to=31)
        assert small.reduction == 8
        assert small.pixels.shape == (77, 63)
        assert np.abs(resize(small.pixels, (61, 50)).astype(int) - resize(pixels, (61, 50))).mean() < 3


@pytest.mark.parametrize(
    "attributes",
    [
        {"BitsStored": 14},  # the codestream and the header disagree on the depth
        {"BitsStored": 12, "HighBit": 13},
        {"BitsStored": 12, "PixelRepresentation": 1},
    ],
)
def test_words_that_are_no_plain_samples_are_decoded_whole(dicom_film: Film, attributes: dict[str, Any]) -> None:
    data = film(dicom_film, 12, **attributes)
    assert read_radiograph(data, reduced_to=31).reduction == 1


def test_other_syntaxes_are_decoded_whole(dicom_film: Film) -> None:
    assert read_radiograph(dicom_film(drawn(12), BitsStored=12), reduced_to=31).reduction == 1


def test_the_edge_of_padding_is_no_film(dicom_film: Film) -> None:
    pixels = (drawn(12) // 2 + 1500).astype(np.uint16)
    pixels[:, :101] = 0
    data = film(dicom_film, 12, pixels=pixels, PixelPaddingValue=0, WindowCenter=None, WindowWidth=None)
    small = read_radiograph(data, reduced_to=62)
    assert small.reduction == 4
    assert (small.pixels[:, :26] == 0).all()
    assert small.pixels[:, 28:].min() > 0 or small.window == "min-max"
    full = read_radiograph(data)
    assert full.pixels[:, 101:].mean() > 60


def test_a_damaged_stream_is_refused_as_in_full(dicom_film: Film) -> None:
    stream = j2k(drawn(12), 12)
    damaged = stream[:120] + b"\x55" * 900 + stream[-2:]
    data = dicom_film(drawn(12), syntax=JPEG_2000, stream=damaged, BitsStored=12)
    for side in (None, 31):
        with pytest.raises(RadiographError) as caught:
            read_radiograph(data, reduced_to=side)
        assert caught.value.reason in ("decode-failed", "truncated-pixels")


def test_a_side_below_one_is_wrong() -> None:
    with pytest.raises(ValueError, match="reduced_to is 0"):
        read_radiograph(b"", reduced_to=0)


def test_sizes_that_pillow_rounds_otherwise_are_halved_less(dicom_film: Film) -> None:
    pixels = drawn(12, (610, 500))
    film = read_radiograph(dicom_film(pixels, syntax=JPEG_2000, stream=j2k(pixels, 12), BitsStored=12), reduced_to=31)
    assert film.reduction == 4


def test_lossless_recodings_give_the_same_numbers(dicom_film: Film, toy_model: Path) -> None:
    classifier = load(toy_model, device="cpu", threads=1)
    pixels = drawn(12)
    recodings = {
        "1.2.840.10008.1.2": None,
        "1.2.840.10008.1.2.4.70": imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=12),
        "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode(pixels),
        JPEG_2000: j2k(pixels, 12),
    }
    answers = {}
    for syntax, stream in recodings.items():
        whole = stream and bytes(stream) + b"\0" * (len(stream) % 2)
        data = dicom_film(pixels, syntax=syntax, stream=whole, BitsStored=12, WindowCenter=2048, WindowWidth=4096)
        for decoding in ("full", "reduced"):
            answers[syntax, decoding] = classifier.predict(data, decode=decoding).probability
    right = answers["1.2.840.10008.1.2", "full"]
    for (syntax, decoding), probability in answers.items():
        if decoding == "full" or syntax != JPEG_2000:
            np.testing.assert_array_equal(probability, right)
        else:
            np.testing.assert_allclose(probability, right, atol=0.005)
