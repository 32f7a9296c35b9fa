"""The finished runs that a command works on, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors import SafetensorError

from xraytransfer.errors import StudyError
from xraytransfer.study.training.run import explain
from xraytransfer.study.training.run_folder import list_runs

__all__ = ["for_each_run", "run_folders"]


def run_folders(places: Sequence[Path]) -> list[Path]:
    """Return run folders: those given, and the finished runs of results folders.

    Raises
    ------
    StudyError
        If a place is neither, or a results folder has no finished run.
    """
    found: list[Path] = []
    for place in places:
        if (place / "config.json").is_file():
            found.append(place)
            continue
        done = [folder for folder in list_runs(place) if (folder / "done.json").is_file()]
        if not done:
            raise StudyError(f"{place}: neither a run (config.json) nor a results folder with a finished run")
        found += done
    return list({folder.resolve(): folder for folder in found}.values())


def for_each_run(
    places: Sequence[Path], action: Callable[[Path], str], log: Callable[[str], None], refuse: Callable[[str], None]
) -> int:
    """Work on each run; return how many were refused.

    Parameters
    ----------
    places : sequence of Path
        As for `run_folders`.
    action : callable
        Works on one run folder and returns a sentence on it.
    log, refuse : callable
        Take the sentence, and the reason why a run was refused; the others go on.
    """
    refused = 0
    for folder in run_folders(places):
        try:
            log(action(folder))
        except (StudyError, RuntimeError, OSError, MemoryError, SafetensorError) as error:
            reason = explain(error)
            refuse(f"refused: {reason if folder.name in reason else f'{folder.name}: {reason}'}")
            refused += 1
    return refused
