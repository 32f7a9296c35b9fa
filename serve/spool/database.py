"""The spool's database: the state of each film and result in SQLite; a row counts once its transaction is committed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from xraytransfer.errors import ServeError
from xraytransfer.serve.spool.files import DATABASE

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_results.results import Result

__all__ = ["Delivery", "DeliveryRow", "QueuedFilm", "SpoolDatabase"]

_FORMAT = 1
"""The number of the tables' form, in the file's ``user_version``; spools of version 0.2 and earlier hold 0 for 1."""
_SCHEMA = f"""
PRAGMA user_version = {_FORMAT};
CREATE TABLE IF NOT EXISTS film (
    id INTEGER PRIMARY KEY, file TEXT NOT NULL, digest TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS waiting ON film (digest) WHERE state = 'received';
CREATE TABLE IF NOT EXISTS delivery (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES film (id), file TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS undelivered ON delivery (destination, due);
CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, films INTEGER NOT NULL);
"""
_DELIVERIES = (
    "SELECT id, file, sop_class_uid, sop_instance_uid, destination, state, attempts FROM delivery WHERE destination = ?"
)
DeliveryRow: TypeAlias = tuple[int, str, str, str, str, str, int]
"""The fields of `Delivery`, with a file's name for its path."""
_TOTALS = ("received", "scored", "sent", "refused", "dead")


@dataclass(frozen=True)
class QueuedFilm:
    """A received film whose turn has come.

    Attributes
    ----------
    id : int
    path : Path
        DICOM file.
    attempts : int
        How often scoring it was begun, this time included.
    """

    id: int
    path: Path
    attempts: int


@dataclass(frozen=True)
class Delivery:
    """One result on its way to one destination.

    Attributes
    ----------
    id : int
    path : Path
        DICOM file.
    sop_class_uid, sop_instance_uid, destination : str
    state : str
        ``waiting`` to be sent, or ``accepted`` and to be confirmed.
    attempts : int
        How often it failed.
    """

    id: int
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    destination: str
    state: str
    attempts: int


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the names of the columns of each table."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", [name])] for name in tables
    }


class SpoolDatabase:
    """The rows of a spool; only one thread may use it at a time.

    Parameters
    ----------
    folder : Path
    longest_wait_s : float
        No row is ever put off for longer, so one that is due later was written under a wrong clock, and is due now.

    Raises
    ------
    ServeError
        Another process uses it, another version of this program wrote it, or it cannot be opened.
    """

    def __init__(self, folder: Path, longest_wait_s: float) -> None:
        self._longest_wait_s = longest_wait_s
        self._connection = sqlite3.connect(
            folder / DATABASE, timeout=0.5, isolation_level=None, check_same_thread=False
        )
        try:
            # Exclusive: the lock is kept until the connection is closed, so a second server cannot join.
            self._execute("PRAGMA locking_mode = EXCLUSIVE")
            self._execute("PRAGMA journal_mode = WAL")
            self._execute("PRAGMA synchronous = FULL")
            self._check_format(folder)
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except ServeError:
            self.close()
            raise
        except sqlite3.Error as error:
            self.close()
            locked = "locked" in str(error)
            why = "another process uses it; stop that server first" if locked else str(error)
            message = f"the spool {folder} cannot be used: {why}"
            raise ServeError(message) from error

    def _check_format(self, folder: Path) -> None:
        """Refuse the tables of another version before anything is read, written or swept by them."""
        (number,) = self._execute("PRAGMA user_version").fetchone()
        with closing(sqlite3.connect(":memory:")) as own:
            own.executescript(_SCHEMA)
            expected, found = _columns(own), _columns(self._connection)
        others = sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name])
        if number in (0, _FORMAT) and not others:
            return
        what = f"has format {number}" if number not in (0, _FORMAT) else f"has other columns in table {others[0]}"
        raise ServeError(
            f"the spool {folder} {what}: another version of xraytransfer wrote it, and this one, "
            f"{version('xraytransfer')}, reads format {_FORMAT}. Nothing in it was changed. Let the version that wrote "
            "it run until nothing waits, or give another folder"
        )

    def close(self) -> None:
        """Close the file and give up its lock."""
        self._connection.close()

    def _execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that happens inside, or nothing of it."""
        self._execute("BEGIN IMMEDIATE")
        try:
            yield
            self._execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def files(self) -> set[str]:
        """Return the names of the files that films and deliveries refer to."""
        received = {row[0] for row in self._execute("SELECT file FROM film WHERE state = 'received'")}
        return received | {row[0] for row in self._execute("SELECT file FROM delivery")}

    def count(self, name: str) -> None:
        """Add one to a total."""
        self._execute("INSERT INTO total VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET films = films + 1", name)

    def counts(self) -> dict[str, int]:
        """Return how many films wait for scoring and results for sending, and the totals since the spool began."""
        totals = dict(self._execute("SELECT name, films FROM total"))
        (films,) = self._execute("SELECT count(*) FROM film WHERE state = 'received'").fetchone()
        (results,) = self._execute("SELECT count(*) FROM delivery").fetchone()
        named = {f"{name}_total": totals.get(name, 0) for name in _TOTALS}
        return {"films_waiting": films, "results_waiting": results, **named}

    def add_film(self, file: str, digest: str) -> None:
        """Add a received film; raises `sqlite3.IntegrityError` if one with the same digest waits."""
        self._execute("INSERT INTO film (file, digest, state) VALUES (?, ?, 'received')", file, digest)

    def unsent_films(self) -> int:
        """Return the number of films that are received and not yet sent."""
        return int(self._execute("SELECT count(*) FROM film").fetchone()[0])

    def due_films(self) -> sqlite3.Cursor:
        """Return rows (id, file, attempts) of the films to be scored now, oldest first."""
        return self._execute(
            "SELECT id, file, attempts FROM film WHERE state = 'received' AND NOT (due > ? AND due <= ?) ORDER BY id",
            *self._not_yet(),
        )

    def set_attempts(self, film: int, attempts: int, delay_s: float = 0.0) -> None:
        """Note how often a film's scoring was begun, and when it is due next."""
        self._execute("UPDATE film SET due = ?, attempts = ? WHERE id = ?", time.time() + delay_s, attempts, film)

    def remove_film(self, film: int) -> None:
        """Forget a film."""
        self._execute("DELETE FROM film WHERE id = ?", film)

    def add_delivery(self, film: int, file: str, result: Result, destination: str) -> None:
        """Note that a result waits for a destination."""
        self._execute(
            "INSERT INTO delivery (film, file, sop_class_uid, sop_instance_uid, destination) VALUES (?, ?, ?, ?, ?)",
            *(film, file, result.sop_class_uid, result.sop_instance_uid, destination),
        )

    def mark_scored(self, film: int) -> None:
        """Note that a film's results are there (those of a refused film too): its own file is needed no more."""
        self._execute("UPDATE film SET state = 'scored' WHERE id = ?", film)

    def due_deliveries(self, destination: str, limit: int) -> Sequence[DeliveryRow]:
        """Return a destination's due rows, oldest first."""
        due = f"{_DELIVERIES} AND NOT (due > ? AND due <= ?) ORDER BY id LIMIT ?"
        return self._execute(due, destination, *self._not_yet(), limit).fetchall()

    def _not_yet(self) -> tuple[float, float]:
        """Return the times between which a row's turn has not come."""
        now = time.time()
        return now, now + self._longest_wait_s

    def oldest_film(self) -> str | None:
        """Return the file of the film that waits longest to be scored."""
        row = self._execute("SELECT file FROM film WHERE state = 'received' ORDER BY id LIMIT 1").fetchone()
        return None if row is None else str(row[0])

    def oldest_deliveries(self) -> dict[str, tuple[int, int, str]]:
        """Return, for each destination, its number of results, of failures among them, and the oldest one's file."""
        rows = self._execute(  # SQLite takes the bare column from the row of the minimum
            "SELECT destination, count(*), sum(attempts), file, min(id) FROM delivery GROUP BY destination ORDER BY 1"
        )
        return {destination: (results, failures, file) for destination, results, failures, file, _ in rows}

    def deliveries(self, destination: str) -> Sequence[DeliveryRow]:
        """Return all of a destination's rows, whether due or not, oldest first."""
        return self._execute(f"{_DELIVERIES} ORDER BY id", destination).fetchall()

    def redirect(self, old: str, new: str) -> int:
        """Give one destination's results to another, at once; return how many."""
        return self._execute(
            "UPDATE delivery SET destination = ?, state = 'waiting', attempts = 0, due = 0 WHERE destination = ?",
            *(new, old),
        ).rowcount

    def waits(self, destination: str, sop_instance_uid: str) -> bool:
        """Return whether a result waits for a destination."""
        row = self._execute(
            "SELECT 1 FROM delivery WHERE destination = ? AND sop_instance_uid = ?", destination, sop_instance_uid
        )
        return row.fetchone() is not None

    def add_scored_film(self, file: str) -> int:
        """Add a film whose only result is `file`; return its number."""
        cursor = self._execute("INSERT INTO film (file, digest, state) VALUES (?, '', 'scored')", file)
        return int(cursor.lastrowid or 0)

    def postpone_delivery(self, delivery: Delivery, state: str, attempts: int, delay_s: float) -> None:
        """Note a delivery's state, the number of its failures, and when it is due next."""
        self._execute(
            "UPDATE delivery SET state = ?, attempts = ?, due = ? WHERE id = ?",
            *(state, attempts, time.time() + delay_s, delivery.id),
        )

    def remove_delivery(self, delivery: Delivery, *, given_up: bool) -> bool:
        """Forget a delivery, and its film with the film's last one; return whether others need the same file.

        A film counts as sent unless one of its results was given up.
        """
        (film,) = self._execute("SELECT film FROM delivery WHERE id = ?", delivery.id).fetchone()
        self._execute("DELETE FROM delivery WHERE id = ?", delivery.id)
        if given_up:
            self._execute("UPDATE film SET state = 'given up' WHERE id = ?", film)
        if self._execute("SELECT 1 FROM delivery WHERE film = ?", film).fetchone() is None:
            (state,) = self._execute("SELECT state FROM film WHERE id = ?", film).fetchone()
            self.remove_film(film)
            if state != "given up":
                self.count("sent")
        return self._execute("SELECT 1 FROM delivery WHERE file = ?", delivery.path.name).fetchone() is not None
