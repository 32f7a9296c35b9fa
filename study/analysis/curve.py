"""The curve of a run's training: what metrics.csv says of each evaluation."""

from __future__ import annotations

import csv

import numpy as np

from xraytransfer.errors import StudyError
from xraytransfer.study.analysis.results_folder import RunResult
from xraytransfer.study.stats import Floats

__all__ = ["read_curve"]


def read_curve(run: RunResult) -> dict[str, Floats]:
    """Return metrics.csv as columns.

    Returns
    -------
    dict of ndarray
        Column name to float64, shape (evaluations,); empty cells are NaN. Empty if the file is absent.

    Raises
    ------
    StudyError
        The file is damaged.
    """
    path = run.folder / "metrics.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = rows[0].keys() if rows else ()
    try:
        return {name: np.array([float(row[name] or "nan") for row in rows]) for name in columns}
    except (TypeError, ValueError) as error:
        raise StudyError(f"{path}: is damaged ({error}); delete it, and the run has no curve") from error
