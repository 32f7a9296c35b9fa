"""The decoders of compressed frames: which are tried for which codestream, and how each is called.

References
----------
DICOM PS3.5 section 8.2 (encapsulated pixel data).
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
from xraytransfer.reading.codestream import StreamHeader, without_metadata
from xraytransfer.reading.pixel_format import Words
from xraytransfer.reading.reduced import decode_reduced
from xraytransfer.reading.syntaxes import SYNTAXES, family

__all__ = ["LOSSY_PROCESSES", "Codestream", "decoders", "first_that_decodes", "reduced", "tries"]

LOSSY_PROCESSES = ("baseline", "extended", "progressive")
"""Kinds of JPEG that are lossy."""

# Measured on a 2500 x 2048 film (docs/reading.md): the fastest right decoder stands first.
# Not imagecodecs.htj2k, though twice as fast: it hands out a damaged picture with no error (docs/fuzzing.md).
_DECODERS: dict[str, tuple[str, ...]] = {
    "run-length": ("imagecodecs.dicomrle",),
    "baseline": ("pillow", "imagecodecs.jpeg8"),
    "jpeg": ("imagecodecs.jpeg8",),
    "jpeg-ls": ("imagecodecs.jpegls",),
    "jpeg-2000": ("imagecodecs.jpeg2k",),
}

# What the codecs raise on damaged input. imagecodecs' own errors derive from RuntimeError.
_CODEC_FAILURES = (
    ArithmeticError, AttributeError, LookupError, NotImplementedError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Codestream:
    """One compressed frame.

    Attributes
    ----------
    stream : bytes
        The codestream.
    header : StreamHeader
        What it says of itself.
    threads : int
        Threads that may decode it, where the decoder can use more than one.
    """

    stream: bytes
    header: StreamHeader
    threads: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the decoded array."""
        size = (self.header.rows, self.header.columns)
        return size if self.header.components == 1 else (*size, self.header.components)


def tries(process: str) -> tuple[str, ...]:
    """Return the names of the decoders for a kind of codestream, in the order in which they are tried."""
    return _DECODERS.get(process) or _DECODERS.get(family(process), ())


def decoders() -> list[tuple[str, str, list[str]]]:
    """Return (transfer syntax UID, name, decoders that are installed, in the order of trying)."""
    rows = []
    for uid, syntax in SYNTAXES.items():
        available = [name for name in tries(syntax.coding) if _is_available(name)]
        rows.append((uid, syntax.name, ["numpy"] if syntax.coding == "native" else available))
    return rows


def first_that_decodes(codestream: Codestream, name_of_syntax: str) -> Words:
    """Return the answer of the first decoder that has one of the right shape.

    Raises
    ------
    RadiographError
        unsupported-transfer-syntax, decode-failed, too-large.
    """
    failures = []
    for name in tries(codestream.header.process):
        if not _is_available(name):
            continue
        try:
            array = _run(name, codestream)
        except MemoryError:
            raise RadiographError("too-large", "not enough memory to decode the pixels") from None
        except _CODEC_FAILURES as error:
            failures.append(f"{name}: {type(error).__name__}")
            continue
        if array.shape == codestream.shape and array.dtype.kind in "iu" and array.itemsize <= 4:
            return cast(Words, array.view(array.dtype.str.replace("i", "u")))
        failures.append(f"{name}: {array.dtype} of shape {array.shape}")
    if not failures:
        raise RadiographError(
            "unsupported-transfer-syntax", f"no decoder for {name_of_syntax} is installed; run: pip install imagecodecs"
        )
    raise RadiographError("decode-failed", f"the {name_of_syntax} pixels cannot be decoded ({'; '.join(failures)})")


def reduced(codestream: Codestream, count: int) -> Words | None:
    """Return the picture halved `count` times; None if that fails: full decoding then finds and says what is wrong."""
    try:
        words = decode_reduced(codestream.stream, codestream.header, count)
    except _CODEC_FAILURES:
        return None
    size = 1 << count
    return words if words.shape == tuple(-(-side // size) for side in codestream.shape) else None


def _run(name: str, codestream: Codestream) -> NDArray[Any]:
    stream, header = codestream.stream, codestream.header
    if name == "pillow":
        return _pillow(stream, header)
    import imagecodecs  # each codec of it is loaded on its first use

    codec = name.removeprefix("imagecodecs.")
    function: Callable[..., Any] = getattr(imagecodecs, f"{codec}_decode")
    if codec == "dicomrle":
        return _run_length(function, codestream)
    if codec == "jpeg8" and header.components == 3 and header.process in LOSSY_PROCESSES:
        # the components as they are stored: whether they are RGB or YBR is told by the pixels
        return cast(NDArray[Any], function(stream, colorspace="YCBCR", outcolorspace="YCBCR"))
    if codec == "jpeg2k":
        return cast(NDArray[Any], function(stream, numthreads=codestream.threads))
    return cast(NDArray[Any], function(stream))


def _run_length(function: Callable[..., Any], codestream: Codestream) -> NDArray[Any]:
    dtype = np.dtype(f"<u{codestream.header.precision // 8}")
    count = int(np.prod(codestream.shape))
    flat = np.frombuffer(function(codestream.stream, dtype, out=count * dtype.itemsize), dtype)
    rows, columns, *components = codestream.shape
    if not components:
        return flat.reshape(rows, columns)
    return np.moveaxis(flat.reshape(components[0], rows, columns), 0, 2)


def _pillow(stream: bytes, header: StreamHeader) -> NDArray[Any]:
    if header.precision != 8 or header.components != 1:
        raise ValueError("Pillow decodes JPEG of 8 bits and one component")
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(BytesIO(without_metadata(stream))) as image:
        return np.asarray(image)


def _is_available(name: str) -> bool:
    if name == "pillow":
        return True
    if importlib.util.find_spec("imagecodecs") is None:
        return False
    import imagecodecs

    return bool(getattr(getattr(imagecodecs, _CODEC_CLASSES[name]), "available", True))


_CODEC_CLASSES = {
    "imagecodecs.jpeg8": "JPEG8",
    "imagecodecs.jpegls": "JPEGLS",
    "imagecodecs.jpeg2k": "JPEG2K",
    "imagecodecs.dicomrle": "DICOMRLE",
}
