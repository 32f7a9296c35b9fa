"""The one way to read: any supported file becomes a radiograph.

`read_radiograph` is long by its documentation: its parameters and refusals are those of every form of `predict`.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError
from xraytransfer.reading.file_format import FIRST_BYTES, sniff, unsupported
from xraytransfer.reading.intensity import INTENSITIES
from xraytransfer.reading.options import ReadingOptions
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

_PIECE = 16 << 20


def read_radiograph(
    source: Source | pydicom.Dataset,
    *,
    intensity: str = "voi",
    any_modality: bool = False,
    max_pixels: int = MAX_PIXELS,
    reduced_to: int | None = None,
    threads: int = 1,
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
    reduced_to : int or None
        Shorter side, in pixels, of the picture that will be made of the film, such as a model's input. JPEG 2000,
        High-Throughput JPEG 2000 and JPEG of 8 bits are then decoded at the lowest resolution that is at least twice
        as large, in a small part of the time; grey levels come out slightly different (docs/reading.md). None decodes
        at full resolution.
    threads : int
        Threads that may decode one film. Only JPEG 2000 gains from more than one; where many films are read side by
        side, one for each is faster.

    Returns
    -------
    Radiograph
        Grey levels, uint8 of shape (rows, columns), and what was done to them.

    Raises
    ------
    RadiographError
        The film is refused; `reason` says why, in a word of `errors.REASONS`.
    TypeError
        `source` is nothing that can be read, or a file that was opened as text.
    ValueError
        `intensity` is unknown, or `max_pixels` or `reduced_to` is below 1.

    Notes
    -----
    Thread-safe: no global state is touched.
    """
    if intensity not in INTENSITIES:
        raise ValueError(f"unknown intensity recipe {intensity!r}; known: {', '.join(INTENSITIES)}")
    if max_pixels < 1:
        raise ValueError(f"max_pixels is {max_pixels}; expected at least 1")
    if reduced_to is not None and reduced_to < 1:
        raise ValueError(f"reduced_to is {reduced_to}; expected at least 1, or None")
    options = ReadingOptions(source_name(source), intensity, any_modality, max_pixels, reduced_to, threads)
    try:
        if options.source == "<dataset>":
            return _from_dataset(cast("pydicom.Dataset", source), options)
        return _from_bytes(_read(cast(Source, source), options.max_bytes), options)
    except RadiographError as error:
        record = None if error.radiograph is None else {"source": options.source, **error.radiograph}
        raise RadiographError(error.reason, f"{options.source}: {error.message}", radiograph=record) from None
    except MemoryError:
        raise RadiographError("too-large", f"{options.source}: not enough memory to read it") from None


def source_name(source: Any) -> str:
    """Return what results call a source: its path or name, ``<bytes>`` or ``<dataset>``.

    Raises
    ------
    TypeError
        That is nothing that can be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    # pydicom takes longer to import than a film to read: only who made a Dataset has imported it.
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
    whole = io.BytesIO()
    left = limit + 1
    # In pieces: asking for the limit at once would set that much memory aside for every file.
    while left and (part := _read_piece(file, min(left, _PIECE))):
        if not isinstance(part, bytes):
            raise TypeError("expected a file opened in binary mode")
        # what is no film is not read to its end
        if not whole.tell() and len(part) >= FIRST_BYTES and sniff(part) is None:
            raise unsupported(part)
        whole.write(part)
        left -= len(part)
    if not whole.tell() and _position(file):
        raise RadiographError("unreadable", "the file object stands at its end: go back to its start with seek(0)")
    return whole.getvalue()


def _read_piece(file: BinaryIO, size: int) -> bytes:
    """Read from a file object; whatever it raises refuses this film and no other."""
    try:
        return file.read(size)
    except RadiographError:
        raise
    except (OSError, ValueError) as error:
        raise RadiographError("unreadable", f"the file cannot be read ({type(error).__name__})") from None
    except Exception as error:  # clients of stores raise what their libraries raise
        raise RadiographError("unavailable", f"the file cannot be read ({type(error).__name__})") from error


def _position(file: BinaryIO) -> int:
    """Return where a file object stands; 0 for one that cannot say."""
    try:
        return file.tell()
    except (AttributeError, OSError, ValueError):
        return 0


def _read_path(path: Path, limit: int) -> bytes:
    try:
        status = path.stat()
        # A pipe or a device might never end; a regular file does.
        if not stat.S_ISREG(status.st_mode):
            if stat.S_ISDIR(status.st_mode):
                raise RadiographError("unreadable", _folder(path))
            raise RadiographError("unsupported-format", "not a regular file")
        with path.open("rb") as file:
            first = file.read(FIRST_BYTES)
            if sniff(first) is None:
                raise unsupported(first)
            file.seek(0)
            return file.read(min(status.st_size, limit) + 1)
    except FileNotFoundError:
        raise RadiographError("not-found", "no such file") from None
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise RadiographError("unreadable", f"the file cannot be read ({what})") from None


def _folder(path: Path) -> str:
    """Return what to say of a folder, which is no film."""
    try:
        next(os.scandir(path), None)
    except OSError as error:
        return f"a folder that cannot be listed ({error.strerror})"
    return "a folder: read its files one by one"


def _from_bytes(data: bytes | memoryview, options: ReadingOptions) -> Radiograph:
    kind = sniff(data[:FIRST_BYTES])
    if kind is None:
        raise unsupported(data)
    if kind == "dicom":
        from xraytransfer.reading.dicom import read_film
        from xraytransfer.reading.dicom_file import parse_file

        header, notes = parse_file(memoryview(data), max_bytes=options.max_bytes)
        return read_film(header, notes, options)
    from xraytransfer.reading.raster import read_raster

    return read_raster(bytes(data), kind, options)


def _from_dataset(dataset: pydicom.Dataset, options: ReadingOptions) -> Radiograph:
    from xraytransfer.reading.dicom import read_film
    from xraytransfer.reading.elements import from_dataset

    return read_film(from_dataset(dataset), [], options)
