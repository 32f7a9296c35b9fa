"""What a run is judged by while it trains, and metrics.csv: one row per evaluation, also where the run was killed."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.files import write_with
from xraytransfer.study.stats.auroc import auroc

__all__ = ["Metrics", "macro_and_each"]


class Metrics:
    """metrics.csv: one row per evaluation.

    Parameters
    ----------
    path : Path
        The file; rows that are there are kept, up to `evaluated`.
    observations : list of str
        Identifiers of the outputs.
    evaluated : int
        Step of the last evaluation that the resumed state knows; -1 for none.
    """

    def __init__(self, path: Path, observations: list[str], evaluated: int) -> None:
        self.path = path
        self.columns = ["step", "examples", "epoch", "train_loss", "validation_auroc"]
        self.columns += [f"auroc_{name}" for name in observations] + ["learning_rate", "images_per_second"]
        rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                # a row may have been written after the state that is resumed from
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= evaluated]
        write_with(path, lambda temporary: self._write(temporary, rows))

    def _write(self, path: Path, rows: list[dict[str, str]]) -> None:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(rows)

    def add(self, values: list[object]) -> None:
        """Append a row."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in values])


def macro_and_each(label: NDArray[np.float32], probability: NDArray[np.float32]) -> tuple[float, list[float]]:
    """Return the mean AUROC over the observations that have one, and each.

    Parameters
    ----------
    label : NDArray
        float32, shape (films, observations); NaN masked.
    probability : NDArray
        float32, same shape.

    Returns
    -------
    macro : float
        NaN if no observation has both positives and negatives.
    each : list of float
        NaN where undefined.
    """
    each = [float(auroc(label[:, k], probability[:, k])) for k in range(label.shape[1])]
    defined = [value for value in each if not math.isnan(value)]
    return (sum(defined) / len(defined) if defined else math.nan), each
