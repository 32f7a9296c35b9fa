"""The spool: films and results on disk from the moment they are accepted until somebody else has them.

Conventions
-----------
A film is *received* (on disk, acknowledged to its sender), then *scored* (its results are on disk), then *sent*
(every destination has every result). A row in SQLite (``synchronous=FULL``) says where each one stands; the
bytes are files. The order of writing makes each step safe against a process or machine that dies in the middle:

1. bytes are written under a new random name and flushed to the disk, and so is their folder;
2. one transaction makes them count;
3. files that no longer count are removed; those left over are removed when the spool is opened next.

File names are random and rows hold digests and our own UIDs: neither tells who the patient is. The folder
belongs to its user alone (0700). What cannot be handled is put into ``dead``, with a note that says why.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from itertools import product
from pathlib import Path

from xraytransfer.errors import ServeError
from xraytransfer.serve.spool.database import SpoolDatabase
from xraytransfer.serve.spool.files import SpoolFiles
from xraytransfer.serve.spool.items import Delivery, Film, Result, SpoolFullError

__all__ = ["MAX_ATTEMPTS", "Delivery", "Film", "Result", "Spool", "SpoolFullError"]

MAX_ATTEMPTS = 5
"""A film whose scoring ended this often without an answer (the process died, the engine failed) is given up."""


class Spool:
    """A durable queue in a folder. Safe to use from many threads of one process, and refuses a second process.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    capacity : int
        Most films that are received and not yet sent.
    min_free_bytes : int
        Room that must be left on the disk.

    Raises
    ------
    ServeError
        The folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path, *, capacity: int = 10_000, min_free_bytes: int = 512 * 2**20) -> None:
        self.folder = folder
        self._capacity, self._min_free_bytes = capacity, min_free_bytes
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        """Notified whenever there may be something to do."""
        self._claimed: set[int] = set()
        self._held_back: dict[int, tuple[float, int]] = {}  # until when (monotonic), attempts that count
        with ExitStack() as undo:
            try:
                self._files = SpoolFiles(folder)
                self._database = SpoolDatabase(folder)
                undo.callback(self._database.close)
                self._files.sweep(self._database.files())  # those that never came to count, or no longer do
                self._database.forget_dates()
            except (OSError, sqlite3.Error) as error:
                reason = getattr(error, "strerror", None) or error
                raise ServeError(f"the spool {folder} cannot be used: {reason}") from error
            undo.pop_all()

    @property
    def dead(self) -> Path:
        """Return the folder of what could not be handled."""
        return self._files.dead

    def close(self) -> None:
        """Give the folder free."""
        with self._lock:
            self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[SpoolDatabase]:
        """Hold the lock and one transaction; whoever waits is told when it is through."""
        with self.changed:
            with self._database.transaction():
                yield self._database
            self.changed.notify_all()

    def receive(self, data: bytes) -> bool:
        """Accept a film: when this returns, it survives whatever happens to this process.

        Returns
        -------
        bool
            False if the same bytes are waiting already.

        Raises
        ------
        SpoolFullError
            There is no room.
        """
        self._check_room(len(data))
        digest = hashlib.sha256(data).hexdigest()
        try:
            name = self._files.write(data)
            self._files.flush()
        except OSError as error:
            raise SpoolFullError(f"the spool cannot take a film: {error.strerror}") from error
        try:
            with self._transaction() as database:
                database.execute("INSERT INTO film (file, digest, state) VALUES (?, ?, 'received')", (name, digest))
                database.count("received")
        except sqlite3.IntegrityError:
            self._files.remove(name)
            return False
        except sqlite3.Error as error:
            self._files.remove(name)
            raise SpoolFullError(f"the spool cannot take a film: {error}") from error
        return True

    def _check_room(self, size: int) -> None:
        with self._lock:
            (taken,) = self._database.execute("SELECT count(*) FROM film WHERE state != 'sent'").fetchone()
        if taken >= self._capacity:
            raise SpoolFullError(f"{taken} films wait, {self._capacity} are allowed")
        free = shutil.disk_usage(self.folder).free
        if free - size < self._min_free_bytes:
            raise SpoolFullError(f"{free} bytes are free on the disk, {self._min_free_bytes} must stay free")

    def claim(self) -> Film | None:
        """Return a received film whose turn has come and that nobody else holds; None if there is none.

        The attempt is written down before it begins, so a film that kills the process is given up in the end.
        """
        with self.changed:
            rows = self._database.execute(
                "SELECT id, file, attempts FROM film WHERE state = 'received' AND due <= ? ORDER BY id",
                (time.time(),),
            )
            found = next((row for row in rows if self._is_free(row[0])), None)
            rows.close()
            if found is None:
                return None
            _, attempts = self._held_back.get(found[0], (0.0, found[2]))
            film = Film(found[0], self._files.path(found[1]), attempts + 1)
            self._database.execute("UPDATE film SET attempts = ? WHERE id = ?", (film.attempts, film.id))
            self._claimed.add(film.id)
            self._held_back.pop(film.id, None)
            return film

    def _is_free(self, film: int) -> bool:
        return film not in self._claimed and self._held_back.get(film, (0.0, 0))[0] <= time.monotonic()

    def hold_back(self, film: Film, delay_s: float) -> None:
        """Put a claimed film back for later without writing anything: for when the disk takes nothing.

        The attempt does not count, for nothing was wrong with the film.
        """
        with self.changed:
            self._claimed.discard(film.id)
            self._held_back[film.id] = (time.monotonic() + delay_s, film.attempts - 1)

    def release(self, film: Film, delay_s: float, *, counts: bool) -> None:
        """Put a claimed film back for later; `counts` says whether the attempt was one."""
        with self._transaction() as database:
            self._claimed.discard(film.id)
            database.execute(
                "UPDATE film SET due = ?, attempts = ? WHERE id = ?",
                (time.time() + delay_s, film.attempts if counts else film.attempts - 1, film.id),
            )

    def first_scored(self, uid: str) -> datetime:
        """Return when the result of this UID was first made; now if it never was, and remember it."""
        now = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
        with self._transaction() as database:
            database.execute("INSERT OR IGNORE INTO first_scored VALUES (?, ?)", (uid, now))
            (at,) = database.execute("SELECT at FROM first_scored WHERE uid = ?", (uid,)).fetchone()
        return datetime.fromisoformat(at)

    def score(self, film: Film, results: Sequence[Result], destinations: Sequence[str]) -> None:
        """Replace a claimed film by its results, to be sent to each destination."""
        names: list[str] = []
        try:
            names.extend(self._files.write(result.data) for result in results)
            self._files.flush()
            self._note_results(film, names, results, destinations)
        except (OSError, sqlite3.Error):
            for name in names:  # they would pile up, for it is tried again
                self._files.remove(name)
            raise
        self._files.remove(film.path.name)

    def _note_results(
        self, film: Film, names: Sequence[str], results: Sequence[Result], destinations: Sequence[str]
    ) -> None:
        with self._transaction() as database:
            database.execute("UPDATE film SET state = 'scored' WHERE id = ?", (film.id,))
            for (name, result), destination in product(zip(names, results, strict=True), destinations):
                database.execute(
                    "INSERT INTO delivery (film, file, sop_class_uid, sop_instance_uid, destination) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (film.id, name, result.sop_class_uid, result.sop_instance_uid, destination),
                )
            self._claimed.discard(film.id)
            database.count("scored")

    def refuse(self, film: Film) -> None:
        """Forget a claimed film that is no film to be scored."""
        with self._transaction() as database:
            database.execute("DELETE FROM film WHERE id = ?", (film.id,))
            self._claimed.discard(film.id)
            database.count("refused")
        self._files.remove(film.path.name)

    def bury_film(self, film: Film, reason: str) -> None:
        """Put a claimed film into the folder ``dead``."""
        self._files.bury(film.path.name, {"kind": "film", "reason": reason, "attempts": film.attempts})
        with self._transaction() as database:
            database.execute("DELETE FROM film WHERE id = ?", (film.id,))
            self._claimed.discard(film.id)
            database.count("dead")
        self._files.remove(film.path.name)

    def due(self, destination: str, limit: int = 64) -> list[Delivery]:
        """Return results to be sent to a destination, or to be confirmed by it, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT id, file, sop_class_uid, sop_instance_uid, destination, state, attempts FROM delivery "
                "WHERE destination = ? AND due <= ? ORDER BY id LIMIT ?",
                (destination, time.time(), limit),
            ).fetchall()
        return [Delivery(row[0], self._files.path(row[1]), *row[2:]) for row in rows]

    def accepted(self, delivery: Delivery, confirm_after_s: float) -> None:
        """Note that a destination said yes; the result stays here until it is confirmed."""
        with self._transaction() as database:
            database.execute(
                "UPDATE delivery SET state = 'accepted', due = ? WHERE id = ?",
                (time.time() + confirm_after_s, delivery.id),
            )

    def postpone(self, delivery: Delivery, delay_s: float) -> None:
        """Send again later."""
        with self._transaction() as database:
            database.execute(
                "UPDATE delivery SET state = 'waiting', attempts = attempts + 1, due = ? WHERE id = ?",
                (time.time() + delay_s, delivery.id),
            )

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
        self._files.bury(delivery.path.name, note)
        self._end(delivery, "dead")

    def _end(self, delivery: Delivery, count: str | None = None) -> None:
        """Forget a delivery; its file goes with the last one that needs it, its film with the last of all."""
        with self._transaction() as database:
            (film,) = database.execute("SELECT film FROM delivery WHERE id = ?", (delivery.id,)).fetchone()
            database.execute("DELETE FROM delivery WHERE id = ?", (delivery.id,))
            file = database.execute("SELECT 1 FROM delivery WHERE file = ?", (delivery.path.name,)).fetchone()
            if database.execute("SELECT 1 FROM delivery WHERE film = ?", (film,)).fetchone() is None:
                database.execute("DELETE FROM film WHERE id = ?", (film,))
                database.count("sent")
            if count is not None:
                database.count(count)
        if file is None:
            self._files.remove(delivery.path.name)

    def counts(self) -> dict[str, int]:
        """Return how many films wait for scoring and results for sending, and totals since the spool began."""
        with self._lock:
            return self._database.counts()
