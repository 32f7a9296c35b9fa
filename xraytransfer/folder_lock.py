"""Locks between processes: on a folder, so that one process at a time works in it, and on an open file."""

from __future__ import annotations

import errno
import math
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from xraytransfer.errors import BusyError
from xraytransfer.folder_owner import FolderOwner, has_owner

__all__ = ["FolderLock", "is_locked", "try_lock"]

_PATIENCE_SECONDS = 0.5
"""How long a lock is tried for: `is_locked`, called from another terminal, holds it for a moment, too."""
_PAUSE_SECONDS = 0.1


class FolderLock:
    """Work in a folder alone while the block runs.

    Two things keep others out: a lock on ``<folder>/lock``, which the operating system drops when the process ends,
    however it ends; and ``<folder>/owner.json`` (`FolderOwner`), for network disks that refuse to lock, or accept a
    lock and hold it against processes of the same machine only, or not at all.

    Parameters
    ----------
    folder : Path
        Made if absent.
    wait : bool
        Whether to wait for the holder, instead of refusing.

    Attributes
    ----------
    kind : str
        What keeps others out, in words; empty until the block runs.

    Raises
    ------
    BusyError
        On entering, if another process works in the folder and `wait` is false.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self.path = folder / "lock"
        self.wait = wait
        self.kind = ""
        self._file: int | None = None
        self._owner = FolderOwner(folder)

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
        while not (self._lock(file) and self._owner.claim()):
            if time.monotonic() > deadline:
                raise BusyError(f"{self.path.parent}: another process works in this folder; wait for it, or end it")
            time.sleep(_PAUSE_SECONDS)

    def _lock(self, file: int) -> bool:
        """Lock the file; where the file system cannot, the owner file is what keeps others out."""
        try:
            locked = try_lock(file)
        except OSError as error:
            self.kind = f"{self._owner.path.name} with a heartbeat (the file system does not lock: {error.strerror})"
            return True
        self.kind = f"a lock, and {self._owner.path.name} with a heartbeat"
        return locked

    def check(self) -> None:
        """See that no other process has taken the folder over; to be called before each file is written.

        Raises
        ------
        BusyError
            Another process has.
        """
        self._owner.check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._owner.release()
            os.close(self._file)
            self._file = None


def is_locked(folder: Path) -> bool:
    """Return whether a process works in a folder."""
    path = folder / "lock"
    if not path.is_file():
        return False
    # flock needs no right to write, so a colleague may look at a folder that belongs to somebody else
    file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        free = try_lock(file)
    except OSError:
        free = True  # the file system does not lock
    finally:
        os.close(file)
    return not free or has_owner(folder)


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
