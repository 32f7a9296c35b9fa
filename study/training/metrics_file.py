"""metrics.csv, one row per evaluation, and the AUROCs in it; a run that was killed and resumed has the same rows."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.files import write_with
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.stats.auroc import auroc

__all__ = ["MetricsFile", "macro_and_each", "observed_columns"]


class MetricsFile:
    """metrics.csv: one row per evaluation.

    Parameters
    ----------
    path : Path
        The file; rows in it are kept up to `evaluated_step`.
    observations : list of str
        Identifiers of the outputs.
    evaluated_step : int
        Step of the last evaluation that the resume state knows; -1 for none.
    """

    def __init__(self, path: Path, observations: list[str], evaluated_step: int) -> None:
        self.path = path
        self.columns = ["step", "examples", "epoch", "train_loss", "validation_auroc"]
        self.columns += [f"auroc_{name}" for name in observations] + ["learning_rate", "images_per_second"]
        rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                # the process may have been killed after it wrote a row and before it saved the state
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= evaluated_step]
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


def observed_columns(outputs: list[str]) -> list[int]:
    """Return the columns of the outputs that are among the six observations."""
    return [k for k, name in enumerate(outputs) if name in {row.identifier for row in OBSERVATIONS}]


def macro_and_each(label: NDArray[np.float32], probability: NDArray[np.float32]) -> tuple[float, list[float]]:
    """Return the mean AUROC over the observations that have one, and the AUROC of each.

    Parameters
    ----------
    label : NDArray
        float32, shape (films, observations); NaN is masked.
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
