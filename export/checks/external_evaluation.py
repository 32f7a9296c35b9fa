"""Evaluation of a model on an external test set: its metrics, and the model beside readers of the same films.

Conventions
-----------
Films that chose settings and films that only judge are evaluated apart, as the test set's ``use`` says. Intervals are
those of `xraytransfer.export.checks.evaluation`. A group that holds every film is left out: it is the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.constants import AVERAGE_READER
from xraytransfer.export.checks.evaluation import REPLICATES, interval_numbers, metric_rows, number_or_none
from xraytransfer.export.reader_counts import count_readers
from xraytransfer.study.data.external_test_set import IDENTIFIERS, ExternalTestSet
from xraytransfer.study.data.predictions import predictions_of
from xraytransfer.study.stats.bootstrap import resample_patients
from xraytransfer.study.stats.readers import ReaderComparison, compare_with_readers

__all__ = ["evaluate_parts"]

Floats = NDArray[np.float64]
Row = dict[str, Any]


def evaluate_parts(films: ExternalTestSet, probability: Floats) -> list[Row]:
    """Evaluate each part of a test set.

    Parameters
    ----------
    films : ExternalTestSet
        The films.
    probability : ndarray
        float, shape (films, 6): what the file answers as ``probability``.

    Returns
    -------
    list of dict
        The films that only judge first. ``use``, ``films``, ``patients``; ``metrics`` as
        `xraytransfer.export.checks.evaluation.metric_rows` has them: for all films, and the AUROC of groups;
        ``other_labels``, their name, and ``other_metrics``, AUROC by them; ``readers``: a row for each observation and
        reader, for the average reader, and for the other labels as if a person had given them, with ``sensitivity``,
        ``specificity``, ``model_sensitivity`` at that specificity, and their ``difference`` with the paired interval by
        patient; ``readers_equalled``: for each observation, how many of the ``readers`` who named it at all have a
        sensitivity that the model's reaches (``equalled``: the estimates are compared, not the intervals).
    """
    uses = sorted({str(use) for use in films.use}, key=lambda use: (use != "judge", use))
    parts = []
    for use in uses:
        rows = films.use == use
        parts.append(_part(films.subset(rows), probability[rows], use))
    return parts


def _part(films: ExternalTestSet, probability: Floats, use: str) -> Row:
    """Return the evaluation of the films of one use."""
    data = films.name if use == "all" else f"{films.name}, {use} films"
    rows = _metric_rows(data, films, films.label, probability)
    whole: Row = {"use": use, "films": len(films.table), "patients": len(np.unique(films.table.patient))}
    part = {**whole, "metrics": list(_without_repeats(rows, whole["films"]))}
    part |= {"other_labels": films.other_name, "other_metrics": []}
    if films.other_name:
        other = _metric_rows(f"{data}, {films.other_name}", films, films.other_label, probability)
        part["other_metrics"] = [row for row in other if row["subset"] == "all" and row["metric"] == "auroc"]
    readers = _reader_rows(films, probability)
    return {**part, "readers": readers, "readers_equalled": _equalled(readers, films.other_name)}


def _metric_rows(data: str, films: ExternalTestSet, label: NDArray[np.float32], probability: Floats) -> list[Row]:
    """Return the rows of all metrics and groups; the calibrated probability stands for the uncalibrated one too."""
    predictions = predictions_of(films.table, IDENTIFIERS, label, probability[:, None].astype(np.float32), [-1])
    rows = metric_rows(data, predictions, probability, np.random.default_rng(0))
    return [row for row in rows if row["metric"] != "ece_uncalibrated"]


def _without_repeats(rows: Sequence[Row], films: int) -> Iterator[Row]:
    """Yield all metrics of all films, and the AUROC of groups that are not all films."""
    sizes = {row["subset"]: row["n"] for row in rows if row["observation"] == "macro"}
    for row in rows:
        if row["subset"] == "all" or (row["metric"] == "auroc" and sizes[row["subset"]] < films):
            yield row


def _reader_rows(films: ExternalTestSet, probability: Floats) -> list[Row]:
    """Return the model beside each reader, and beside their average, on each observation."""
    if not films.readers:
        return []
    weights = resample_patients(films.table.patient, REPLICATES, np.random.default_rng(0))
    rows = []
    for k, observation in enumerate(IDENTIFIERS):
        answers = films.answers[:, :, k].astype(float)
        sets = {**{name: answers[[row]] for row, name in enumerate(films.readers)}, AVERAGE_READER: answers}
        if films.other_name:
            sets[films.other_name] = films.other_label[None, :, k].astype(float)
        for reader, said in sets.items():
            found = compare_with_readers(films.label[:, k], probability[:, k], said, weights)
            rows.append({"observation": observation, "reader": reader, **_comparison(found)})
    return rows


def _comparison(found: ReaderComparison) -> Row:
    difference = interval_numbers(found.difference)
    return {
        "sensitivity": number_or_none(found.sensitivity),
        "specificity": number_or_none(found.specificity),
        "model_sensitivity": number_or_none(found.model_sensitivity),
        "difference": difference.pop("value"),
        **difference,
        "n": found.images,
        "positives": found.positives,
    }


def _equalled(rows: Sequence[Row], other_labels: str | None) -> Row:
    """Return for each observation how many readers are equalled or beaten, as the model file holds it."""
    counts = count_readers(rows, (AVERAGE_READER, other_labels))
    return {name: {"equalled": count.equalled, "readers": count.readers} for name, count in counts.items()}
