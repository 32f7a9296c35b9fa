"""The spool's files: written under random names, flushed to the disk, buried with a note when nothing helps."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Collection
from datetime import datetime, timezone
from pathlib import Path

from xraytransfer.errors import ServeError
from xraytransfer.files import write_json

__all__ = ["DATABASE", "SpoolFiles"]

DATABASE = "spool.sqlite3"
"""The database's file name in the spool's folder."""


class SpoolFiles:
    """The files of a spool, in a folder that its user alone can open (0700, files 0600).

    Parameters
    ----------
    folder : Path
        Created if it does not exist. A folder that holds other things is refused.

    Raises
    ------
    ServeError
        The folder holds other things.
    OSError
        It cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        if folder.is_dir() and any(folder.iterdir()) and not (folder / DATABASE).is_file():
            raise ServeError(f"{folder} holds other files: give an empty folder, or a new one, as spool")
        self.dead = folder / "dead"
        self._live = folder / "files"
        for part in (folder, self._live, self.dead):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.chmod(0o700)
        (folder / DATABASE).touch(mode=0o600)

    def path(self, name: str) -> Path:
        """Return the path of the file of this name."""
        return self._live / name

    def write(self, *pieces: bytes | memoryview) -> str:
        """Write a new file and flush it; return its name. `flush` makes the name itself durable."""
        name = f"{secrets.token_hex(16)}.dcm"
        path = self._live / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return name

    def flush(self) -> None:
        """Flush the names of the files written."""
        _flush_folder(self._live)

    def remove(self, name: str) -> None:
        """Remove a file that no longer counts."""
        self.path(name).unlink(missing_ok=True)

    def age_s(self, name: str) -> float:
        """Return how long ago a file was written, in seconds; 0 for one that is missing or of the future."""
        try:
            return max(0.0, time.time() - self.path(name).stat().st_mtime)
        except FileNotFoundError:
            return 0.0

    def sweep(self, keep: Collection[str]) -> None:
        """Remove every file that is not to be kept."""
        for path in self._live.iterdir():
            if path.name not in keep:
                path.unlink()

    def bury(self, name: str, note: dict[str, object], *, suffix: str = "") -> None:
        """Copy a file into the folder ``dead`` with a note beside it, and flush both.

        The caller removes the file afterwards: a process that dies in between leaves a copy too many, never one
        too few. The suffix tells apart copies of one file, which several destinations refused.
        """
        target = self.dead / f"{Path(name).stem}{suffix}.dcm"
        if self.path(name).exists():
            shutil.copyfile(self.path(name), target)
            target.chmod(0o600)
            with target.open("rb+") as copy:
                os.fsync(copy.fileno())
        note_path = target.with_suffix(".json")
        write_json(note_path, {**note, "at": datetime.now(timezone.utc).isoformat(timespec="seconds")})
        note_path.chmod(0o600)
        _flush_folder(self.dead)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # no handles on folders there; their entries are flushed with the files
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
