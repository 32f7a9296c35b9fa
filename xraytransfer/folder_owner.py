"""The owner of a folder: a file that says which process works in it, for disks on which locks do not hold.

Conventions
-----------
``owner.json`` holds a random token, the host and the process id. It is made with O_EXCL, so that one process wins,
and its time of change is set every few seconds while the process works: the heartbeat. A file whose process has ended
on this host, or whose heartbeat has stopped, was left behind and is replaced. A process that was thought dead and comes
back, as after a suspended machine, finds another token in the file and must not write any more: `FolderOwner.check`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from xraytransfer.errors import BusyError

__all__ = ["FolderOwner", "has_owner"]

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
"""A heartbeat that is older has stopped. It is compared with the disk's own clock, not with those of machines."""


class FolderOwner:
    """Own a folder, as this process.

    Parameters
    ----------
    folder : Path
        It must exist.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "owner.json"
        self._token = secrets.token_hex(16)
        self._end = threading.Event()
        self._heart: threading.Thread | None = None

    def claim(self) -> bool:
        """Become the owner; return False where another process is."""
        now = self._time_of_disk()
        if not self._create():
            found = _read(self.path)
            if not _is_left_behind(self.path, found, now) or not self._remove(found) or not self._create():
                return False
        self._heart = threading.Thread(target=self._beat, daemon=True, name="xraytransfer-heartbeat")
        self._heart.start()
        return True

    def check(self) -> None:
        """See that this process is still the owner.

        Raises
        ------
        BusyError
            Another process has taken the folder over. Nothing may be written any more.
        """
        if _read(self.path).get("token") != self._token:
            raise BusyError(
                f"{self.path.parent}: another process has taken this folder over, because this one gave no sign of "
                f"life for {STALE_SECONDS:.0f} seconds; nothing more is written here"
            )

    def release(self) -> None:
        """Stop being the owner."""
        self._end.set()
        if self._heart is not None:
            self._heart.join()
        if _read(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        record = {"token": self._token, "host": socket.gethostname(), "process": os.getpid()}
        try:
            with self.path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except FileExistsError:
            return False
        return True

    def _remove(self, found: dict[str, Any]) -> bool:
        """Remove the file that was left behind; return False where another process was faster."""
        aside = self.path.with_name(f".owner-{self._token}.tmp")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return True
        if _read(aside).get("token") == found.get("token"):
            aside.unlink()
            return True
        aside.rename(self.path)  # it is the faster one's
        return False

    def _time_of_disk(self) -> float:
        """Return the time by the clock that sets times of change in the folder."""
        probe = self.path.with_name(f".clock-{self._token}.tmp")
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT_SECONDS):
            # a file that is gone or cannot be touched is noticed by check, before anything is written
            with contextlib.suppress(OSError):
                if _read(self.path).get("token") == self._token:
                    os.utime(self.path)


def has_owner(folder: Path) -> bool:
    """Return whether a process works in a folder, as far as its file tells."""
    path = folder / "owner.json"
    return path.is_file() and not _is_left_behind(path, _read(path), time.time())


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file; empty where it is absent, or being written at this moment."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_left_behind(path: Path, found: dict[str, Any], now: float) -> bool:
    if found.get("host") == socket.gethostname() and not _is_alive(int(found["process"])):
        return True
    try:
        return now - path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return True


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        return True  # there the lock itself holds, and the heartbeat decides
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
