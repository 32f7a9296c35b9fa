"""The progress of the runs of a study, read from their folders, from any terminal and at any time."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json
from xraytransfer.folder_lock import is_locked
from xraytransfer.plural import counted
from xraytransfer.study.data.missing_films import left_out_line
from xraytransfer.study.training.kept_weights import read_kept_weights

__all__ = ["RunStatus", "run_status", "summary", "table"]


@dataclass(frozen=True)
class RunStatus:
    """The progress of one run.

    Attributes
    ----------
    name : str
        Name of the run.
    state : str
        ``done``, ``running``, ``failed``, ``stopped`` or ``waiting``.
    step, steps : int
        Optimiser steps taken at the last evaluation or save, and the number of steps in all.
    validation_auroc : float or None
        The macro AUROC of the best checkpoint so far, on the validation films.
    images_per_second : float or None
        Speed at the last evaluation.
    seconds_left : float or None
        Time of training that is left at that speed; 0 if the run is done.
    reason : str
        Why the run failed; empty if it did not.
    keeps : str
        The weights that the run has: ``all``, or after ``study thin`` ``soup`` or ``predictions``.
    left_out : str
        A line that counts the films that were missing or refused; empty if there were none.
    seconds_whole : float or None
        Time that the whole training takes at that speed.
    """

    name: str
    state: str
    step: int
    steps: int
    validation_auroc: float | None
    images_per_second: float | None
    seconds_left: float | None
    reason: str = ""
    keeps: str = "all"
    left_out: str = ""
    seconds_whole: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for `json.dumps`."""
        return asdict(self)


def run_status(folder: Path) -> RunStatus:
    """Return the progress of a run.

    Raises
    ------
    StudyError
        If its config.json cannot be read.
    """
    config = read_json(folder / "config.json")
    try:
        preset = config["preset"]
        # which films are in a half, and so how many, is known only once the run has begun
        films = int(config["split"]["train"]["images"]) // (2 if config.get("half") else 1)
        steps = films // int(preset["batch"]) * int(preset["epochs"])
    except (KeyError, TypeError, ValueError) as error:
        path = folder / "config.json"
        raise StudyError(f"{path}: preset or split is absent or damaged; `study run` did not write it") from error
    step, best, rate = 0, None, None
    for row in _metrics(folder / "metrics.csv"):
        step = int(row["step"])
        value = float(row["validation_auroc"] or "nan")
        best = value if best is None or value > best else best
        rate = float(row["images_per_second"])
    # if no state was saved yet, the last evaluation counts
    with contextlib.suppress(StudyError, KeyError):
        saved = read_json(folder / "last" / "state.json")
        step = max(step, int(saved["step"]))
        steps = int(saved["steps"])  # absent in runs of older versions
    state, reason = "waiting", ""
    if (folder / "done.json").is_file():
        state, step = "done", steps
    elif is_locked(folder):
        state = "running"
    elif (folder / "failed.json").is_file():
        state, reason = "failed", str(read_json(folder / "failed.json").get("reason", ""))
    elif step or (folder / "log.txt").is_file():
        state = "stopped"
    whole = steps * int(preset["batch"]) / rate if rate and steps else None
    left = None if whole is None else whole * (steps - step) / steps
    left = 0.0 if state == "done" else left
    return RunStatus(
        folder.name,
        state,
        step,
        steps,
        best,
        rate,
        left,
        reason,
        read_kept_weights(folder).keep,
        left_out_line(config.get("data", {})),
        whole,
    )


def _metrics(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        # a line that is being written at this moment may be incomplete
        return [row for row in csv.DictReader(file) if row.get("images_per_second")]


def summary(runs: Sequence[RunStatus], slots: int = 1) -> str:
    """Return one line: how many runs are done, running and failed, and the time left at the speed so far.

    A run that has no speed yet counts as long as the others on average take as a whole. No time is given if none has.
    """
    counts = {state: sum(run.state == state for run in runs) for state in ("done", "running", "failed")}
    line = ", ".join(f"{count} {state}" for state, count in counts.items()) + f" of {counted(len(runs), 'run')}"
    unfinished = [run for run in runs if run.state not in ("done", "failed")]
    left = [run.seconds_left for run in unfinished if run.seconds_left is not None]
    whole = [run.seconds_whole for run in runs if run.seconds_whole is not None]
    unknown = len(unfinished) - len(left)
    if not unfinished or (unknown and not whole):
        return line
    seconds = sum(left) + (unknown * sum(whole) / len(whole) if unknown else 0)
    return f"{line}; about {_duration(seconds / min(slots, len(unfinished)))} left"


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def table(runs: Sequence[RunStatus]) -> str:
    """Return a table as text, with the summary below it."""
    width = max([len(run.name) for run in runs], default=3)
    lines = [f"{'run':{width}}  state    step           best AUROC  images/s  left"]
    for run in runs:
        best = "-" if run.validation_auroc is None else f"{run.validation_auroc:.4f}"
        rate = "-" if run.images_per_second is None else f"{run.images_per_second:.0f}"
        left = run.reason if run.state == "failed" else "-"
        if run.seconds_left is not None and run.state != "failed":
            left = _duration(run.seconds_left) if run.state != "done" else "-"
        if run.keeps != "all":
            left = f"thinned to {run.keeps}"
        lines.append(f"{run.name:{width}}  {run.state:7}  {f'{run.step}/{run.steps}':13}  {best:10}  {rate:>8}  {left}")
    running = max(1, sum(run.state == "running" for run in runs))
    left_out = dict.fromkeys(run.left_out for run in runs if run.left_out)
    return "\n".join([*lines, *left_out, summary(runs, running)])
