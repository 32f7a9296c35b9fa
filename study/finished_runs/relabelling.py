"""Stored predictions of a finished run, evaluated with the labels of a CSV file instead of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xraytransfer.errors import StudyError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.plural import counted
from xraytransfer.study.data.external_predictions import (
    check_name,
    external_names,
    read_external,
    write_external,
)
from xraytransfer.study.data.other_labels import OtherLabels
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.finished_runs.external_test import auroc_text, is_stored, target_labels
from xraytransfer.study.training.metrics_file import observed_columns
from xraytransfer.study.training.run_folder import Run, load_run

__all__ = ["relabel", "relabel_run"]


def relabel_run(
    folder: Path, labels: OtherLabels, *, name: str, source: str = "test", correct: bool = False, again: bool = False
) -> str:
    """Store predictions of a run with other labels, as an external test.

    Parameters
    ----------
    folder : Path
        The run folder.
    labels : OtherLabels
        The other labels.
    name : str
        Name of the external test.
    source : str
        The films: ``test`` for the run's own test, or the name of an external test.
    correct : bool
        False: only the listed films and the labelled observations are evaluated, and an empty cell is masked. True:
        all films and observations are evaluated; where a cell is empty or a film is not listed, the stored label
        stays.
    again : bool
        Whether a stored test of this name is replaced.

    Returns
    -------
    str
        A line for the user.

    Raises
    ------
    StudyError
        If the run is not done or has no such predictions, if no film is listed or none of the six observations is
        labelled, if another test of this name is stored, or if `name` is `source`.
    """
    check_name(name)
    if name == source:
        raise StudyError(f"the test {name} would be replaced by its own films with other labels; take another --name")
    run = load_run(folder)
    with FolderLock(folder, wait=True):
        predictions, made_from = _read_source(run, source)
        relabelled, counts = relabel(run, predictions, labels, correct=correct)
        if not again and is_stored(folder, name, relabelled):
            return f"{run.name}: {name} was done before"
        record = {
            "kind": "relabelled",
            **labels.source,
            "source": source,
            **made_from,
            "correct": correct,
            "labels_absent": [output for output in run.config["outputs"] if output not in relabelled.observations],
            "label_policy": run.config["label_policy"],
            **counts,
        }
        write_external(folder, name, relabelled, record)
    changes = counted(sum(counts["labels_changed"].values()), "label")
    return f"{run.name}: {auroc_text(relabelled)} ({changes} changed)"


def _read_source(run: Run, source: str) -> tuple[Predictions, dict[str, Any]]:
    """Return the stored predictions that get other labels, and their checksum if they can be replaced later."""
    if source == "test":
        if run.config.get("test") == "untouched":
            raise StudyError(
                f"{run.folder}: kept its test patients untouched (--keep-test); there is nothing to relabel"
            )
        return run.predictions("test"), {}
    if source not in external_names(run.folder):
        raise StudyError(f"{run.folder}: has no external test {source}; run study test first")
    external = read_external(run.folder, source)
    return external.predictions, {"source_predictions_sha256": external.record["predictions_sha256"]}


def relabel(
    run: Run, predictions: Predictions, labels: OtherLabels, *, correct: bool
) -> tuple[Predictions, dict[str, Any]]:
    """Return predictions with other labels, and counts for the record.

    Parameters
    ----------
    run : Run
        Its label policy is used.
    predictions : Predictions
        Of any of its films.
    labels, correct
        As for `relabel_run`.

    Raises
    ------
    StudyError
        If no film is listed, none of the six observations is labelled, or a listed film is of another patient.
    """
    names = [str(name) for name in predictions.observations]
    shared = [name for name in names if name in labels.observations]
    if not observed_columns(shared):
        raise StudyError(f"{run.folder}: none of the six observations that it predicts has other labels")
    row_of = labels.rows_of(predictions)
    listed = row_of >= 0
    if not listed.any():
        raise StudyError(f"{run.folder}: none of its {len(listed)} films is among those with other labels")
    raw = labels.label[row_of[listed]][:, [labels.observations.index(name) for name in shared]]
    columns = np.array([names.index(name) for name in shared], np.intp)
    label = predictions.label.copy()
    cells = np.ix_(np.flatnonzero(listed), columns)
    before = label[cells]
    label[cells] = np.where(np.isnan(raw), before if correct else np.nan, target_labels(run, raw, shared))
    differs = (label[cells] != before) & ~(np.isnan(label[cells]) & np.isnan(before))
    counts = {
        "films_listed": len(labels.images),
        "films_relabelled": int(listed.sum()),
        "labels_changed": {name: int(differs[:, k].sum()) for k, name in enumerate(shared)},
    }
    relabelled = replace(predictions, label=label)
    return relabelled if correct else relabelled.subset(listed).select(columns), counts
