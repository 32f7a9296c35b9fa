"""A connection to a destination, by C-STORE or STOW-RS, and what the destination answers."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from xraytransfer.errors import ServeError

if TYPE_CHECKING:
    from xraytransfer.serve.spool.database import Delivery

__all__ = ["Answer", "Connection", "SearchFailedError", "UnreachableError"]


class Answer(Enum):
    """A destination's answer to one result: it has it, may accept it later, or will never accept it."""

    TAKEN = "taken"
    LATER = "later"
    NEVER = "never"


class UnreachableError(ServeError):
    """The destination does not answer."""


class SearchFailedError(ServeError):
    """The destination answers, but could not search this time."""


class Connection(Protocol):
    """An open connection to a destination."""

    def store(self, delivery: Delivery) -> tuple[Answer, str]:
        """Send one result; return the answer and its status for the log.

        Raises
        ------
        UnreachableError
            No answer came.
        """

    def holds(self, delivery: Delivery) -> bool | None:
        """Return whether the destination has a result that it accepted; None if it does not offer such queries.

        Raises
        ------
        SearchFailedError
            It offers them, but this one failed.
        UnreachableError
            No answer came.
        """
