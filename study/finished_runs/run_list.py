"""The run folders that a command works on, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xraytransfer.errors import StudyError
from xraytransfer.study.training.run_folder import list_runs

__all__ = ["run_folders"]


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the run folders among some folders, and the finished runs of the results folders among them.

    Raises
    ------
    StudyError
        If a folder is neither, or a results folder has no finished run.
    """
    runs: list[Path] = []
    for folder in folders:
        if (folder / "config.json").is_file():
            runs.append(folder)
            continue
        done = [run for run in list_runs(folder) if (run / "done.json").is_file()]
        if not done:
            raise StudyError(
                f"{folder}: neither a run (runs/NAME with config.json) nor a results folder with a finished run"
            )
        runs += done
    return list({run.resolve(): run for run in runs}.values())
