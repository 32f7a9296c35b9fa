"""Files that are written whole or not at all, and the JSON documents in them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xraytransfer.errors import StudyError, XrayTransferError

__all__ = ["read_json", "write_bytes", "write_json", "write_with"]


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let a function fill a temporary file, and move that file onto `path` in one step.

    Where the disk is full, or the process ends at any moment, the file that was there before stays as it was, and
    no temporary file is left behind by a process that can still act.

    Parameters
    ----------
    path : Path
        The file; its folder is made where absent.
    write : callable
        Takes the path of the temporary file, which lies in the same folder and does not exist yet.

    Raises
    ------
    OSError
        The folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # other threads, and processes of other machines with the same number, may write the same file
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        write(temporary)
        with temporary.open("r+b") as file:  # Windows flushes only files that are open for writing
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, *, error: type[XrayTransferError]) -> None:
    """Write a file in one step, as `write_with`.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    data : bytes
        The whole content.
    error : type
        What is raised, with a message for people, where the file cannot be written.
    """
    try:
        os.stat(path.parent)
        write_with(path, lambda temporary: temporary.write_bytes(data))
    except OSError as cause:
        raise error(f"{path}: cannot be written: {cause.strerror}; nothing was left behind") from cause


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document in one step, as `write_with`.

    Parameters
    ----------
    path : Path
        The file; its folder is made where absent.
    document : object
        What `json.dumps` takes. NaN and infinity are refused with ValueError: an undefined number is None.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises
    ------
    StudyError
        The file is absent, cannot be read, or holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise StudyError(f"{path}: cannot be read as JSON: {cause}") from error
