"""Corrected labels of the test films: the same predictions, evaluated once more where better labels are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.export.checks.evaluation import corrected_rows
from xraytransfer.files import read_json
from xraytransfer.plural import counted
from xraytransfer.study.data.other_labels import OtherLabels, read_other_labels
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.finished_runs.relabelling import relabel
from xraytransfer.study.training.run_folder import Run

__all__ = ["CorrectedTest", "Correction", "read_correction"]


@dataclass(frozen=True, eq=False)
class CorrectedTest:
    """The test films with corrected labels.

    Attributes
    ----------
    label : NDArray
        float32, shape (films, 6).
    rows : list of dict
        Further rows of the model file's ``metrics``.
    note : str
        A sentence for the card.
    """

    label: NDArray[np.float32]
    rows: list[dict[str, Any]]
    note: str


@dataclass(frozen=True, eq=False)
class Correction:
    """Labels that correct those of test films.

    Attributes
    ----------
    labels : OtherLabels
        The labels.
    judges, attribution : str
        Who corrected, and what is to be cited; empty where the mapping file says nothing.
    """

    labels: OtherLabels
    judges: str
    attribution: str

    def apply(self, run: Run, test: Predictions, calibrated: NDArray[np.float64]) -> CorrectedTest:
        """Evaluate the test films with corrected labels.

        Parameters
        ----------
        run : Run
            One of the runs, whose label policy is used.
        test : Predictions
            The test films.
        calibrated : ndarray
            float, shape (films, 6): what the file answers as ``probability``.

        Raises
        ------
        StudyError
            None of the test films has other labels.
        """
        films, counts = relabel(run, test, self.labels, correct=True)
        judges = self.judges or str(self.labels.source["data"])
        data = f"{run.config['data']['name']} test patients, labels corrected by {judges}"
        changed = sum(counts["labels_changed"].values())
        note = (
            f"Labels of {counted(counts['films_relabelled'], 'test film')} were corrected by {judges}, "
            f"{counted(changed, 'label')} changed.{f' To be cited: {self.attribution}.' if self.attribution else ''}"
        )
        rows = corrected_rows(data, test, films.label, calibrated, np.random.default_rng(0))
        return CorrectedTest(films.label, rows, note)


def read_correction(place: tuple[Path, Path] | None) -> Correction | None:
    """Read labels from a mapping file and the folder of its table; None where nothing is to be corrected.

    Raises
    ------
    StudyError
        A file cannot be read, or lacks a column.
    """
    if place is None:
        return None
    mapping, folder = place
    document = read_json(mapping)
    labels = read_other_labels(folder, mapping, {})
    return Correction(labels, str(document.get("judges") or ""), str(document.get("attribution") or ""))
