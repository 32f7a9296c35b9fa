"""PNG and JPEG pictures become stored words."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from xraytransfer.errors import RadiographError
from xraytransfer.reading.codestream import read_header, segments, without_metadata
from xraytransfer.reading.colour import grey_of_components
from xraytransfer.reading.intensity import grey_levels
from xraytransfer.reading.options import ReadingOptions
from xraytransfer.reading.pixel_format import PixelFormat, Words, check_memory, check_size
from xraytransfer.reading.radiograph import Radiograph
from xraytransfer.reading.reduced import halvings

__all__ = ["read_raster"]

# What Pillow raises on damaged pictures.
_PILLOW_FAILURES = (
    ArithmeticError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, AttributeError, struct.error, Image.DecompressionBombError,
)  # fmt: skip
_EXIF_ORIENTATION = 0x0112
# How to undo each orientation (EXIF 2.3, tag 0x0112).
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Channels of the PNG colour types that Pillow reduces to eight bits (ISO/IEC 15948, 11.2.2): RGB, grey and alpha, RGBA.
_PNG_CHANNELS = {2: 3, 4: 2, 6: 4}
_BLOCK_ROWS = 64
# The largest films have some ten thousand, in chunks of the 8 KiB that libpng writes.
_MAX_CHUNKS = 100_000


def read_raster(data: bytes, kind: str, options: ReadingOptions) -> Radiograph:
    """Return the radiograph in a PNG or JPEG file.

    Parameters
    ----------
    data : bytes
        The whole file.
    kind : str
        ``png`` or ``jpeg``.
    options : ReadingOptions
        The size is checked before anything is decoded.

    Raises
    ------
    RadiographError
        too-large, too-small, colour, multi-frame, truncated-pixels, corrupt, decode-failed, constant.
    """
    try:
        words, notes, reduction = _words(data, kind, options)
    except MemoryError:
        raise RadiographError("too-large", "not enough memory to decode the picture") from None
    except _PILLOW_FAILURES as error:
        name = kind.upper()
        if "truncated" in str(error) or (kind == "jpeg" and b"\xff\xd9" not in data[2:]):
            raise RadiographError(
                "truncated-pixels", f"the {name} ends too early: it is not whole; fetch it again"
            ) from None
        raise RadiographError("corrupt", f"the {name} is damaged ({type(error).__name__})") from None
    bits = 8 * words.itemsize
    fmt = PixelFormat(words.shape[0], words.shape[1], bits, bits, bits - 1, False)
    grey = grey_levels(words, fmt, recipe=options.intensity)
    return Radiograph(
        pixels=grey.pixels,
        source=options.source,
        format=kind,
        intensity=options.intensity,
        inverted=False,
        window=grey.window,
        bits_stored=bits,
        notes=(*notes, *grey.notes),
        reduction=reduction,
    )


def _words(data: bytes, kind: str, options: ReadingOptions) -> tuple[Words, list[str], int]:
    """Return grey samples of 8 or 16 bits, what was dropped or turned, and how much smaller the picture is than stored.

    EXIF orientation is undone.
    """
    image, exif = _open_png(data) if kind == "png" else _open_jpeg(data)
    columns, rows = image.size
    check_size(rows, columns, options.max_pixels)
    if getattr(image, "n_frames", 1) > 1:
        raise RadiographError("multi-frame", "an animated picture; a film has one frame")
    if kind == "png" and _is_deep_colour(data):
        words, notes = _deep_grey(data, rows, columns)
    else:
        if kind == "jpeg" and image.mode == "L":
            fmt = PixelFormat(rows, columns, 8, 8, 7, False)
            count = halvings(read_header(data, whole=False), fmt, options.reduced_to)
            image.draft("L", (columns >> count, rows >> count))
        image.load()
        words, notes = _grey(image, may_be_ybr=kind == "jpeg")
    reduction = round(columns / words.shape[1])
    transpose = _TRANSPOSES.get(_orientation(exif))
    if transpose is not None:
        words = np.asarray(Image.fromarray(words).transpose(transpose))
        notes.append("turned upright as its EXIF orientation says")
    return words.astype(np.uint16 if words.itemsize > 1 else np.uint8, copy=False), notes, reduction


def _open_png(data: bytes) -> tuple[Image.Image, bytes]:
    image = PngImagePlugin.PngImageFile(BytesIO(data))
    return image, _exif_of_png(data)


def _exif_of_png(data: bytes) -> bytes:
    """Return the EXIF data of a PNG, which may stand before or after its pixels (ISO/IEC 15948, 11.3)."""
    at = 8
    for _ in range(_MAX_CHUNKS):
        if at + 8 > len(data):
            return b""
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            return data[at + 8 : at + 8 + length]
        at += 12 + length
    raise RadiographError("corrupt", f"a PNG of more than {_MAX_CHUNKS:,} chunks")


def _open_jpeg(data: bytes) -> tuple[Image.Image, bytes]:
    header = read_header(data, whole=False)
    if header.precision != 8:
        raise RadiographError("decode-failed", f"a JPEG file of {header.precision} bits; 8 were expected")
    exif = (
        data[start + 4 : end]
        for marker, start, end in segments(data)
        if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0"
    )
    return JpegImagePlugin.JpegImageFile(BytesIO(without_metadata(data))), next(exif, b"")


def _is_deep_colour(data: bytes) -> bool:
    """Return whether a PNG has 16 bits a channel and colour or transparency (its header is the first chunk)."""
    return data[24] == 16 and data[25] in _PNG_CHANNELS


def _deep_grey(data: bytes, rows: int, columns: int) -> tuple[NDArray[Any], list[str]]:
    """Return the grey picture in a PNG of 16 bits a channel, without losing bits on the way."""
    count = _PNG_CHANNELS[data[25]]
    # the channels, the grey picture, and its grey levels
    check_memory(rows, columns, 2 * count + 2 + 1, f"PNG, {count} x 16 bits")
    import imagecodecs

    channels: NDArray[Any] = imagecodecs.png_decode(data)
    notes: list[str] = []
    if count in (2, 4):
        notes.append(_lay_on_black(channels))
    if count == 2:
        return channels[..., 0], notes
    grey, colour_notes = grey_of_components(channels[..., :3], 16, may_be_ybr=False)
    return grey, notes + colour_notes


def _lay_on_black(channels: NDArray[Any]) -> str:
    """Lay 16-bit channels, of which the last is alpha, on black, in place and a few rows at a time; return the note."""
    opaque = True
    for start in range(0, len(channels), _BLOCK_ROWS):
        rows = channels[start : start + _BLOCK_ROWS]
        alpha = rows[..., -1:]
        if (alpha != 65535).any():
            opaque = False
            rows[..., :-1] = (rows[..., :-1] * (alpha / 65535)).round()
    return "opaque alpha channel dropped" if opaque else "transparent pixels laid on black"


def _grey(image: Image.Image, *, may_be_ybr: bool) -> tuple[NDArray[Any], list[str]]:
    if image.mode in ("P", "LA", "RGBA", "RGB"):
        channels, notes = _channels(image)
        grey, colour_notes = grey_of_components(channels, 8, may_be_ybr=may_be_ybr)
        return grey, notes + colour_notes
    if image.mode == "1":
        return np.asarray(image.convert("L")), ["one bit per pixel"]
    if image.mode not in ("L", "I", "I;16", "I;16B"):
        raise RadiographError("colour", f"a picture of mode {image.mode}; a film is grey")
    return np.asarray(image), []


def _channels(image: Image.Image) -> tuple[NDArray[np.uint8], list[str]]:
    """Return red, green and blue, a few rows at a time: Pillow takes many bytes a pixel to convert a picture."""
    columns, rows = image.size
    channels = np.empty((rows, columns, 3), np.uint8)
    has_alpha = image.mode in ("LA", "RGBA") or (image.mode == "P" and "transparency" in image.info)
    opaque = True
    for top in range(0, rows, _BLOCK_ROWS):
        block = image.crop((0, top, columns, min(top + _BLOCK_ROWS, rows)))
        if has_alpha:
            block = block.convert("RGBA")
            if block.getchannel("A").getextrema() != (255, 255):
                opaque = False
                block = Image.alpha_composite(Image.new("RGBA", block.size, (0, 0, 0, 255)), block)
        channels[top : top + _BLOCK_ROWS] = np.asarray(block.convert("RGB"))
    notes = ["palette"] if image.mode == "P" else []
    if has_alpha:
        notes.append("opaque alpha channel dropped" if opaque else "transparent pixels laid on black")
    return channels, notes


def _orientation(exif: bytes) -> int:
    """Return the orientation of the first directory of EXIF data; 1 (upright) if there is none."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _EXIF_ORIENTATION:
                return int(value)
    except struct.error:
        return 1
    return 1
