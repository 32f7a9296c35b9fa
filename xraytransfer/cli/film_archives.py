"""Films inside other files: the index of a patient's disc, and zip archives, read without unpacking them to disk.

References
----------
DICOM PS3.3 annex F (media storage directory), PS3.12 (media formats).
"""

from __future__ import annotations

import contextlib
import functools
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, BinaryIO, cast

from xraytransfer.errors import RadiographError, XrayTransferError

__all__ = ["files_of_dicomdir", "zip_members"]

_LARGEST_DICOMDIR = 64 << 20
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


class _Member(io.RawIOBase):
    """One file of an archive, inflated while it is read and not before; whoever reads a damaged one is told why."""

    def __init__(self, open_member: Callable[[], IO[bytes]], name: str) -> None:
        super().__init__()
        self.name = name
        self._open = open_member
        self._file: IO[bytes] | None = None

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; refuse where the archive is damaged or encrypted."""
        with self._inflated() as file:
            return file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another place, as any file does."""
        with self._inflated() as file:
            return file.seek(offset, whence)

    def tell(self) -> int:
        """Return how many bytes were read."""
        return 0 if self._file is None else self._file.tell()

    @contextlib.contextmanager
    def _inflated(self) -> Iterator[IO[bytes]]:
        try:
            if self._file is None:
                self._file = self._open()
            yield self._file
        except _ZIP_FAILURES as error:
            raise RadiographError("unreadable", f"the zip archive is damaged or encrypted ({error})") from error


def zip_members(path: str) -> Iterator[str | BinaryIO]:
    """Yield the files of a zip archive one after the other, called ``ARCHIVE/MEMBER``.

    Only the archive's directory is read here. A member is inflated piece by piece while it is read, so that its
    reader's limit holds: an archive of a few bytes cannot fill the memory. An archive that cannot be opened is yielded
    itself, and whoever reads it is told why.
    """
    try:
        # closed by its last member: members are read after this function has ended
        archive = zipfile.ZipFile(path)
    except _ZIP_FAILURES as error:
        yield cast(BinaryIO, _Member(functools.partial(_fail, error), path))
        return
    for member in sorted(archive.infolist(), key=lambda member: member.filename):
        if not member.is_dir() and not any(_is_hidden(part) for part in member.filename.split("/")):
            yield cast(BinaryIO, _Member(functools.partial(archive.open, member), f"{path}/{member.filename}"))


def _fail(error: Exception) -> IO[bytes]:
    raise error


def _is_hidden(part: str) -> bool:
    return part.startswith(".") and part not in (".", "..")
