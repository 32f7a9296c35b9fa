"""Locks between processes: on a folder, so that one process at a time works in it, and on an open file."""

from __future__ import annotations

import errno
import math
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from xraytransfer.errors import BusyError, StudyError

__all__ = ["FolderLock", "is_locked", "try_lock"]

_PATIENCE_SECONDS = 0.5
"""How long a lock is tried for: `is_locked`, called from another terminal, holds it for a moment, too."""
_PAUSE_SECONDS = 0.1


class FolderLock:
    """Hold ``<folder>/lock`` while the block runs.

    The operating system drops the lock when the process ends, however it ends.

    Parameters
    ----------
    folder : Path
        Made if absent.
    wait : bool
        Whether to wait for the holder, instead of refusing.

    Raises
    ------
    BusyError
        On entering, if another process holds the lock and `wait` is false.
    StudyError
        On entering, if the file system refuses to lock.

    Notes
    -----
    Some network file systems accept ``flock`` and lock nothing, or lock only against processes of the same machine.
    This class cannot notice that: two processes then enter the same folder at the same time. What would hold there
    is a fence token, a number in the lock file that grows with each holder and that a writer compares before it moves
    a file onto its name. The lock file is empty so far, and its content is reserved for that number.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self.path = folder / "lock"
        self.wait = wait
        self._file: int | None = None

    def __enter__(self) -> FolderLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(file)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return self

    def _acquire(self, file: int) -> None:
        deadline = math.inf if self.wait else time.monotonic() + _PATIENCE_SECONDS
        while not _try_lock_or_refuse(file, self.path):
            if time.monotonic() > deadline:
                raise BusyError(f"{self.path.parent}: another process works in this folder; wait for it, or end it")
            time.sleep(_PAUSE_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_locked(folder: Path) -> bool:
    """Return whether a process holds a folder's lock; StudyError where the file system refuses to lock."""
    path = folder / "lock"
    if not path.is_file():
        return False
    # flock needs no right to write, so a colleague may look at a folder that belongs to somebody else
    file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        return not _try_lock_or_refuse(file, path)
    finally:
        os.close(file)


def try_lock(file: int) -> bool:
    """Lock an open file until it is closed, and return whether that succeeded.

    Parameters
    ----------
    file : int
        A file descriptor.

    Returns
    -------
    bool
        False where another process holds the lock.

    Raises
    ------
    OSError
        The file system refuses to lock, as network drives may.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _try_lock_or_refuse(file: int, path: Path) -> bool:
    try:
        return try_lock(file)
    except OSError as error:
        raise StudyError(f"{path}: cannot be locked ({error.strerror}); keep results on a local disk") from error
