"""The same films judged by other labels: stored predictions of a finished run under the labels of a CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.plural import counted
from xraytransfer.study.data.external_predictions import (
    check_name,
    comparable_names,
    external_names,
    read_external,
    write_external,
)
from xraytransfer.study.data.film_table import read_csv
from xraytransfer.study.data.labels import apply_policy, parse_policy
from xraytransfer.study.data.mapping_file import read_mapping
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.data.row_filter import RowFilter, row_matches
from xraytransfer.study.finished_runs.external_test import auroc_sentence, is_stored
from xraytransfer.study.training.run_folder import Run, load_run

__all__ = ["OtherLabels", "read_other_labels", "relabel_run"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OtherLabels:
    """Labels that films get in place of their own.

    Attributes
    ----------
    images : list of str
        Names of the images, one a row of `label`.
    observations : list of str
        Columns of `label`.
    label : NDArray
        float32, shape (rows, observations): 1, 0, -1 uncertain, NaN for an empty cell.
    source : mapping
        What the record says of them.
    """

    images: list[str]
    observations: list[str]
    label: Floats
    source: Mapping[str, Any]


def read_other_labels(folder: Path, mapping: Path, chosen: RowFilter) -> OtherLabels:
    """Read labels through a mapping file; it needs no column of patients.

    Parameters
    ----------
    folder : Path
        Where the CSV file is.
    mapping : Path
        The mapping file.
    chosen : RowFilter
        Only these rows are read.

    Raises
    ------
    StudyError
        If a file cannot be read, a column is missing, no row is left, or an image stands in two rows.
    """
    plan = read_mapping(mapping, needed=("table", "image", "labels"))
    images, labels = [], []
    for line, row in enumerate(read_csv(folder / plan.table, [*plan.columns(), *chosen]), start=2):
        if row_matches(row, plan.rows) and row_matches(row, chosen):
            images.append(row[plan.image])
            labels.append(plan.label(row, f"{plan.table} line {line}"))
    if not images:
        raise StudyError(f"{folder / plan.table}: no row is left")
    if len(set(images)) < len(images):
        raise StudyError(f"{folder / plan.table}: an image stands in two rows")
    source = {
        "data": plan.name,
        "folder": folder.resolve().name,
        "mapping": mapping.name,
        "rows": {column: sorted(values) for column, values in {**plan.rows, **chosen}.items()},
    }
    return OtherLabels(images, list(plan.labels), np.stack(labels), source)


def relabel_run(
    folder: Path, labels: OtherLabels, *, name: str, source: str = "test", correct: bool = False, again: bool = False
) -> str:
    """Store a run's predictions of known films under other labels.

    Parameters
    ----------
    folder : Path
        The run's.
    labels : OtherLabels
        The other labels.
    name : str
        Of the external test that this becomes.
    source : str
        Whose films: ``test`` for the run's own test, or the name of an external test.
    correct : bool
        False: only films that are listed, and only observations that are labelled; an empty cell is masked. True: all
        films and observations; where a listed film has an empty cell, and where a film is not listed, the stored
        label stays.
    again : bool
        Whether a test of this name is made anew.

    Returns
    -------
    str
        A sentence on what was done.

    Raises
    ------
    StudyError
        The run is not done or has no such predictions, no film is listed, none of the six is labelled, or another
        test of this name is there.
    """
    check_name(name)
    run = load_run(folder)
    with FolderLock(folder, wait=True):
        old = _stored(run, source)
        new, counts = _relabelled(run, old, labels, correct=correct)
        if not again and is_stored(folder, name, new):
            return f"{run.name}: {name} was done before"
        record = {
            "kind": "relabelled",
            **labels.source,
            "source": source,
            "correct": correct,
            "labels_absent": [one for one in run.config["outputs"] if one not in new.observations],
            "label_policy": run.config["label_policy"],
            **counts,
        }
        write_external(folder, name, new, record)
    changed = sum(counts["labels_changed"].values())
    return f"{run.name}: {auroc_sentence(new)} ({counted(changed, 'label')} changed)"


def _stored(run: Run, source: str) -> Predictions:
    """Return the predictions that get other labels."""
    if source == "test":
        if run.config.get("test") == "untouched":
            raise StudyError(
                f"{run.folder}: kept its test patients untouched (--keep-test); there is nothing to relabel"
            )
        return run.predictions("test")
    if source not in external_names(run.folder):
        raise StudyError(f"{run.folder}: has no external test {source}; run study test first")
    return read_external(run.folder, source).predictions


def _relabelled(
    run: Run, old: Predictions, labels: OtherLabels, *, correct: bool
) -> tuple[Predictions, dict[str, Any]]:
    """Return predictions with their new labels, and counts for the record."""
    names = [str(one) for one in old.observations]
    shared = [one for one in names if one in labels.observations]
    if not {o.identifier for o in OBSERVATIONS} & set(shared):
        raise StudyError(f"{run.folder}: none of the six observations that it predicts has other labels")
    listed_names, film_names = comparable_names(labels.images, old.image)
    row_of_name = {name: row for row, name in enumerate(listed_names)}
    row_of = np.array([row_of_name.get(name, -1) for name in film_names])
    listed = row_of >= 0
    if not listed.any():
        raise StudyError(f"{run.folder}: none of its {len(listed)} films is among those with other labels")
    columns = np.array([names.index(one) for one in shared], np.intp)
    trained: list[str] = run.config["outputs"]
    policies = dict(zip(trained, parse_policy(run.config["label_policy"], trained), strict=True))
    raw = labels.label[row_of[listed]][:, [labels.observations.index(one) for one in shared]]
    target = apply_policy(raw, [policies[one] for one in shared])
    label = old.label.copy()
    place = np.ix_(np.flatnonzero(listed), columns)
    before = label[place]
    label[place] = np.where(np.isnan(raw), before if correct else np.nan, target)
    differs = (label[place] != before) & ~(np.isnan(label[place]) & np.isnan(before))
    counts = {
        "films_listed": len(labels.images),
        "films_relabelled": int(listed.sum()),
        "labels_changed": {one: int(differs[:, k].sum()) for k, one in enumerate(shared)},
    }
    new = replace(old, label=label)
    return (new if correct else _narrowed(new.subset(listed), columns)), counts


def _narrowed(films: Predictions, columns: NDArray[np.intp]) -> Predictions:
    """Return predictions of some observations."""
    return replace(
        films,
        observations=films.observations[columns],
        label=films.label[:, columns],
        probability=films.probability[:, :, columns],
        soup=None if films.soup is None else films.soup[:, columns],
    )
