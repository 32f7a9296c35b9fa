"""The spool's database: where each film and result stands, in SQLite; a row counts when its transaction is through."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from xraytransfer.errors import ServeError
from xraytransfer.serve.spool.files import DATABASE

__all__ = ["SpoolDatabase"]

_REMEMBERED = timedelta(days=400)  # a film that comes again later gets a new date in its results
_SCHEMA = """
CREATE TABLE IF NOT EXISTS film (
    id INTEGER PRIMARY KEY, file TEXT NOT NULL, digest TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS waiting ON film (digest) WHERE state = 'received';
CREATE TABLE IF NOT EXISTS delivery (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES film (id), file TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS undelivered ON delivery (destination, due);
CREATE TABLE IF NOT EXISTS first_scored (uid TEXT PRIMARY KEY, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, films INTEGER NOT NULL);
"""


class SpoolDatabase:
    """The rows of a spool. To be used by one thread at a time.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ServeError
        Another process uses it, or it cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(
            folder / DATABASE, timeout=0.5, isolation_level=None, check_same_thread=False
        )
        try:
            # Exclusive: the lock is kept until the connection is closed, so a second server cannot join.
            self.execute("PRAGMA locking_mode = EXCLUSIVE")
            self.execute("PRAGMA journal_mode = WAL")
            self.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except sqlite3.Error as error:
            self.close()
            message = f"the spool {folder} cannot be used: {error}; does another server use it?"
            raise ServeError(message) from error

    def close(self) -> None:
        """Give the file free."""
        self._connection.close()

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run a statement; outside a transaction it is one."""
        return self._connection.execute(statement, values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all of it count, or nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.execute("ROLLBACK")
            raise

    def forget_dates(self) -> None:
        """Forget when results were first made that nobody will ask for again."""
        old = (datetime.now(timezone.utc) - _REMEMBERED).isoformat()
        self.execute("DELETE FROM first_scored WHERE at < ?", (old,))

    def files(self) -> set[str]:
        """Return the names of the files that count."""
        found = {row[0] for row in self.execute("SELECT file FROM film WHERE state = 'received'")}
        return found | {row[0] for row in self.execute("SELECT file FROM delivery")}

    def count(self, name: str) -> None:
        """Add one to a total."""
        self.execute("INSERT INTO total VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET films = films + 1", (name,))

    def counts(self) -> dict[str, int]:
        """Return how many films wait for scoring and results for sending, and totals since the spool began."""
        totals = dict(self.execute("SELECT name, films FROM total"))
        (films,) = self.execute("SELECT count(*) FROM film WHERE state = 'received'").fetchone()
        (results,) = self.execute("SELECT count(*) FROM delivery").fetchone()
        found = {f"{name}_total": totals.get(name, 0) for name in ("received", "scored", "sent", "refused", "dead")}
        return {"films_waiting": films, "results_waiting": results, **found}
