"""The spool: films and results on disk from the moment they are accepted until somebody else has them.

Conventions
-----------
A film is *received* (on disk, acknowledged to its sender), then *scored* (its results are on disk), then *sent*
(every destination has every result). A row in SQLite (``synchronous=FULL``) holds the state of each one; the
bytes are files. The order of writing makes each step safe against a process or machine that dies in the middle:

1. bytes are written under a new random name and flushed to the disk, and so is their folder;
2. one transaction makes them count;
3. files that no longer count are removed; those left over are removed when the spool is next opened.

File names are random, and rows hold digests and our own UIDs: neither tells who the patient is. The folder
belongs to its user alone (0700). What cannot be handled is put into ``dead``, with a note that says why.

The file is over 300 lines long because every change of state is made here, under one lock.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from xraytransfer.errors import ServeError
from xraytransfer.serve.spool.database import Delivery, DeliveryRow, QueuedFilm, SpoolDatabase
from xraytransfer.serve.spool.files import SpoolFiles
from xraytransfer.serve.spool.waiting import Waiting, WaitingResults, room_problem

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_results.results import Result

__all__ = ["MAX_ATTEMPTS", "Spool", "SpoolFullError"]

MAX_ATTEMPTS = 5
"""A film whose scoring ended this often without an answer (the process died, the engine failed) is given up."""


class SpoolFullError(ServeError):
    """There is no room for another film."""


class Spool:
    """A durable queue in a folder. Safe to use from many threads of one process; refuses a second process.

    Parameters
    ----------
    folder : Path
        Created if it does not exist.
    capacity : int
        Most films that are received and not yet sent.
    min_free_bytes : int
        Room that must be left on the disk.
    longest_wait_s : float
        The longest time that anything here is put off for. What is due later was put off under a wrong clock, and is
        due now.

    Attributes
    ----------
    changed : threading.Condition
        Notified whenever there may be something to do.
    dead : Path
        The folder of what could not be handled.

    Raises
    ------
    ServeError
        The folder cannot be used, or another process uses it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        capacity: int = 10_000,
        min_free_bytes: int = 512 * 2**20,
        longest_wait_s: float = 86_400.0,
    ) -> None:
        self.folder = folder
        self._capacity, self._min_free_bytes = capacity, min_free_bytes
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self._claimed: set[int] = set()
        self._held_back: dict[int, tuple[float, int]] = {}  # until when (monotonic), attempts that count
        with ExitStack() as undo:
            try:
                self._files = SpoolFiles(folder)
                self._database = SpoolDatabase(folder, longest_wait_s)
                undo.callback(self._database.close)
                self._files.sweep(self._database.files())
            except (OSError, sqlite3.Error) as error:
                reason = getattr(error, "strerror", None) or error
                raise ServeError(f"the spool {folder} cannot be used: {reason}") from error
            undo.pop_all()
        self.dead = self._files.dead

    def close(self) -> None:
        """Close the database, so that another process may use the folder."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[SpoolDatabase]:
        """Hold the lock and one transaction; notify `changed` when it is committed."""
        with self.changed:
            with self._database.transaction():
                yield self._database
            self.changed.notify_all()

    def receive(self, *pieces: bytes | memoryview) -> bool:
        """Accept a film: when this returns, it survives whatever happens to this process.

        Parameters
        ----------
        *pieces : bytes or memoryview
            The DICOM file, one piece after the other.

        Returns
        -------
        bool
            False if the same bytes are waiting already.

        Raises
        ------
        SpoolFullError
            There is no room.
        """
        self._check_room(sum(map(len, pieces)))
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        try:
            name = self._files.write(*pieces)
            self._files.flush()
        except OSError as error:
            raise SpoolFullError(f"the spool cannot take a film: {error.strerror}") from error
        try:
            with self._transaction() as database:
                database.add_film(name, digest.hexdigest())
                database.count("received")
        except sqlite3.IntegrityError:
            self._files.remove(name)
            return False
        except sqlite3.Error as error:
            self._files.remove(name)
            raise SpoolFullError(f"the spool cannot take a film: {error}") from error
        return True

    def _check_room(self, size: int) -> None:
        try:
            problem = self._room_problem(size)
        except (OSError, sqlite3.Error) as error:
            raise SpoolFullError(f"the spool cannot take a film: {getattr(error, 'strerror', error)}") from error
        if problem is not None:
            raise SpoolFullError(problem)

    def _room_problem(self, size: int = 0) -> str | None:
        with self._lock:
            films = self._database.unsent_films()
        return room_problem(self.folder, films, self._capacity, self._min_free_bytes, size)

    def problem(self) -> str | None:
        """Return why a film received now would be refused, or None; found out by writing a byte."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(b"x")
            return self._room_problem()
        except (OSError, sqlite3.Error) as error:
            return f"the spool cannot be written: {getattr(error, 'strerror', None) or error}"

    def claim(self) -> QueuedFilm | None:
        """Return a received film whose turn has come and that nobody else holds; None if there is none.

        The attempt is written down before it begins, so a film that kills the process is given up in the end.
        """
        with self.changed:
            rows = self._database.due_films()
            row = next((row for row in rows if self._is_free(row[0])), None)
            rows.close()
            if row is None:
                return None
            _, attempts = self._held_back.get(row[0], (0.0, row[2]))
            film = QueuedFilm(row[0], self._files.path(row[1]), attempts + 1)
            self._database.set_attempts(film.id, film.attempts)
            self._claimed.add(film.id)
            self._held_back.pop(film.id, None)
            return film

    def _is_free(self, film: int) -> bool:
        return film not in self._claimed and self._held_back.get(film, (0.0, 0))[0] <= time.monotonic()

    def hold_back(self, film: QueuedFilm, delay_s: float) -> None:
        """Put a claimed film back for later without writing anything, for when the disk takes nothing.

        The attempt does not count, for nothing was wrong with the film.
        """
        with self.changed:
            self._claimed.discard(film.id)
            self._held_back[film.id] = (time.monotonic() + delay_s, film.attempts - 1)

    def release(self, film: QueuedFilm, delay_s: float, *, counts: bool) -> None:
        """Put a claimed film back for later; `counts` says whether the attempt was one."""
        with self._transaction() as database:
            self._claimed.discard(film.id)
            database.set_attempts(film.id, film.attempts if counts else film.attempts - 1, delay_s)

    def score(self, film: QueuedFilm, results: Sequence[Result], destinations: Sequence[str]) -> None:
        """Replace a claimed film by its results, to be sent to each destination."""
        self._answer(film, results, destinations, "scored")

    def refuse(self, film: QueuedFilm, results: Sequence[Result] = (), destinations: Sequence[str] = ()) -> None:
        """Replace a claimed film that is not to be scored by the results that say so; without any, forget it."""
        if results:
            self._answer(film, results, destinations, "refused")
        else:
            self._forget(film, "refused")

    def _answer(self, film: QueuedFilm, results: Sequence[Result], destinations: Sequence[str], total: str) -> None:
        names: list[str] = []
        try:
            names.extend(self._files.write(result.data) for result in results)
            self._files.flush()
            with self._transaction() as database:
                database.mark_scored(film.id)
                for (name, result), destination in product(zip(names, results, strict=True), destinations):
                    database.add_delivery(film.id, name, result, destination)
                self._claimed.discard(film.id)
                database.count(total)
        except (OSError, sqlite3.Error):
            for name in names:  # they would pile up, for it is tried again
                self._files.remove(name)
            raise
        self._files.remove(film.path.name)

    def bury_film(self, film: QueuedFilm, reason: str) -> None:
        """Put a claimed film into the folder ``dead``."""
        self._files.bury(film.path.name, {"kind": "film", "reason": reason, "attempts": film.attempts})
        self._forget(film, "dead")

    def _forget(self, film: QueuedFilm, total: str) -> None:
        with self._transaction() as database:
            database.remove_film(film.id)
            self._claimed.discard(film.id)
            database.count(total)
        self._files.remove(film.path.name)

    def due(self, destination: str, limit: int = 64) -> list[Delivery]:
        """Return results to be sent to a destination, or to be confirmed by it, oldest first."""
        with self._lock:
            rows = self._database.due_deliveries(destination, limit)
        return [self._delivery(row) for row in rows]

    def _delivery(self, row: DeliveryRow) -> Delivery:
        return Delivery(row[0], self._files.path(row[1]), *row[2:])

    def accepted(self, delivery: Delivery, confirm_after_s: float) -> None:
        """Note that a destination accepted a result, which stays here until it is confirmed."""
        with self._transaction() as database:
            database.postpone_delivery(delivery, "accepted", delivery.attempts, confirm_after_s)

    def ask_again(self, delivery: Delivery, delay_s: float) -> None:
        """Ask a destination again later whether it has a result that it accepted."""
        with self._transaction() as database:
            database.postpone_delivery(delivery, "accepted", delivery.attempts + 1, delay_s)

    def postpone(self, delivery: Delivery, delay_s: float) -> None:
        """Send a result again later."""
        with self._transaction() as database:
            database.postpone_delivery(delivery, "waiting", delivery.attempts + 1, delay_s)

    def sent(self, delivery: Delivery) -> None:
        """Note that a destination has a result for good."""
        self._end(delivery)

    def bury_delivery(self, delivery: Delivery, reason: str) -> None:
        """Put a result that a destination will not take into the folder ``dead``."""
        note = {
            "kind": "result",
            "reason": reason,
            "attempts": delivery.attempts,
            "destination": delivery.destination,
            "sop_instance_uid": delivery.sop_instance_uid,
        }
        self._files.bury(delivery.path.name, note, suffix=f"-{delivery.id}")
        self._end(delivery, given_up=True)

    def _end(self, delivery: Delivery, *, given_up: bool = False) -> None:
        with self._transaction() as database:
            file_needed = database.remove_delivery(delivery, given_up=given_up)
            if given_up:
                database.count("dead")
        if not file_needed:
            self._files.remove(delivery.path.name)

    def counts(self) -> dict[str, int]:
        """Return how many films wait for scoring and results for sending, and the totals since the spool began."""
        with self._lock:
            return self._database.counts()

    def waiting(self) -> Waiting:
        """Return what waits, for scoring and for each destination, whether it is still sent to or not."""
        with self._lock:
            films, oldest = self._database.counts()["films_waiting"], self._database.oldest_film()
            rows = self._database.oldest_deliveries()
        results = {
            destination: WaitingResults(number, self._files.age_s(file), failures)
            for destination, (number, failures, file) in rows.items()
        }
        return Waiting(films, self._files.age_s(oldest) if oldest else 0.0, results)

    def redirect(self, old: str, new: str) -> int:
        """Send what waits for one destination to another, at once; return how many results.

        What waits for the other already is sent to it once.
        """
        with self._lock:
            rows = self._database.deliveries(old)
            doubles = [row for row in rows if self._database.waits(new, row[3])]
        for row in doubles:
            self._end(self._delivery(row))
        with self._transaction() as database:
            return database.redirect(old, new) + len(doubles)

    def bury_results(self, destination: str, reason: str) -> int:
        """Put all results that wait for a destination into the folder ``dead``; return how many."""
        with self._lock:
            deliveries = [self._delivery(row) for row in self._database.deliveries(destination)]
        for delivery in deliveries:
            self.bury_delivery(delivery, reason)
        return len(deliveries)

    def resend(self, result: Result, destination: str) -> None:
        """Send a result to one destination; nothing happens if it waits for it already."""
        with self._lock:
            if self._database.waits(destination, result.sop_instance_uid):
                return
        name = self._files.write(result.data)
        self._files.flush()
        with self._transaction() as database:
            database.add_delivery(database.add_scored_film(name), name, result, destination)
