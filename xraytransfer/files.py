"""Files that are whole or absent: written beside their place, then moved onto it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xraytransfer.errors import StudyError

__all__ = ["read_json", "write_json", "write_with"]


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then move it onto `path` in one step.

    A full disk, or the process's end at any moment, leaves the old file, if there was one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document in one step. NaN is refused: undefined numbers are null."""
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    write_with(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises
    ------
    StudyError
        If the file is absent or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read as JSON: {error}") from error
