"""A connection to a destination, by C-STORE or STOW-RS, and what the destination answers."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from xraytransfer.errors import ServeError

if TYPE_CHECKING:
    from xraytransfer.serve.spool.database import Delivery

__all__ = ["Answer", "Connection", "UnreachableError"]


class Answer(Enum):
    """What a destination says to one result."""

    TAKEN = "taken"
    LATER = "later"
    NEVER = "never"


class UnreachableError(ServeError):
    """The destination cannot be talked to now."""


class Connection(Protocol):
    """An open way to a destination."""

    def store(self, delivery: Delivery) -> tuple[Answer, str]:
        """Send one result; return the answer and, for the log, its status.

        Raises
        ------
        UnreachableError
            No answer came.
        """

    def holds(self, delivery: Delivery) -> bool | None:
        """Ask whether the destination has a result that it took; None if it cannot be asked.

        Raises
        ------
        UnreachableError
            No answer came.
        """
