"""Films inside other files: the index of a patient's disc, and zip archives, read without unpacking them to disk.

References
----------
DICOM PS3.3 annex F (media storage directory), PS3.12 (media formats).
"""

from __future__ import annotations

import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from xraytransfer.errors import XrayTransferError

__all__ = ["files_of_dicomdir", "zip_members"]

_LARGEST_DICOMDIR = 64 << 20
_FIRST = 132
"""Bytes that tell what a file is: what is no film is not read further."""
# What zipfile raises on damaged and encrypted archives.
_ZIP_FAILURES = (
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    MemoryError,
)


def files_of_dicomdir(path: str) -> Iterator[str]:
    """Yield the image files that a DICOMDIR lists, in its order.

    Parameters
    ----------
    path : str
        The DICOMDIR file. Names in it are relative to its folder; a name whose case differs on disk is found.

    Raises
    ------
    XrayTransferError
        It cannot be read, or lists no image.
    """
    try:
        names = _names_in_dicomdir(path)
    except Exception as error:
        raise XrayTransferError(
            f"{path}: cannot be read as a DICOMDIR ({type(error).__name__}); name the folder instead"
        ) from error
    if not names:
        raise XrayTransferError(f"{path}: lists no image; name the folder instead")
    for parts in names:
        yield _on_disk(os.path.dirname(path), parts)


def _names_in_dicomdir(path: str) -> list[list[str]]:
    """Return the parts of the name of every image file that a DICOMDIR lists."""
    from pydicom import dcmread

    if os.path.getsize(path) > _LARGEST_DICOMDIR:
        raise ValueError("too large for a DICOMDIR")
    records = dcmread(path).get("DirectoryRecordSequence") or []
    images = [record for record in records if str(record.get("DirectoryRecordType")) == "IMAGE"]
    names = [record.get("ReferencedFileID") for record in images]
    return [[name] if isinstance(name, str) else [str(part) for part in name] for name in names if name]


def _on_disk(folder: str, parts: list[str]) -> str:
    """Return the path of a file, each part in the case that it has on disk: discs are often copied to lower case."""
    for part in parts:
        if part in ("", ".", "..") or os.sep in part:
            return os.path.join(folder, "_".join(parts))  # leads out of the disc: no such file
        direct = os.path.join(folder, part)
        if not os.path.lexists(direct) and os.path.isdir(folder or "."):
            same = [name for name in os.listdir(folder or ".") if name.upper() == part.upper()]
            direct = os.path.join(folder, same[0]) if same else direct
        folder = direct
    return folder


class _Member(io.BytesIO):
    """One file of an archive, in memory."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _Unreadable(io.RawIOBase):
    """A file of an archive that cannot be read: whoever reads it is told why."""

    def __init__(self, error: Exception, name: str) -> None:
        super().__init__()
        self.name = name
        self._error = error

    def read(self, size: int = -1) -> bytes:
        """Raise OSError."""
        raise OSError(f"the archive is damaged or encrypted: {self._error}")


def zip_members(path: str) -> Iterator[str | BinaryIO]:
    """Yield the files of a zip archive one after the other, each in memory, called ``ARCHIVE/MEMBER``.

    A member is read up to one byte more than the reader's limit, so that an archive of a few bytes cannot fill the
    memory; the reader then refuses it. An archive that cannot be opened is yielded itself, and refused.
    """
    from xraytransfer.radiograph import MAX_PIXELS, sniff

    limit = 4 * MAX_PIXELS + (64 << 20) + 1
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_FAILURES:
        yield path
        return
    with archive:
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            if member.is_dir() or any(_is_hidden(part) for part in member.filename.split("/")):
                continue
            name = f"{path}/{member.filename}"
            try:
                with archive.open(member) as file:
                    data = file.read(_FIRST)
                    if sniff(data) is not None:
                        data += file.read(limit - _FIRST)
            except _ZIP_FAILURES as error:
                yield cast(BinaryIO, _Unreadable(error, name))
            else:
                yield _Member(data, name)


def _is_hidden(part: str) -> bool:
    return part.startswith(".") and part not in (".", "..")
