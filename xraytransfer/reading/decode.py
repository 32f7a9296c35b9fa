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
from xraytransfer.reading.colour import grey_of_components
from xraytransfer.reading.pixel_format import PixelFormat, Words
from xraytransfer.reading.reduced import decode_reduced, halvings
from xraytransfer.reading.samples import clip_overshoot, locate_samples

__all__ = ["SYNTAXES", "PixelData", "Syntax", "decode", "decoders"]


@dataclass(frozen=True)
class Syntax:
    """A transfer syntax.

    Attributes
    ----------
    name : str
        As PS3.6 names it.
    coding : str
        ``native``, or the kind of codestream: ``run-length``, ``baseline``, ``jpeg`` (any process),
        ``jpeg-ls`` or ``jpeg-2000``.
    lossy : bool
        Whether it exists for lossy codestreams of a family that may be lossless.
    little : bool
        Byte order of native pixels.
    """

    name: str
    coding: str = "native"
    lossy: bool = False
    little: bool = True

    @property
    def tries(self) -> tuple[str, ...]:
        """Names of the decoders, in the order in which they are tried; empty for native pixels."""
        return _DECODERS.get(self.coding, ())


SYNTAXES: dict[str, Syntax] = {
    "1.2.840.10008.1.2": Syntax("Implicit VR Little Endian"),
    "1.2.840.10008.1.2.1": Syntax("Explicit VR Little Endian"),
    "1.2.840.10008.1.2.1.99": Syntax("Deflated Explicit VR Little Endian"),
    "1.2.840.10008.1.2.2": Syntax("Explicit VR Big Endian", little=False),
    "1.2.840.10008.1.2.5": Syntax("RLE Lossless", "run-length"),
    "1.2.840.10008.1.2.4.50": Syntax("JPEG Baseline (Process 1)", "baseline"),
    "1.2.840.10008.1.2.4.51": Syntax("JPEG Extended (Process 2 and 4)", "jpeg"),
    "1.2.840.10008.1.2.4.53": Syntax("JPEG Spectral Selection (Process 6 and 8)", "jpeg"),
    "1.2.840.10008.1.2.4.55": Syntax("JPEG Full Progression (Process 10 and 12)", "jpeg"),
    "1.2.840.10008.1.2.4.57": Syntax("JPEG Lossless (Process 14)", "jpeg"),
    "1.2.840.10008.1.2.4.70": Syntax("JPEG Lossless (Process 14, Selection Value 1)", "jpeg"),
    "1.2.840.10008.1.2.4.80": Syntax("JPEG-LS Lossless", "jpeg-ls"),
    "1.2.840.10008.1.2.4.81": Syntax("JPEG-LS Near-lossless", "jpeg-ls", lossy=True),
    "1.2.840.10008.1.2.4.90": Syntax("JPEG 2000 Lossless", "jpeg-2000"),
    "1.2.840.10008.1.2.4.91": Syntax("JPEG 2000", "jpeg-2000", lossy=True),
    "1.2.840.10008.1.2.4.201": Syntax("High-Throughput JPEG 2000 Lossless", "jpeg-2000"),
    "1.2.840.10008.1.2.4.202": Syntax("High-Throughput JPEG 2000 with RPCL Lossless", "jpeg-2000"),
    "1.2.840.10008.1.2.4.203": Syntax("High-Throughput JPEG 2000", "jpeg-2000", lossy=True),
}
"""Every transfer syntax that is read, by UID."""

_UNNAMED = Syntax("absent")
_LOSSY_PROCESSES = ("baseline", "extended", "progressive")
_JPEG_2000 = "1.2.840.10008.1.2.4.90"

# Measured on a 2500 x 2048 film (docs/reading.md): the fastest right decoder stands first.
# Not imagecodecs.htj2k, though twice as fast: it hands out a damaged picture with no error (docs/fuzzing.md).
_DECODERS: dict[str, tuple[str, ...]] = {
    "run-length": ("imagecodecs.dicomrle",),
    "baseline": ("pillow", "imagecodecs.jpeg8"),
    "jpeg": ("imagecodecs.jpeg8",),
    "jpeg-ls": ("imagecodecs.jpegls",),
    "jpeg-2000": ("imagecodecs.jpeg2k", "pydicom:pylibjpeg"),
}

# What the codecs raise on damaged input. imagecodecs' own errors derive from RuntimeError.
_CODEC_FAILURES = (
    ArithmeticError, AttributeError, LookupError, NotImplementedError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class PixelData:
    """The value of (7FE0,0010) Pixel Data, and what the header says of its form.

    Attributes
    ----------
    value : memoryview
        The bytes.
    syntax : str
        UID of the transfer syntax; empty if the header names none.
    encapsulated : bool
        Whether the value was written with undefined length: as items.
    swapped_bytes : bool
        Whether bytes of 8-bit pixels were written as big-endian words (OW, PS3.5 section 8.1.2).
    delimited : bool
        Whether the items should end with the sequence delimiter; pydicom removes it.
    samples : int
        Samples per Pixel, 1 or 3.
    planar : bool
        Whether native components lie one plane after the other (Planar Configuration 1).
    subsampled : bool
        Whether native pixels are YBR_FULL_422: two lumas, then the two chromas that they share.
    side : int or None
        Shorter side of the picture that will be made of the film: a codestream that allows it is decoded at
        the lowest resolution that is at least twice as large. None for full resolution.
    """

    value: memoryview
    syntax: str
    encapsulated: bool
    swapped_bytes: bool = False
    delimited: bool = True
    samples: int = 1
    planar: bool = False
    subsampled: bool = False
    side: int | None = None


def decode(pixels: PixelData, fmt: PixelFormat) -> tuple[Words, PixelFormat, list[str]]:
    """Return one frame as it is stored, or its grey picture where it is stored in three components.

    Where the transfer syntax and the pixel data disagree, the pixel data are decoded as what they are.

    Parameters
    ----------
    pixels : PixelData
        The pixels.
    fmt : PixelFormat
        What the header says; `rows` and `columns` were held against the limit already.

    Returns
    -------
    words : ndarray of uint8, uint16 or uint32, shape (rows, columns)
        Stored words; `PixelFormat.values` makes samples of them.
    fmt : PixelFormat
        How the samples lie in `words`; may differ from the header.
    notes : list of str
        Oddities, and what was taken differently from what the header says.

    Raises
    ------
    RadiographError
        unsupported-transfer-syntax, decode-failed, truncated-pixels, multi-frame, no-pixels, corrupt, colour,
        invalid-attribute.
    """
    syntax = pixels.syntax
    known = SYNTAXES.get(syntax) if syntax else _UNNAMED
    if known is None:
        raise RadiographError(
            "unsupported-transfer-syntax",
            f"no decoder for the transfer syntax {syntax[:64]!r}; xraytransfer doctor lists those that are read",
        )
    if not pixels.encapsulated and not (known.coding != "native" and codestream.is_encapsulated(pixels.value)):
        words, notes = _native(pixels, fmt, known)
        return _grey(words, fmt, notes)
    stream, notes = codestream.frame(pixels.value, delimited=pixels.delimited)
    run_length = known.coding == "run-length" and not codestream.begins_codestream(stream)
    if run_length or codestream.is_run_length(stream):
        header = codestream.StreamHeader(fmt.rows, fmt.columns, pixels.samples, fmt.bits_allocated, False, "run-length")
    else:
        header = codestream.read_header(stream)
    _check_header(header, fmt)
    named_rightly = _family(known.coding) == _family(header.process)
    if not named_rightly:
        notes.append(f"the transfer syntax is {known.name}, but the codestream is {header.process}: decoded as that")
    reduced = _reduced(stream, header, fmt, pixels.side)
    if reduced is None:
        words = _first_that_decodes(known, syntax if named_rightly else _JPEG_2000, stream, fmt, header)
    else:
        words, fmt = reduced, replace(fmt, rows=reduced.shape[0], columns=reduced.shape[1])
    if words.ndim == 3:
        bits = fmt.bits_stored if header.process == "run-length" else header.precision
        return _grey(words, replace(fmt, bits_stored=bits, high_bit=bits - 1), notes)
    if header.process == "run-length":
        located, found = locate_samples(words, fmt)
        return words, located, notes + found
    return _codestream_samples(words, fmt, header, known.lossy or header.process in _LOSSY_PROCESSES, notes)


def _reduced(stream: bytes, header: codestream.StreamHeader, fmt: PixelFormat, side: int | None) -> Words | None:
    """Return the picture at reduced resolution; None where that is not possible or not asked for."""
    count = halvings(header, fmt, side)
    if not count:
        return None
    try:
        words = decode_reduced(stream, header, count)
    except _CODEC_FAILURES:
        return None  # whatever is wrong with it, full decoding finds and says it
    size = 1 << count
    return words if words.shape == (-(-fmt.rows // size), -(-fmt.columns // size)) else None


def _codestream_samples(
    words: Words, fmt: PixelFormat, header: codestream.StreamHeader, lossy: bool, notes: list[str]
) -> tuple[Words, PixelFormat, list[str]]:
    """Return decoded words with the format in which they are samples."""
    if header.signed and not fmt.signed and (words.view(f"i{words.itemsize}") < 0).any():
        fmt = replace(fmt, signed=True)
        notes.append("the codestream holds samples below zero, Pixel Representation says unsigned: read as signed")
    if lossy:
        words, found = clip_overshoot(words, fmt, header.precision)
        notes += found
    adapted = _as_coded(fmt, header)
    if adapted.bits_stored != fmt.bits_stored:
        notes.append(f"{header.precision} bits in the codestream, {fmt.bits_stored} in the header")
    located, found = locate_samples(words, adapted)
    return words, located, notes + found


def _grey(words: Words, fmt: PixelFormat, notes: list[str]) -> tuple[Words, PixelFormat, list[str]]:
    """Return native samples, or the grey picture of three components."""
    if words.ndim == 2:
        located, found = locate_samples(words, fmt)
        return words, located, notes + found
    grey, found = grey_of_components(words, fmt.bits_stored)
    return grey, replace(fmt, high_bit=fmt.bits_stored - 1, signed=False), notes + found


def _family(process: str) -> str:
    """Return the family of a kind of codestream: all processes of JPEG are one."""
    return process if process in ("native", "run-length", "jpeg-ls", "jpeg-2000") else "jpeg"


def decoders() -> list[tuple[str, str, list[str]]]:
    """Return (transfer syntax UID, name, decoders that are installed, in the order of trying)."""
    rows = []
    for uid, syntax in SYNTAXES.items():
        available = [name for name in syntax.tries if _is_available(name, uid)]
        rows.append((uid, syntax.name, available if syntax.tries else ["numpy"]))
    return rows


def _native(pixels: PixelData, fmt: PixelFormat, known: Syntax) -> tuple[Words, list[str]]:
    """Return uncompressed pixels: shape (rows, columns), or (rows, columns, 3)."""
    value, samples = pixels.value, pixels.samples
    size = fmt.bits_allocated // 8
    subsampled = samples == 3 and pixels.subsampled
    expected = fmt.rows * fmt.columns * size * (2 if subsampled else samples)
    notes = []
    if known.coding != "native":
        if not expected <= len(value) <= expected + expected % 2:
            raise RadiographError(
                "corrupt",
                f"the transfer syntax is {known.name}, but the pixel data are neither divided into items nor as "
                f"long as uncompressed pixels: {len(value):,} bytes, {expected:,} expected",
            )
        notes.append(f"the transfer syntax is {known.name}, but the pixels are not compressed: read as they are")
    _check_length(len(value), expected, fmt)
    if len(value) > expected + expected % 2:
        notes.append(f"{len(value) - expected} bytes after the pixels")
    if size == 1 and pixels.swapped_bytes:
        even = np.frombuffer(bytes(value[: expected + expected % 2]).ljust(expected + expected % 2, b"\0"), np.uint16)
        words = even.byteswap().view(np.uint8)[:expected]
    else:
        words = np.frombuffer(value, np.dtype(f"{'<' if known.little else '>'}u{size}"), expected // size)
        words = words.astype(words.dtype.newbyteorder("="), copy=False)
    if subsampled:
        return _full_chroma(words, fmt), notes
    if samples == 1:
        return words.reshape(fmt.rows, fmt.columns), notes
    if pixels.planar:
        return np.moveaxis(words.reshape(samples, fmt.rows, fmt.columns), 0, 2), notes
    return words.reshape(fmt.rows, fmt.columns, samples), notes


def _full_chroma(words: Words, fmt: PixelFormat) -> Words:
    """Return shape (rows, columns, 3) of YBR_FULL_422 (PS3.3 C.7.6.3.1.2): Y1, Y2, Cb, Cr for two pixels."""
    if fmt.columns % 2:
        raise RadiographError("invalid-attribute", f"YBR_FULL_422 with an odd number of columns, {fmt.columns}")
    pairs = words.reshape(fmt.rows, fmt.columns // 2, 4)
    luma = pairs[..., :2].reshape(fmt.rows, fmt.columns)
    return np.stack([luma, np.repeat(pairs[..., 2], 2, axis=1), np.repeat(pairs[..., 3], 2, axis=1)], axis=2)


def _check_length(length: int, expected: int, fmt: PixelFormat) -> None:
    """Refuse pixel data of another length than the header says; a little padding after them is allowed."""
    if length < expected:
        raise RadiographError("truncated-pixels", f"{length:,} bytes of pixel data, {expected:,} expected")
    if length >= 2 * expected:
        raise RadiographError(
            "multi-frame", f"{length:,} bytes of pixel data, {expected:,} expected: more than one frame"
        )
    row = expected // fmt.rows
    if length - expected >= row + row % 2:
        raise RadiographError(
            "invalid-attribute",
            f"the pixel data hold {length // row} rows of {fmt.columns} pixels, Rows says {fmt.rows}",
        )


def _check_header(header: codestream.StreamHeader, fmt: PixelFormat) -> None:
    if (header.rows, header.columns) != (fmt.rows, fmt.columns):
        raise RadiographError(
            "corrupt",
            f"the codestream holds {header.columns} x {header.rows} pixels, the header says {fmt.columns} x {fmt.rows}",
        )
    if header.components not in (1, 3):
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
    shape = (fmt.rows, fmt.columns) if header.components == 1 else (fmt.rows, fmt.columns, 3)
    for name in _DECODERS["baseline" if header.process == "baseline" else _family(header.process)]:
        if not _is_available(name, syntax):
            continue
        try:
            array = _run(name, syntax, stream, fmt, header)
        except MemoryError:
            raise RadiographError("too-large", "not enough memory to decode the pixels") from None
        except _CODEC_FAILURES as error:
            failures.append(f"{name}: {type(error).__name__}")
            continue
        if array.shape == shape and array.dtype.kind in "iu" and array.itemsize <= 4:
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
        planes = header.components
        flat = np.frombuffer(function(stream, dtype, out=planes * fmt.rows * fmt.columns * dtype.itemsize), dtype)
        return (
            flat.reshape(fmt.rows, fmt.columns)
            if planes == 1
            else np.moveaxis(flat.reshape(planes, fmt.rows, fmt.columns), 0, 2)
        )
    if codec == "jpeg8" and header.components == 3 and header.process in _LOSSY_PROCESSES:
        # the components as they are stored: whether they are RGB or YBR is told by the pixels
        return cast(NDArray[Any], function(stream, colorspace="YCBCR", outcolorspace="YCBCR"))
    if codec == "jpeg2k":
        return cast(NDArray[Any], function(stream, numthreads=1))
    return cast(NDArray[Any], function(stream))


def _pillow(stream: bytes, header: codestream.StreamHeader) -> NDArray[Any]:
    if header.precision != 8 or header.components != 1:
        raise ValueError("Pillow decodes JPEG of 8 bits and one component")
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
        "samples_per_pixel": header.components,
        "bits_allocated": bits,
        "bits_stored": min(header.precision, bits),
        "pixel_representation": int(header.signed),
        "photometric_interpretation": "MONOCHROME2" if header.components == 1 else "RGB",
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
