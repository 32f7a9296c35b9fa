"""The settings of an external test; the fields with a help text are options of ``study test``."""

# ruff: noqa: RUF009 - `option` returns a field
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xraytransfer.study.runs.grid import EXISTING_FOLDER, FOLDER
from xraytransfer.study.runs.option_fields import option

__all__ = ["ExternalTestSettings"]


@dataclass(frozen=True, kw_only=True)
class ExternalTestSettings:
    """How runs are tested on the films of another data set; the help text of each option explains it.

    In addition to the help texts: `name` is the name of the test, `device` is ``cpu`` or ``cuda:N``, and `workers` is
    the number of processes that decode films.
    """

    name: str
    strangers_only: bool = option("Leave out the patients that a run knows, instead of refusing the run.", False)
    again: bool = option("Replace a test of this name.", False)
    own_folder: Path | None = option(
        "Where the runs' own data set is now. [default: as in config.json]", None, type=EXISTING_FOLDER
    )
    cache: Path | None = option("Folder of caches. [default: the cache of each run]", None, type=FOLDER)
    device: str = "cpu"
    workers: int = 1
