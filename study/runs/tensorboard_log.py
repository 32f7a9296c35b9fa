"""metrics.csv of each run as TensorBoard event files, to view the curves there."""

from __future__ import annotations

import csv
from pathlib import Path

from xraytransfer.errors import MissingExtraError
from xraytransfer.study.training.run_folder import list_runs

__all__ = ["write_logs"]


def write_logs(results: Path, logs: Path) -> int:
    """Write ``<logs>/<run name>/`` for every run with metrics; return how many there were.

    Parameters
    ----------
    results : Path
        Results folder of a study.
    logs : Path
        Folder of the event files; it is created if it is absent, and event files in it are replaced.

    Raises
    ------
    MissingExtraError
        If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError("tensorboard", "tensorboard") from error
    count = 0
    for folder in list_runs(results):
        path = folder / "metrics.csv"
        if not path.is_file():
            continue
        target = logs / folder.name
        for old in target.glob("events.out.tfevents.*"):
            old.unlink()
        writer = SummaryWriter(str(target))
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                step = int(row.pop("step"))
                for name, value in row.items():
                    if value:  # it is empty if it is undefined, or if the line is being written
                        writer.add_scalar(name, float(value), step)
        writer.close()
        count += 1
    return count
