"""The decoders of compressed pixels, and the table of those that are tried for each transfer syntax.

References
----------
DICOM PS3.5 annex A (transfer syntaxes).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError
from xraytransfer.reading import codestream
from xraytransfer.reading.pixel_format import PixelFormat, Words

__all__ = ["SYNTAXES", "Syntax", "decoders", "run_decoders"]


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

# What the codecs raise on damaged input. imagecodecs' own errors derive from RuntimeError.
_CODEC_FAILURES = (
    ArithmeticError, AttributeError, LookupError, NotImplementedError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError,
)  # fmt: skip


def decoders() -> list[tuple[str, str, list[str]]]:
    """Return (transfer syntax UID, name, decoders that are installed, in the order of trying)."""
    rows = []
    for uid, syntax in SYNTAXES.items():
        available = [name for name in syntax.tries if _is_available(name, uid)]
        rows.append((uid, syntax.name, available if syntax.tries else ["numpy"]))
    return rows


def run_decoders(known: Syntax, syntax: str, stream: bytes, fmt: PixelFormat, header: codestream.StreamHeader) -> Words:
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
    """Decode with a plugin of pydicom's, with the parameters that the codestream's header states."""
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

        return bool(getattr(getattr(imagecodecs, name.removeprefix("imagecodecs.").upper()), "available", True))
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return False
    return name.removeprefix("pydicom:") in decoder.available_plugins
