from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import Radiograph, read_radiograph

ROW, COLUMN = np.mgrid[0:40, 0:60]
GREY = (COLUMN * 4).astype(np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
# Bright in one corner only, so that every turn shows.
CORNER = np.zeros((40, 60), np.uint8)
CORNER[:10, :20] = 255


def saved(image: Image.Image | np.ndarray, kind: str = "png", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(data: bytes, **options: Any) -> Radiograph:
    return read_radiograph(data, **options)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def exif(orientation: int, order: str = "<") -> bytes:
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + start + struct.pack(f"{order}IHHHIHH", 8, 1, 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"


def test_grey_png() -> None:
    film = read(saved(GREY))
    assert (film.pixels == GREY).all()
    assert (film.format, film.window, film.bits_stored, film.inverted) == ("png", "full-range", 8, False)
    assert film.view_position is None
    assert film.modality is None
    assert film.notes == ()


def test_grey_jpeg() -> None:
    film = read(saved(GREY, "jpeg", quality=95))
    assert np.abs(film.pixels.astype(int) - GREY).max() < 8
    assert film.format == "jpeg"


def test_progressive_jpeg() -> None:
    assert read(saved(GREY, "jpeg", progressive=True)).pixels.shape == GREY.shape


def test_sixteen_bits_are_stretched() -> None:
    film = read(saved(COLUMN.astype(np.uint16) * 100 + 1000))
    assert (film.pixels == np.rint(COLUMN / 59 * 255)).all()
    assert (film.window, film.bits_stored) == ("min-max", 16)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "RGBA"])
def test_grey_in_other_modes(mode: str) -> None:
    film = read(saved(Image.fromarray(GREY).convert(mode)))
    assert (film.pixels == GREY).all()
    assert film.notes


def test_grey_jpeg_in_three_channels() -> None:
    film = read(saved(Image.fromarray(GREY).convert("RGB"), "jpeg", quality=95))
    assert film.notes == ("three equal channels",)


def test_palette_of_greys_in_any_order() -> None:
    image = Image.fromarray(255 - GREY)
    image = image.convert("P")
    image.putpalette([level for index in range(256) for level in [255 - index] * 3])
    assert (read(saved(image)).pixels == GREY).all()


def test_one_bit() -> None:
    film = read(saved(Image.fromarray(GREY > 100)))
    assert set(np.unique(film.pixels)) == {0, 255}


def test_transparent_pixels_are_black() -> None:
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[:, 30:] = 0
    film = read(saved(np.dstack([GREY + 10, alpha])))
    assert (film.pixels[:, 30:] == 0).all()
    assert (film.pixels[:, :30] == GREY[:, :30] + 10).all()
    assert "transparent pixels laid on black" in film.notes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(np.dstack([GREY, 255 - GREY, GREY])), "colour"),
        (saved(np.dstack([GREY, 255 - GREY, GREY]), "jpeg"), "colour"),
        (saved(Image.fromarray(GREY).convert("CMYK"), "jpeg"), "colour"),
        (saved(GREY, save_all=True, append_images=[Image.fromarray(CORNER)]), "multi-frame"),
        (saved(NOISE)[:-100], "truncated-pixels"),
        (saved(NOISE, "jpeg")[:-200], "truncated-pixels"),
        (saved(NOISE, "jpeg")[:50], "truncated-pixels"),
        (saved(GREY)[:20], "corrupt"),
        (saved(GREY)[:8], "corrupt"),
        (saved(GREY).replace(b"IDAT", b"IDAX"), "corrupt"),
        (saved(GREY[:31]), "too-small"),
        (saved(GREY * 0 + 9), "constant"),
        (saved(np.zeros((40, 60), np.uint16) + 9), "constant"),
    ],
)
def test_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RadiographError, match="<bytes>: ") as caught:
        read(data)
    assert caught.value.reason == reason


def test_size_is_checked_before_decoding() -> None:
    # 60,000 x 60,000 pixels in a kilobyte: the size stands in the header, the pixels would take 3.6 GB.
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10000)) + chunk(b"IEND", b"")
    with pytest.raises(RadiographError, match="60000 x 60000 pixels; at most 100,000,000") as caught:
        read(bomb)
    assert caught.value.reason == "too-large"
    with pytest.raises(RadiographError, match="60 x 40 pixels; at most 2,000"):
        read(saved(GREY, "jpeg"), max_pixels=2000)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_as_pillow_turns_it(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    order = "<" if orientation % 2 else ">"
    data = saved(CORNER, kind, exif=exif(orientation, order))
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    film = read(data)
    assert (film.pixels == expected).all()
    assert bool(film.notes) == (orientation > 1)


@pytest.mark.parametrize("deep", [False, True])
def test_exif_after_the_pixels(deep: bool) -> None:
    if deep:
        import imagecodecs

        opaque = np.full(CORNER.shape, 65535, np.uint16)
        data = imagecodecs.png_encode(np.dstack([CORNER.astype(np.uint16) * 257, opaque]))
    else:
        data = saved(CORNER)
    end = data.index(b"IEND") - 4
    film = read(data[:end] + chunk(b"eXIf", exif(3).removeprefix(b"Exif\0\0")) + data[end:])
    assert (film.pixels == np.rot90(CORNER, 2)).all()
    assert film.notes[-1] == "turned upright as its EXIF orientation says"


@pytest.mark.parametrize(
    "damaged", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", exif(6)[:-10], b"Exif\0\0XX*\0" + b"\0" * 40]
)
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_damaged_exif_is_left_out(damaged: bytes, kind: str) -> None:
    film = read(saved(CORNER, kind, exif=damaged))
    assert film.pixels.shape == CORNER.shape


def test_twelve_bit_jpeg_file() -> None:
    import imagecodecs

    data = imagecodecs.jpeg8_encode(GREY.astype(np.uint16) << 4, 90, bitspersample=12)
    with pytest.raises(RadiographError, match="12 bits; 8 were expected") as caught:
        read(data)
    assert caught.value.reason == "decode-failed"


def test_a_jpeg_with_something_after_it() -> None:
    assert read(saved(GREY, "jpeg") + b"appended by some program" * 10).pixels.shape == GREY.shape


@pytest.mark.parametrize("intensity", ["minmax", "chexpert"])
def test_other_recipes(intensity: str) -> None:
    film = read(saved(GREY // 2 + 20), intensity=intensity)
    assert film.pixels.min() == 0
    assert film.pixels.max() == 255


def test_a_png_holds_no_luma_and_chromas() -> None:
    luma = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    picture = np.dstack([luma, np.full_like(luma, 128), np.full_like(luma, 128)])
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    with pytest.raises(RadiographError, match="a colour picture"):
        read_radiograph(buffer.getvalue())
