"""The lock on a folder: by the operating system where that holds, by an owner with a heartbeat where it does not."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xraytransfer import folder_owner
from xraytransfer.errors import BusyError
from xraytransfer.folder_lock import FolderLock, is_locked

HOLD = """
import sys
from pathlib import Path
from xraytransfer.folder_lock import FolderLock
with FolderLock(Path(sys.argv[1])) as lock:
    print(lock.kind, flush=True)
    sys.stdin.read()
    lock.check()
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="flock is POSIX's")


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the file system refuse every lock, as some network disks do."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)


@pytest.fixture
def holder(tmp_path: Path, locks_that_hold_nothing: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Return a process that holds the folder where locks hold nothing, until its standard input ends."""
    command = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=locks_that_hold_nothing,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "heartbeat" in process.stdout.readline()
        yield process
        process.kill()


def test_a_lock_is_held_by_one(tmp_path: Path):
    with (
        FolderLock(tmp_path) as lock,
        pytest.raises(BusyError, match="another process works in this folder"),
        FolderLock(tmp_path),
    ):
        pass
    assert lock.kind.startswith("a lock, and owner.json")
    with FolderLock(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


@posix
@pytest.mark.usefixtures("no_locks")
def test_disk_that_refuses_locks(tmp_path: Path):
    with FolderLock(tmp_path) as lock:
        assert "the file system does not lock: No locks available" in lock.kind
        assert is_locked(tmp_path)
        with pytest.raises(BusyError), FolderLock(tmp_path):
            pass
        lock.check()
    assert not is_locked(tmp_path)


def test_disk_whose_locks_hold_nothing(
    tmp_path: Path, holder: subprocess.Popen[str], locks_that_hold_nothing: dict[str, str]
):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, env=locks_that_hold_nothing, input="")
    assert second.returncode == 1
    assert "BusyError" in second.stderr
    holder.kill()
    holder.wait()
    third = subprocess.run(command, capture_output=True, text=True, check=True, env=locks_that_hold_nothing, input="")
    assert "heartbeat" in third.stdout


def test_owner_of_another_machine_is_left_alone_while_its_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    owner = tmp_path / "owner.json"
    owner.write_text(json.dumps({"token": "x", "host": "another", "process": 1}))
    with pytest.raises(BusyError), FolderLock(tmp_path):
        pass
    assert is_locked(tmp_path)
    long_ago = time.time() - folder_owner.STALE_SECONDS - 1
    os.utime(owner, (long_ago, long_ago))
    assert not is_locked(tmp_path)
    with FolderLock(tmp_path) as lock:
        lock.check()


def test_heart_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(folder_owner, "HEARTBEAT_SECONDS", 0.05)
    with FolderLock(tmp_path):
        os.utime(tmp_path / "owner.json", (1, 1))
        deadline = time.monotonic() + 10
        while (tmp_path / "owner.json").stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_process_that_comes_back_writes_no_more(tmp_path: Path):
    with FolderLock(tmp_path) as lock:
        owner = tmp_path / "owner.json"
        theirs = json.dumps({"token": "another", "host": "another", "process": 1})
        owner.write_text(theirs)
        with pytest.raises(BusyError, match="has taken this folder over"):
            lock.check()
        owner.unlink()
        with pytest.raises(BusyError, match="has taken this folder over"):
            lock.check()
        owner.write_text(theirs)
    assert owner.read_text() == theirs  # the other one's file stays
