"""A lock that ends with its process: one run per folder, one builder per cache."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from xraytransfer.errors import StudyError

__all__ = ["FolderLock", "is_locked"]


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
    StudyError
        On entering, if another process holds the lock and `wait` is false, or the disk has no locks.
    """

    def __init__(self, folder: Path, *, wait: bool = False) -> None:
        self.path = folder / "lock"
        self.wait = wait
        self._file: int | None = None

    def __enter__(self) -> FolderLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock_patiently(file, self.wait)
        except OSError as error:
            os.close(file)
            _check_held(error, self.path)
            raise StudyError(
                f"{self.path.parent}: another process works in this folder; wait for it, or end it"
            ) from error
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _lock_patiently(file: int, wait: bool) -> None:
    # `is_locked` holds the lock for a moment, from another terminal: that must not refuse a run
    for _ in range(5):
        try:
            return _lock(file, wait)
        except OSError:
            time.sleep(0.1)
    return _lock(file, wait)


def _check_held(error: OSError, path: Path) -> None:
    """Raise what is no other process's lock: a network drive without locks would look like one for ever."""
    if error.errno not in (errno.EACCES, errno.EAGAIN):
        raise StudyError(f"{path}: cannot be locked ({error.strerror}); keep results on a local disk") from error


def is_locked(folder: Path) -> bool:
    """Return whether a process holds a folder's lock; StudyError where the disk has no locks."""
    path = folder / "lock"
    if not path.is_file():
        return False
    # reading is enough for flock: a colleague may look at a folder that is not theirs
    file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        _lock(file, False)
    except OSError as error:
        _check_held(error, path)
        return True
    finally:
        os.close(file)
    return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, wait: bool) -> None:
        # LK_LOCK gives up after ten tries of a second
        while True:
            try:
                msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:
                if not wait:
                    raise
            else:
                return
else:
    import fcntl

    def _lock(file: int, wait: bool) -> None:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
