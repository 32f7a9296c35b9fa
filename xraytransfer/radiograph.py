"""The door to reading: any supported file becomes a radiograph."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError
from xraytransfer.reading.intensity import INTENSITIES, grey_levels
from xraytransfer.reading.radiograph import Radiograph

if TYPE_CHECKING:
    import pydicom

__all__ = ["MAX_PIXELS", "Film", "Radiograph", "Source", "read_radiograph", "sniff", "source_name"]

Film = NDArray[np.uint8]
"""A grey picture, shape (rows, columns)."""

Source = str | os.PathLike[str] | bytes | memoryview | BinaryIO
"""What is read: a path, the file's bytes, a binary file, or a pydicom data set."""

MAX_PIXELS = 100_000_000
"""Limit on rows times columns, about ten times the largest detectors."""

_HEADROOM = 64 << 20
"""Bytes that a file may hold besides four for each pixel: header, overlays, icons."""
_PIECE = 16 << 20


def read_radiograph(
    source: Source | pydicom.Dataset,
    *,
    intensity: str = "voi",
    any_modality: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Radiograph:
    """Return the radiograph in a DICOM, PNG or JPEG file.

    Parameters
    ----------
    source : path, bytes, binary file or pydicom.Dataset
        A file is read from where it stands to its end, but no further than four bytes for each of
        `max_pixels` and 64 MiB more. A read-only memoryview is not copied: what it shows must stay as
        it is, for the radiograph may show it too.
    intensity : str
        Recipe from stored values to grey levels: ``voi``, ``minmax`` or ``chexpert``. Feed a model the
        recipe that it was trained with.
    any_modality : bool
        Read DICOM objects that are no chest radiographs by SOP class, Modality or body part, too.
    max_pixels : int
        Limit on rows times columns, held against the header before anything is decoded.

    Raises
    ------
    RadiographError
        The film is refused; `reason` says why, in a word of `errors.REASONS`.
    ValueError
        `intensity` is unknown, or `max_pixels` is not positive.

    Notes
    -----
    Thread-safe: no global state is touched.
    """
    if intensity not in INTENSITIES:
        raise ValueError(f"unknown intensity recipe {intensity!r}; known: {', '.join(INTENSITIES)}")
    if max_pixels < 1:
        raise ValueError(f"max_pixels is {max_pixels}; expected at least 1")
    name = source_name(source)
    try:
        return _radiograph(source, name, intensity, any_modality, max_pixels)
    except RadiographError as error:
        raise RadiographError(error.reason, f"{name}: {error}") from None
    except MemoryError:
        raise RadiographError("too-large", f"{name}: not enough memory to read it") from None


def _radiograph(
    source: Source | pydicom.Dataset, name: str, intensity: str, any_modality: bool, max_pixels: int
) -> Radiograph:
    """Read a source with the parts that its format needs, which are imported here, on first use."""
    limit = 4 * max_pixels + _HEADROOM
    if name == "<dataset>":
        from xraytransfer.reading.elements import from_dataset

        header, notes = from_dataset(cast("pydicom.Dataset", source)), list[str]()
    else:
        data = _read(cast(Source, source), limit)
        kind = sniff(data[:132])
        if kind is None:
            raise _unsupported(data)
        if kind != "dicom":
            return _from_raster(bytes(data), kind, name, intensity, max_pixels)
        from xraytransfer.reading.dicom_file import parse_file

        header, notes = parse_file(memoryview(data), max_bytes=limit)
    from xraytransfer.reading.dicom import read_film

    return read_film(header, notes, source=name, intensity=intensity, any_modality=any_modality, max_pixels=max_pixels)


def source_name(source: Any) -> str:
    """Return the name that results use for a source: its path or name, ``<bytes>`` or ``<dataset>``.

    Raises
    ------
    TypeError
        `source` is nothing that can be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    # Importing pydicom takes longer than reading a film. A caller that passes a Dataset has imported it already.
    pydicom_dataset = sys.modules.get("pydicom.dataset")
    if pydicom_dataset is not None and isinstance(source, pydicom_dataset.Dataset):
        return "<dataset>"
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return name if isinstance(name, str) else "<bytes>"
    raise TypeError(f"expected a path, bytes, a binary file or a pydicom Dataset, got {type(source).__name__}")


def _read(source: Source, limit: int) -> bytes | memoryview:
    """Return the bytes of a file, up to a limit."""
    data: bytes | memoryview
    if isinstance(source, memoryview) and source.readonly and source.contiguous:
        data = source.cast("B")
    elif isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        data = _read_path(Path(source), limit)
    else:
        data = _read_file(source, limit)
    if len(data) > limit:
        raise RadiographError("too-large", f"larger than {limit:,} bytes")
    return data


def _read_file(file: BinaryIO, limit: int) -> bytes:
    """Return what a file object holds from where it stands, and one byte more than the limit at most."""
    parts: list[bytes] = []
    left = limit + 1
    try:
        # In pieces: asking for the limit at once would set that much memory aside for every file.
        while left and (part := file.read(min(left, _PIECE))):
            if not isinstance(part, bytes):
                raise TypeError("expected a file opened in binary mode")
            parts.append(part)
            left -= len(part)
    except (OSError, ValueError) as error:
        raise RadiographError("unreadable", f"the file cannot be read ({type(error).__name__})") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_path(path: Path, limit: int) -> bytes:
    try:
        status = path.stat()
        # A pipe or a device might never end; a regular file does.
        if not stat.S_ISREG(status.st_mode):
            what = "a folder that cannot be listed" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise RadiographError("unreadable", what)
        with path.open("rb") as file:
            first = file.read(132)
            if sniff(first) is None:
                raise _unsupported(first)
            file.seek(0)
            return file.read(min(status.st_size, limit) + 1)
    except FileNotFoundError:
        raise RadiographError("not-found", "no such file") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise RadiographError("unreadable", f"the file cannot be read ({what})") from None


def sniff(data: bytes | memoryview) -> str | None:
    """Return the format by the first 132 bytes, ``dicom``, ``png`` or ``jpeg``; None if it is none that is read."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[128:132] == b"DICM":
        return "dicom"
    # Without a preamble: the first element of file meta information, or of group 8.
    if data[:2] in (b"\x02\x00", b"\x08\x00") and len(data) > 8 and data[3] == 0 and data[2] <= 0x18:
        return "dicom"
    return None


def _unsupported(data: bytes | memoryview) -> RadiographError:
    what = "an empty file" if not data else "the file begins like none of them"
    return RadiographError("unsupported-format", f"neither DICOM, PNG nor JPEG: {what}")


def _from_raster(data: bytes, kind: str, name: str, intensity: str, max_pixels: int) -> Radiograph:
    from xraytransfer.reading.raster import read_raster

    words, fmt, notes = read_raster(data, kind, max_pixels=max_pixels)
    grey = grey_levels(words, fmt, recipe=intensity)
    return Radiograph(
        pixels=grey.pixels,
        source=name,
        format=kind,
        intensity=intensity,
        inverted=False,
        window=grey.window,
        bits_stored=fmt.bits_stored,
        notes=tuple(notes),
    )
