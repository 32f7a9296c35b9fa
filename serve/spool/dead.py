"""The folder of what could not be handled: its entries, how old they are, and their way back into the queue."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom_results.results import Result

if TYPE_CHECKING:
    from xraytransfer.serve.spool.spool import Spool

__all__ = ["DeadObject", "bring_back", "dead_objects", "remove_dead"]


@dataclass(frozen=True)
class DeadObject:
    """A film or a result that was given up.

    Attributes
    ----------
    name : str
        Names the entry: its files' name without ending.
    kind : str
        ``film`` or ``result``.
    reason : str
    destination : str
        Where the result was to go; empty for a film.
    age_s : float
        Seconds since it was given up.
    note : Path
        The file that says so; the object itself lies beside it.
    """

    name: str
    kind: str
    reason: str
    destination: str
    age_s: float
    note: Path

    @property
    def file(self) -> Path:
        """Path of the object itself, which may be missing."""
        return self.note.with_suffix(".dcm")


def dead_objects(folder: Path) -> list[DeadObject]:
    """Return the entries of the folder ``dead``, oldest first.

    Raises
    ------
    ServeError
        A note cannot be read.
    """
    return sorted((_read(note) for note in folder.glob("*.json")), key=lambda entry: -entry.age_s)


def _read(note: Path) -> DeadObject:
    try:
        content = json.loads(note.read_text("utf-8"))
        buried = datetime.fromisoformat(content["at"]).timestamp()
        return DeadObject(
            name=note.stem,
            kind=str(content["kind"]),
            reason=str(content["reason"]),
            destination=str(content.get("destination", "")),
            age_s=max(0.0, time.time() - buried),
            note=note,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServeError(
            f"{note}: no note of this program ({type(error).__name__}); move it elsewhere, with the .dcm of its name"
        ) from error


def bring_back(spool: Spool, entry: DeadObject, destination: str | None = None) -> None:
    """Put an entry back into the queue: a film to be scored, a result to be sent; then remove it from the folder.

    Parameters
    ----------
    spool : Spool
    entry : DeadObject
    destination : str, optional
        Where a result is to go. None: where it was to go before.

    Raises
    ------
    ServeError
        Its file is missing or damaged, or the spool takes nothing.
    """
    try:
        data = entry.file.read_bytes()
    except OSError as error:
        raise ServeError(f"{entry.name}: its file cannot be read: {error.strerror}") from error
    if entry.kind == "film":
        spool.receive(data)
    else:
        spool.resend(_result(entry, data), destination or entry.destination)
    remove_dead(entry)


def _result(entry: DeadObject, data: bytes) -> Result:
    try:
        meta = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=[]).file_meta
        return Result(data, str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID))
    except (InvalidDicomError, AttributeError, EOFError) as error:
        raise ServeError(f"{entry.name}: its file is damaged; `xraytransfer spool clear` removes it") from error


def remove_dead(entry: DeadObject) -> None:
    """Remove an entry for good."""
    entry.file.unlink(missing_ok=True)
    entry.note.unlink(missing_ok=True)
