"""Pixel data to arrays of stored words: one table says which decoders are tried for which transfer syntax.

Every bound is checked before anything is decoded: the header's size against the limit, the codestream's
own size against the header.

References
----------
DICOM PS3.5 section 8 and annex A (transfer syntaxes).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError
from xraytransfer.reading import codestream

__all__ = ["SYNTAXES", "PixelFormat", "Syntax", "Words", "check_size", "decode", "decoders"]

Words = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class PixelFormat:
    """How one frame is stored (PS3.3 C.7.6.3.1).

    Attributes
    ----------
    rows, columns : int
        Size of the picture.
    bits_allocated, bits_stored, high_bit : int
        Size of a word, bits of the sample in it, and the sample's topmost bit.
    signed : bool
        Whether the sample is in two's complement.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def shift(self) -> int:
        """Bits below the sample."""
        return self.high_bit + 1 - self.bits_stored

    def values(self, words: Words) -> NDArray[np.int64]:
        """Return the samples in `words`: other bits masked, shifted down, the sign extended."""
        samples = (words.astype(np.int64) >> self.shift) & ((1 << self.bits_stored) - 1)
        if self.signed:
            sign = 1 << (self.bits_stored - 1)
            samples = (samples ^ sign) - sign
        return samples


def check_size(rows: int, columns: int, max_pixels: int) -> None:
    """Refuse sizes that no film has, before anything is decoded.

    Raises
    ------
    RadiographError
        too-large, too-small.
    """
    if rows * columns > max_pixels:
        raise RadiographError("too-large", f"{columns} x {rows} pixels; at most {max_pixels:,} are read")
    if min(rows, columns) < _MIN_SIDE:
        raise RadiographError("too-small", f"{columns} x {rows} pixels; expected at least {_MIN_SIDE} a side")


@dataclass(frozen=True)
class Syntax:
    """A transfer syntax: its name, and the decoders to try in this order (empty: stored as it is)."""

    name: str
    tries: tuple[str, ...] = ()
    little: bool = True


# Measured on a 2500 x 2048 film (docs/reading.md): the fastest right decoder stands first.
_JPEG = ("imagecodecs.jpeg8",)
_JPEG_LS = ("imagecodecs.jpegls",)
# Not imagecodecs.htj2k, though twice as fast: it hands out a damaged picture with no error (docs/fuzzing.md).
_JPEG_2000 = ("imagecodecs.jpeg2k", "pydicom:pylibjpeg")
SYNTAXES: dict[str, Syntax] = {
    "1.2.840.10008.1.2": Syntax("Implicit VR Little Endian"),
    "1.2.840.10008.1.2.1": Syntax("Explicit VR Little Endian"),
    "1.2.840.10008.1.2.1.99": Syntax("Deflated Explicit VR Little Endian"),
    "1.2.840.10008.1.2.2": Syntax("Explicit VR Big Endian", little=False),
    "1.2.840.10008.1.2.5": Syntax("RLE Lossless", ("imagecodecs.dicomrle",)),
    "1.2.840.10008.1.2.4.50": Syntax("JPEG Baseline (Process 1)", ("pillow", *_JPEG)),
    "1.2.840.10008.1.2.4.51": Syntax("JPEG Extended (Process 2 and 4)", _JPEG),
    "1.2.840.10008.1.2.4.53": Syntax("JPEG Spectral Selection (Process 6 and 8)", _JPEG),
    "1.2.840.10008.1.2.4.55": Syntax("JPEG Full Progression (Process 10 and 12)", _JPEG),
    "1.2.840.10008.1.2.4.57": Syntax("JPEG Lossless (Process 14)", _JPEG),
    "1.2.840.10008.1.2.4.70": Syntax("JPEG Lossless (Process 14, Selection Value 1)", _JPEG),
    "1.2.840.10008.1.2.4.80": Syntax("JPEG-LS Lossless", _JPEG_LS),
    "1.2.840.10008.1.2.4.81": Syntax("JPEG-LS Near-lossless", _JPEG_LS),
    "1.2.840.10008.1.2.4.90": Syntax("JPEG 2000 Lossless", _JPEG_2000),
    "1.2.840.10008.1.2.4.91": Syntax("JPEG 2000", _JPEG_2000),
    "1.2.840.10008.1.2.4.201": Syntax("High-Throughput JPEG 2000 Lossless", _JPEG_2000),
    "1.2.840.10008.1.2.4.202": Syntax("High-Throughput JPEG 2000 with RPCL Lossless", _JPEG_2000),
    "1.2.840.10008.1.2.4.203": Syntax("High-Throughput JPEG 2000", _JPEG_2000),
}
"""Every transfer syntax that is read, by UID."""

# Half of the smallest pictures that data sets of chest films are handed out in.
_MIN_SIDE = 32

# What the codecs raise on damaged input. imagecodecs' own errors derive from RuntimeError.
_CODEC_FAILURES = (
    ArithmeticError, AttributeError, LookupError, NotImplementedError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError,
)  # fmt: skip


def decode(
    pixels: memoryview, fmt: PixelFormat, syntax: str, *, encapsulated: bool, swapped_bytes: bool = False
) -> tuple[Words, PixelFormat, list[str]]:
    """Return one frame as it is stored.

    Parameters
    ----------
    pixels : memoryview
        The value of (7FE0,0010) Pixel Data.
    fmt : PixelFormat
        What the header says; `rows` and `columns` were held against the limit already.
    syntax : str
        UID of the transfer syntax.
    encapsulated : bool
        Whether `pixels` are items, written with undefined length.
    swapped_bytes : bool
        Bytes of 8-bit pixels were written as big-endian words (OW, PS3.5 section 8.1.2).

    Returns
    -------
    words : ndarray of uint8, uint16 or uint32, shape (rows, columns)
        Stored words; `PixelFormat.values` makes samples of them.
    fmt : PixelFormat
        How the samples lie in `words`; may differ from the header for a codestream.
    notes : list of str
        Oddities.

    Raises
    ------
    RadiographError
        unsupported-transfer-syntax, decode-failed, truncated-pixels, multi-frame, no-pixels, corrupt, colour.
    """
    known = SYNTAXES.get(syntax)
    if known is None:
        raise RadiographError(
            "unsupported-transfer-syntax",
            f"no decoder for the transfer syntax {syntax[:64]!r}; xraytransfer doctor lists those that are read",
        )
    if encapsulated and not known.tries:
        raise RadiographError("corrupt", f"the transfer syntax is {known.name}, but the pixels are compressed")
    if not known.tries:
        return _stored_words(pixels, fmt, known.little, swapped_bytes)
    run_length = known.name.startswith("RLE")
    stream, notes = codestream.frame(pixels, run_length=run_length)
    if run_length:
        header = codestream.StreamHeader(fmt.rows, fmt.columns, 1, fmt.bits_allocated, False, "run-length")
    else:
        header = codestream.read_header(stream)
    _check_header(header, fmt)
    words = _first_that_decodes(known, syntax, stream, fmt, header)
    if run_length:
        return words, fmt, notes
    adapted = _as_coded(fmt, header)
    if adapted.bits_stored != fmt.bits_stored:
        notes.append(f"{header.precision} bits in the codestream, {fmt.bits_stored} in the header")
    return words, adapted, notes


def decoders() -> list[tuple[str, str, list[str]]]:
    """Return (transfer syntax UID, name, decoders that are installed, in the order of trying)."""
    rows = []
    for uid, syntax in SYNTAXES.items():
        available = [name for name in syntax.tries if _is_available(name, uid)]
        rows.append((uid, syntax.name, available if syntax.tries else ["numpy"]))
    return rows


def _stored_words(
    pixels: memoryview, fmt: PixelFormat, little: bool, swapped_bytes: bool
) -> tuple[Words, PixelFormat, list[str]]:
    size = fmt.bits_allocated // 8
    expected = fmt.rows * fmt.columns * size
    if len(pixels) < expected:
        raise RadiographError("truncated-pixels", f"{len(pixels):,} bytes of pixel data, {expected:,} expected")
    if len(pixels) >= 2 * expected:
        raise RadiographError(
            "multi-frame", f"{len(pixels):,} bytes of pixel data, {expected:,} expected: more than one frame"
        )
    notes = [f"{len(pixels) - expected} bytes after the pixels"] if len(pixels) > expected + expected % 2 else []
    if size == 1 and swapped_bytes:
        even = np.frombuffer(bytes(pixels[: expected + expected % 2]).ljust(expected + expected % 2, b"\0"), np.uint16)
        words = even.byteswap().view(np.uint8)[:expected]
    else:
        words = np.frombuffer(pixels, np.dtype(f"{'<' if little else '>'}u{size}"), fmt.rows * fmt.columns)
        words = words.astype(words.dtype.newbyteorder("="), copy=False)
    return words.reshape(fmt.rows, fmt.columns), fmt, notes


def _check_header(header: codestream.StreamHeader, fmt: PixelFormat) -> None:
    if (header.rows, header.columns) != (fmt.rows, fmt.columns):
        raise RadiographError(
            "corrupt",
            f"the codestream holds {header.columns} x {header.rows} pixels, the header says {fmt.columns} x {fmt.rows}",
        )
    if header.components != 1:
        raise RadiographError("colour", f"a codestream of {header.components} components; a film has one")
    if not 2 <= header.precision <= 32:
        raise RadiographError("decode-failed", f"a codestream of {header.precision} bits")


def _as_coded(fmt: PixelFormat, header: codestream.StreamHeader) -> PixelFormat:
    """Return where the sample lies in a decoded word: a codec hands out samples, not words.

    A codestream of as many bits as are stored, or fewer, holds the sample itself; one of more bits holds the
    word with the sample where HighBit says.
    """
    if header.precision > fmt.bits_stored:
        return fmt
    return replace(fmt, bits_stored=header.precision, high_bit=header.precision - 1)


def _first_that_decodes(
    known: Syntax, syntax: str, stream: bytes, fmt: PixelFormat, header: codestream.StreamHeader
) -> Words:
    """Return the answer of the first decoder that has one of the right shape."""
    failures = []
    for name in known.tries:
        if not _is_available(name, syntax):
            continue
        try:
            array = _run(name, syntax, stream, fmt, header)
        except MemoryError:
            raise RadiographError("too-large", "not enough memory to decode the pixels") from None
        except _CODEC_FAILURES as error:
            failures.append(f"{name}: {type(error).__name__}")
            continue
        if array.shape == (fmt.rows, fmt.columns) and array.dtype.kind in "iu" and array.itemsize <= 4:
            return cast(Words, array.view(array.dtype.str.replace("i", "u")))
        failures.append(f"{name}: {array.dtype} of shape {array.shape}")
    if not failures:
        raise RadiographError(
            "unsupported-transfer-syntax", f"no decoder for {known.name} is installed; run: pip install imagecodecs"
        )
    raise RadiographError("decode-failed", f"the {known.name} pixels cannot be decoded ({'; '.join(failures)})")


def _run(name: str, syntax: str, stream: bytes, fmt: PixelFormat, header: codestream.StreamHeader) -> NDArray[Any]:
    if name == "pillow":
        return _pillow(stream, header)
    if name.startswith("pydicom:"):
        return _pydicom(name.removeprefix("pydicom:"), syntax, stream, fmt, header)
    import imagecodecs  # each codec of it is loaded on its first use

    codec = name.removeprefix("imagecodecs.")
    function: Callable[..., Any] = getattr(imagecodecs, f"{codec}_decode")
    if codec == "dicomrle":
        dtype = np.dtype(f"<u{fmt.bits_allocated // 8}")
        flat = np.frombuffer(function(stream, dtype, out=fmt.rows * fmt.columns * dtype.itemsize), dtype)
        return flat.reshape(fmt.rows, fmt.columns)
    if codec == "jpeg2k":
        return cast(NDArray[Any], function(stream, numthreads=1))
    return cast(NDArray[Any], function(stream))


def _pillow(stream: bytes, header: codestream.StreamHeader) -> NDArray[Any]:
    if header.precision != 8:
        raise ValueError("Pillow decodes JPEG of 8 bits")
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(BytesIO(codestream.without_metadata(stream))) as image:
        return np.asarray(image)


def _pydicom(
    plugin: str, syntax: str, stream: bytes, fmt: PixelFormat, header: codestream.StreamHeader
) -> NDArray[Any]:
    """Decode with a plugin of pydicom's, told what the codestream itself says."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    bits = 8 if header.precision <= 8 else 16 if header.precision <= 16 else 32
    options: dict[str, Any] = {
        "rows": fmt.rows,
        "columns": fmt.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": bits,
        "bits_stored": min(header.precision, bits),
        "pixel_representation": int(header.signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    array, _ = get_decoder(syntax).as_array(encapsulate([stream]), raw=True, decoding_plugin=plugin, **options)
    return array


def _is_available(name: str, syntax: str) -> bool:
    if name == "pillow":
        return True
    if name.startswith("imagecodecs."):
        if importlib.util.find_spec("imagecodecs") is None:
            return False
        import imagecodecs

        return bool(getattr(getattr(imagecodecs, _CODEC_CLASSES[name]), "available", True))
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return False
    return name.removeprefix("pydicom:") in decoder.available_plugins


_CODEC_CLASSES = {
    "imagecodecs.jpeg8": "JPEG8",
    "imagecodecs.jpegls": "JPEGLS",
    "imagecodecs.jpeg2k": "JPEG2K",
    "imagecodecs.dicomrle": "DICOMRLE",
}
