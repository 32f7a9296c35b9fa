"""Runs programs, and compares the six numbers that they print with others, or with what a document shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

GALLERY = Path(__file__).resolve().parents[2] / "docs" / "examples.md"
TOLERANCE = 1e-5
SHOWN = 1e-4  # the pages were written on one processor; others round otherwise


def run(*command: object, **options: Any) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in (line.split() for line in text.strip().splitlines())}


def assert_same(text: str, expected: dict[str, float], tolerance: float = TOLERANCE) -> None:
    found = numbers(text)
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=0, atol=tolerance)


def shown(page: Path, command: str) -> str:
    """Return what a page of the documents shows below a command."""
    text = re.search(rf"^{re.escape(command)}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert text, f"{page.name} shows no {command}"
    return text[1]


def assert_shown(command: str, text: str) -> None:
    assert_same(text, numbers(shown(GALLERY, f"$ {command}")), SHOWN)
