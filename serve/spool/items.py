"""What a spool holds: films to be scored, results to be sent; and the error that it has no room."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xraytransfer.errors import ServeError

__all__ = ["Delivery", "Film", "Result", "SpoolFullError"]


class SpoolFullError(ServeError):
    """There is no room for another film."""


@dataclass(frozen=True)
class Film:
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
class Result:
    """An object to be sent.

    Attributes
    ----------
    data : bytes
        DICOM file.
    sop_class_uid, sop_instance_uid : str
    """

    data: bytes
    sop_class_uid: str
    sop_instance_uid: str


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
