"""The header of a film, as pydicom reads it, within limits: what results copy from a film stands near its beginning.

pydicom inflates a deflated data set whole, and keeps every element up to the pixels: a file of 1 MB may take gigabytes.
A film that is refused for that very reason gets a report too, so its header is read like every other.
"""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO

from pydicom import Dataset
from pydicom.filereader import read_dataset

from xraytransfer.reading.attributes import PIXELS
from xraytransfer.reading.dicom_file import find_data_set

__all__ = ["read_header"]

_MOST_BYTES = 8 * 2**20
"""Of a file, and of an inflated data set; the headers of films have some kilobytes."""


def read_header(film: BinaryIO) -> Dataset:
    """Return a film's elements before its pixels, without file meta information.

    Parameters
    ----------
    film : binary file
        DICOM file, read from where it stands. Elements after its first 8 MiB are left out, and if these end inside a
        sequence, all are.

    Raises
    ------
    RadiographError
        corrupt: the beginning of the file is damaged.
    Exception
        One of `identity.UNREADABLE`, which pydicom raises for damaged elements.
    """
    found = find_data_set(memoryview(film.read(_MOST_BYTES)), max_bytes=_MOST_BYTES)
    return read_dataset(
        BytesIO(found.data[found.start :]),
        is_implicit_VR=found.implicit,
        is_little_endian=found.little,
        stop_when=lambda tag, vr, length: tag in PIXELS,
    )
