"""The spool: nothing is lost or doubled, wherever the process dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("highdicom")

from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom_results.results import Result
from xraytransfer.serve.spool.database import QueuedFilm
from xraytransfer.serve.spool.files import DATABASE
from xraytransfer.serve.spool.spool import MAX_ATTEMPTS, Spool, SpoolFullError

RESULTS = [Result(b"report", "1.2.3", "2.25.1"), Result(b"picture", "1.2.4", "2.25.2")]

# For each line "folder, step, n" runs the step in a forked child that kills itself (SIGKILL) at its n-th call to the
# operating system or to SQLite; answers with how the child ended and what it had said by then.
_KILLER = """
import json, os, pathlib, signal, sqlite3, sys
from xraytransfer.serve.dicom_results.results import Result
from xraytransfer.serve.spool.spool import Spool

left = 0

def dying(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

class Connection(sqlite3.Connection):
    def execute(self, statement, *parameters):
        tick()
        return super().execute(statement, *parameters)

tick = dying(lambda: None)
connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **options: connect(*arguments, factory=Connection, **options)
for name in ("fsync", "open", "unlink", "chmod", "mkdir"):
    setattr(os, name, dying(getattr(os, name)))

def run(folder, step, say):
    spool = Spool(folder, min_free_bytes=0)
    if step == "receive":
        spool.receive(b"film")
        say("acknowledged")
    elif step == "score":
        spool.score(spool.claim(), [Result(b"report", "1.2.3", "2.25.1"), Result(b"picture", "1.2.4", "2.25.2")],
                    ["A", "B"])
    elif step == "send":
        for destination in ("A", "B"):
            for delivery in spool.due(destination):
                say("sent " + destination + " " + delivery.path.read_bytes().decode())
                spool.sent(delivery)
    elif step == "bury":
        spool.bury_film(spool.claim(), "a test")
    spool.close()

for line in sys.stdin:
    folder, step, calls = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        left = calls
        run(pathlib.Path(folder), step, lambda words: os.write(writing, (words + chr(10)).encode()))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    _, status = os.waitpid(child, 0)
    print(json.dumps([os.waitstatus_to_exitcode(status), lines]), flush=True)
"""


@pytest.fixture(scope="module")
def killed_run() -> Iterator[Callable[[Path, str, int], tuple[bool, list[str]]]]:
    """Return a function that runs a step and kills it at a call: whether it died, and what it said before."""
    with subprocess.Popen(
        [sys.executable, "-c", _KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killer:
        asked, answers = killer.stdin, killer.stdout
        assert asked is not None
        assert answers is not None

        def run(folder: Path, step: str, after: int) -> tuple[bool, list[str]]:
            print(json.dumps([str(folder), step, after]), file=asked, flush=True)
            code, lines = json.loads(answers.readline())
            assert code in (0, -signal.SIGKILL)
            return code != 0, lines

        yield run
        asked.close()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    yield spool
    spool.close()


def drain(spool: Spool) -> list[tuple[str, bytes]]:
    """Take everything through the spool; return what each destination got."""
    got = []
    while (film := spool.claim()) is not None:
        spool.score(film, RESULTS, ["A", "B"])
    for destination in ("A", "B"):
        for delivery in spool.due(destination):
            got.append((destination, delivery.path.read_bytes()))
            spool.sent(delivery)
    return got


EVERYTHING = [("A", b"report"), ("A", b"picture"), ("B", b"report"), ("B", b"picture")]


def test_a_film_goes_through(spool: Spool) -> None:
    assert spool.receive(b"film")
    film = spool.claim()
    assert isinstance(film, QueuedFilm)
    assert film.path.read_bytes() == b"film"
    assert spool.claim() is None
    spool.score(film, RESULTS, ["A", "B"])
    assert not film.path.exists()
    assert spool.counts()["results_waiting"] == 4
    assert drain(spool) == EVERYTHING
    assert list((spool.folder / "files").iterdir()) == []
    assert spool.counts()["sent_total"] == 1


def test_the_same_bytes_wait_once_and_come_again_later(spool: Spool) -> None:
    assert spool.receive(b"film")
    assert not spool.receive(b"film")
    assert len(list((spool.folder / "files").iterdir())) == 1
    assert drain(spool) == EVERYTHING
    assert spool.receive(b"film")
    assert drain(spool) == EVERYTHING


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL does not exist on Windows")
@pytest.mark.parametrize("step", ["receive", "score", "send", "bury"])
def test_killed_at_every_call_nothing_is_lost(tmp_path: Path, killed_run: Any, step: str) -> None:
    calls = 0
    while True:
        calls += 1
        folder = tmp_path / str(calls)
        opened = Spool(folder, min_free_bytes=0)
        if step != "receive":
            opened.receive(b"film")
        if step == "send":
            film = opened.claim()
            assert film is not None
            opened.score(film, RESULTS, ["A", "B"])
        opened.close()
        died, lines = killed_run(folder, step, calls)
        again = Spool(folder, min_free_bytes=0)
        check = {"receive": _check_received, "score": _check_scored, "send": _check_sent, "bury": _check_buried}
        check[step](again, died, lines)
        assert list((folder / "files").iterdir()) == []
        again.close()
        if not died:
            break
    assert calls > 10, "the step was hardly ever killed"


def _check_received(spool: Spool, died: bool, lines: list[str]) -> None:
    got = drain(spool)
    if lines == ["acknowledged"]:
        assert got == EVERYTHING
    else:  # its sender was told nothing and sends again; it may be here already
        assert got in ([], EVERYTHING)
        spool.receive(b"film")
        assert drain(spool) == EVERYTHING


def _check_scored(spool: Spool, died: bool, lines: list[str]) -> None:
    assert drain(spool) == EVERYTHING


def _check_sent(spool: Spool, died: bool, lines: list[str]) -> None:
    before = [(line.split()[1], line.split()[2].encode()) for line in lines if line.startswith("sent")]
    after = drain(spool)
    assert set(before) | set(after) == set(EVERYTHING)
    # Killed between the answer and the note of it: that one result goes out twice, as the same object.
    assert len(before) + len(after) <= len(EVERYTHING) + 1


def _check_buried(spool: Spool, died: bool, lines: list[str]) -> None:
    waiting = spool.counts()["films_waiting"]
    dead = [path.read_bytes() for path in spool.dead.glob("*.dcm")]
    assert waiting == 1 or dead == [b"film"]
    assert died or (waiting, dead) == (0, [b"film"])
    drain(spool)


def test_a_film_that_kills_its_process_is_given_up(spool: Spool) -> None:
    spool.receive(b"film")
    folder = spool.folder
    for attempt in range(1, MAX_ATTEMPTS + 2):
        film = spool.claim()
        assert film is not None
        assert film.attempts == attempt
        spool.close()  # the process dies: nothing is written down after the claim
        spool.__init__(folder, min_free_bytes=0)  # type: ignore[misc]
    assert film.attempts > MAX_ATTEMPTS


def test_a_film_put_back_waits_its_time(spool: Spool) -> None:
    spool.receive(b"film")
    film = spool.claim()
    assert film is not None
    spool.release(film, 3600, counts=True)
    assert spool.claim() is None
    assert spool.counts()["films_waiting"] == 1


def test_an_attempt_that_was_none_does_not_count(spool: Spool) -> None:
    spool.receive(b"film")
    for _ in range(3):
        film = spool.claim()
        assert film is not None
        assert film.attempts == 1
        spool.release(film, 0, counts=False)


def test_a_postponed_result_waits_and_counts(spool: Spool) -> None:
    spool.receive(b"film")
    film = spool.claim()
    assert film is not None
    spool.score(film, RESULTS[:1], ["A"])
    (delivery,) = spool.due("A")
    spool.postpone(delivery, 0)
    (delivery,) = spool.due("A")
    assert delivery.attempts == 1
    spool.postpone(delivery, 3600)
    assert spool.due("A") == []
    assert spool.counts()["results_waiting"] == 1


def test_a_clock_that_was_wrong_holds_nothing_up(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 400 * 86_400)
    for data in (b"scored", b"put back"):
        spool.receive(data)
    film, another = spool.claim(), spool.claim()
    assert film is not None
    assert another is not None
    spool.score(film, RESULTS[:1], ["A"])
    spool.postpone(spool.due("A")[0], 600)
    spool.release(another, 600, counts=True)
    assert spool.due("A") == []
    assert spool.claim() is None
    monkeypatch.setattr(time, "time", lambda: now)
    assert len(spool.due("A")) == 1
    assert spool.claim() is not None


def test_a_buried_result_lies_beside_its_reason(spool: Spool) -> None:
    spool.receive(b"film")
    film = spool.claim()
    assert film is not None
    spool.score(film, RESULTS[:1], ["A"])
    (delivery,) = spool.due("A")
    spool.bury_delivery(delivery, "status A900")
    (note,) = spool.dead.glob("*.json")
    assert json.loads(note.read_text())["reason"] == "status A900"
    assert note.with_suffix(".dcm").read_bytes() == b"report"
    assert spool.counts()["dead_total"] == 1


@pytest.mark.parametrize("given_up", [(True,), (True, False), (False, True), (False, False)])
def test_a_film_counts_as_sent_where_every_destination_has_every_result(
    spool: Spool, given_up: tuple[bool, ...]
) -> None:
    spool.receive(b"film")
    film = spool.claim()
    assert film is not None
    spool.score(film, RESULTS[:1], "AB"[: len(given_up)])
    for destination, refused in zip("AB", given_up, strict=False):
        (delivery,) = spool.due(destination)
        if refused:
            spool.bury_delivery(delivery, "status A900")
        else:
            spool.sent(delivery)
    counts = spool.counts()
    assert counts["sent_total"] == (not any(given_up))
    assert (counts["dead_total"], counts["results_waiting"]) == (sum(given_up), 0)
    assert not list((spool.folder / "files").iterdir())


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    small = Spool(tmp_path / "spool", capacity=1, min_free_bytes=0)
    assert small.receive(b"film")
    with pytest.raises(SpoolFullError, match="holds 1 film, as many as it may"):
        small.receive(b"another")
    small.close()


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    full = Spool(tmp_path / "spool", min_free_bytes=2**62)
    with pytest.raises(SpoolFullError, match="must stay free"):
        full.receive(b"film")
    full.close()


def test_a_failed_write_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        with pytest.raises(SpoolFullError, match="No space left"):
            spool.receive(b"film")
    assert list((spool.folder / "files").iterdir()) == []
    assert spool.receive(b"film")


def test_many_threads_lose_and_double_nothing(spool: Spool) -> None:
    def receive(number: int) -> None:
        for part in range(10):
            spool.receive(b"%d-%d" % (number, part))

    def score() -> None:
        while not (done.is_set() and spool.counts()["films_waiting"] == 0):
            film = spool.claim()
            if film is not None:
                spool.score(film, [Result(film.path.read_bytes(), "1.2.3", "2.25.1")], ["A"])

    done = threading.Event()
    receivers = [threading.Thread(target=receive, args=(number,)) for number in range(4)]
    scorers = [threading.Thread(target=score) for _ in range(2)]
    for thread in receivers + scorers:
        thread.start()
    for thread in receivers:
        thread.join()
    done.set()
    for thread in scorers:
        thread.join()
    got = sorted(delivery.path.read_bytes() for delivery in spool.due("A", limit=100))
    assert got == sorted(b"%d-%d" % (number, part) for number in range(4) for part in range(10))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServeError, match="cannot be used"):
        Spool(tmp_path / "file" / "spool")


def test_a_folder_that_could_not_be_used_is_not_kept_locked(tmp_path: Path) -> None:
    Spool(tmp_path / "spool", min_free_bytes=0).close()
    stray = tmp_path / "spool" / "files" / "stray"
    stray.mkdir()
    with pytest.raises(ServeError, match="cannot be used") as failed:
        Spool(tmp_path / "spool", min_free_bytes=0)
    stray.rmdir()
    Spool(tmp_path / "spool", min_free_bytes=0).close()
    assert "stray" not in str(failed.value)


def _altered(folder: Path, *statements: str) -> list[Path]:
    """Make a spool in which a film waits, change its database, and return its files."""
    made = Spool(folder, min_free_bytes=0)
    made.receive(b"film")
    made.close()
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return sorted((folder / "files").iterdir())


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("PRAGMA user_version = 2", "has format 2"),
        ("ALTER TABLE film RENAME COLUMN due TO due_at", "has other columns in table film"),
        ("ALTER TABLE delivery ADD COLUMN priority INTEGER NOT NULL DEFAULT 0", "has other columns in table delivery"),
    ],
)
def test_a_spool_of_another_version_is_refused_and_kept(tmp_path: Path, statement: str, found: str) -> None:
    folder = tmp_path / "spool"
    files = _altered(folder, statement)
    with pytest.raises(ServeError, match=rf"{found}: another version of xraytransfer wrote it.* reads format 1"):
        Spool(folder, min_free_bytes=0)
    assert sorted((folder / "files").iterdir()) == files
    with closing(sqlite3.connect(folder / DATABASE)) as database:  # it is not locked either
        assert database.execute("SELECT count(*) FROM film").fetchone() == (1,)


def test_a_spool_without_a_format_is_one_of_this_form(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    _altered(folder, "PRAGMA user_version = 0")  # as versions 0.1 and 0.2 left it
    spool = Spool(folder, min_free_bytes=0)
    assert spool.claim() is not None
    spool.close()
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)


def test_the_problem_is_said_before_a_film_comes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", min_free_bytes=0, capacity=1)
    assert spool.problem() is None
    spool.receive(b"film")
    assert spool.problem() == "the spool holds 1 film, as many as it may"
    spool.close()
    small = Spool(tmp_path / "other", min_free_bytes=2**62)
    assert "MiB free, and 4398046511104 MiB must stay free" in str(small.problem())
    shutil.rmtree(tmp_path / "other")
    assert small.problem() == "the spool cannot be written: No such file or directory"
    small.close()
