"""Every header field that the pixels depend on, changed: the same picture, a note, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import Radiograph, read_radiograph

Film = Callable[..., bytes]

ROWS, COLUMNS = np.mgrid[0:160, 0:128]
NOISE = np.random.default_rng(3).normal(0, 6, ROWS.shape)
PIXELS = (2000 + 1200 * np.sin(ROWS / 30) * np.cos(COLUMNS / 25) + NOISE).clip(0, 4095).astype(np.uint16)
HEADER: dict[str, Any] = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "Rows": st.integers(1, 400),
    "Columns": st.integers(1, 400),
    "BitsStored": st.integers(2, 16),
    "HighBit": st.integers(0, 15),
    "PixelRepresentation": st.integers(0, 2),
    "SamplesPerPixel": st.integers(0, 4),
    "PlanarConfiguration": st.integers(0, 2),
    "PhotometricInterpretation": st.sampled_from(
        ["MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "HSV", "GREY", ""]
    ),
    "NumberOfFrames": st.sampled_from([0, 1, 2, 1000]),
    "WindowCenter": st.sampled_from([-100000, 0, 2048, 40000, 1e9]),
    "WindowWidth": st.sampled_from([0, 1, 2, 4096, 70000, 1e9]),
}

# A window that lies elsewhere or is wider is the writer's choice, as long as it leaves a picture.
CHOICES = ("WindowCenter", "WindowWidth")


@pytest.mark.parametrize("field", FIELDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_wrong_field_is_never_silent(dicom_film: Film, field: str, data: st.DataObject) -> None:
    right = read_radiograph(dicom_film(PIXELS, **HEADER))
    value = data.draw(FIELDS[field])
    film = read_or_refuse(dicom_film(PIXELS, **{**HEADER, field: value}))
    assert isinstance(film, RadiographError) or is_explained(film, right) or field in CHOICES


def read_or_refuse(data: bytes) -> Radiograph | RadiographError:
    try:
        return read_radiograph(data)
    except RadiographError as error:
        return error


def is_explained(film: Radiograph, right: Radiograph) -> bool:
    """Return whether a picture is the right one, or its record says what was taken differently."""
    same = film.pixels.shape == right.pixels.shape and bool(
        (np.abs(film.pixels.astype(int) - right.pixels.astype(int)) <= 1).all()
    )
    return same or film.notes != right.notes or film.window != right.window


@pytest.mark.parametrize("bits", [13, 14, 15, 16])
def test_more_stored_bits_than_there_are_change_nothing_under_a_window(dicom_film: Film, bits: int) -> None:
    film = read_radiograph(dicom_film(PIXELS, **{**HEADER, "BitsStored": bits}))
    assert (film.pixels == read_radiograph(dicom_film(PIXELS, **HEADER)).pixels).all()
