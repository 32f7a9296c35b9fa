"""External tests of finished runs: their predictions for other films, or for their test films under other labels.

Conventions
-----------
The files in ``predictions/external`` of the runs that are compared are read. Two runs have the same external test if
the films, their patients and the labels are the same; the largest such set of runs is reported, and the other runs are
named. Runs are compared by the ensemble of their checkpoints. Where a run of the test has predictions of its soup only,
because it was thinned before the test, all runs of this test are compared by their soups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.plural import counted
from xraytransfer.study.analysis.results_folder import Results, RunResult, judged_by, select_six
from xraytransfer.study.data.external_predictions import external_names, films_sha256, read_external
from xraytransfer.study.data.predictions import LabelledFilms, Predictions

__all__ = ["ExternalTest", "external_sentences", "read_external_tests"]

Models = Mapping[str, NDArray[np.float32]]
"""``ensemble``, ``best_checkpoint``, ``soup`` -> probabilities, float32, shape (films, observations).

A model that a run has no predictions of is absent.
"""


@dataclass(frozen=True, eq=False)
class ExternalTest:
    """One external test of the runs that are compared.

    Attributes
    ----------
    name : str
        Name of the test.
    record : mapping
        NAME.json of the first run, which describes the films.
    films : LabelledFilms
        The films, or examinations, with their labels for those of the six observations that have any.
    models : mapping
        Name of a run -> its probabilities of these films.
    model : str
        The model by which all runs are compared: ``ensemble``, or ``soup`` if a run has nothing else.
    unit : str
        ``film`` or ``examination``: what is judged, as on the runs' own test.
    absent : tuple of (str, str)
        Names of the other runs, and why the test does not have each.
    """

    name: str
    record: Mapping[str, Any]
    films: LabelledFilms
    models: Mapping[str, Models]
    model: str
    unit: str
    absent: tuple[tuple[str, str], ...]

    @property
    def observations(self) -> tuple[str, ...]:
        """Identifiers of the observations that are evaluated."""
        return tuple(str(name) for name in self.films.observations)

    def probability(self, run: str) -> NDArray[np.float32]:
        """Return the probabilities by which a run is compared: float32, shape (films, observations)."""
        return self.models[run][self.model]


def read_external_tests(results: Results) -> list[ExternalTest]:
    """Return the external tests of the runs of a results folder, sorted by name; unreadable ones are left out."""
    names = sorted({name for run in results.runs for name in external_names(run.folder)})
    tests = [_read_test(results.runs, name) for name in names]
    return [test for test in tests if test is not None]


def _read_test(runs: Sequence[RunResult], name: str) -> ExternalTest | None:
    """Return one test of the runs; None if no run has predictions of it that can be read."""
    groups: dict[tuple[str, str, str], dict[str, tuple[Mapping[str, Any], LabelledFilms, Models]]] = {}
    absent: list[tuple[str, str]] = []
    for run in runs:
        if name not in external_names(run.folder):
            absent.append((run.name, "not tested"))
            continue
        try:
            external = read_external(run.folder, name)
            six = select_six(external.predictions, run.name)
        except StudyError as error:
            absent.append((run.name, f"cannot be read: {error}".replace(str(run.folder), run.name)))
        else:
            record, patients = external.record, films_sha256(six.patient)
            key = str(record["films_sha256"]), str(record["labels_sha256"]), patients
            tested = _tested(six, judged_by(run.config))
            groups.setdefault(key, {})[run.name] = record, tested, _models(tested)
    if not groups:
        return None
    largest = max(groups.values(), key=len)
    others = [run_name for group in groups.values() if group is not largest for run_name in group]
    absent += [(run_name, "other films, patients or labels") for run_name in others]
    model = "ensemble" if all("ensemble" in models for _, _, models in largest.values()) else "soup"
    absent += [(run_name, f"no {model} is stored") for run_name in largest if model not in largest[run_name][2]]
    models = {run_name: models for run_name, (_, _, models) in largest.items() if model in models}
    record, films, _ = next(iter(largest.values()))
    return ExternalTest(name, record, films, models, model, judged_by(runs[0].config), tuple(sorted(absent)))


@dataclass(frozen=True, eq=False)
class _Tested(LabelledFilms):
    """Films, or examinations, with the probabilities of each model; None where there are none."""

    ensemble: NDArray[np.float32] | None
    best_checkpoint: NDArray[np.float32] | None
    soup: NDArray[np.float32] | None


def _tested(predictions: Predictions, unit: str) -> _Tested:
    """Return what is judged: films, or as on the runs' own test examinations."""
    members = len(predictions.checkpoint_steps) > 0
    tested = _Tested(
        **vars(predictions.films()),
        ensemble=predictions.ensemble() if members else None,
        best_checkpoint=predictions.best_checkpoint() if members else None,
        soup=predictions.soup,
    )
    return tested.by_examination() if unit == "examination" else tested


def _models(tested: _Tested) -> Models:
    models = {"ensemble": tested.ensemble, "best_checkpoint": tested.best_checkpoint, "soup": tested.soup}
    return {name: probability for name, probability in models.items() if probability is not None}


def external_sentences(tests: Sequence[ExternalTest]) -> tuple[str, ...]:
    """Return one sentence for each test: which films it has, and what was left out."""
    return tuple("; ".join([_films_text(test), *_remarks(test)]) + "." for test in tests)


def _films_text(test: ExternalTest) -> str:
    """Return the name of a test and its films."""
    record = test.record
    size = f"{counted(len(test.films.image), test.unit)} of {counted(len(np.unique(test.films.patient)), 'patient')}"
    if record.get("kind") == "relabelled":
        scope = "all films, corrected where labels are listed" if record.get("correct") else "the listed films only"
        changes = counted(sum(record["labels_changed"].values()), "label")
        return (
            f"{test.name}: the {record['source']} films with the labels of {record['data']} ({scope}): {size}, "
            f"{changes} changed"
        )
    return f"{test.name}: {size} of {record['data']}"


def _remarks(test: ExternalTest) -> Iterator[str]:
    """Yield what a reader needs to know about the films and the runs of a test."""
    record = test.record
    if record.get("patients_compared"):
        yield "no patient is one of the runs' training or validation patients"
    elif "patients_compared" in record:
        yield "identifiers of patients are of another name space, only names of images were compared"
    if left_out := record.get("left_out"):
        if patients := left_out["known_patients"]:
            yield f"{counted(patients, 'patient')} that the runs know left out"
        if refused := sum(left_out["refused"].values()):
            yield f"{counted(refused, 'film')} not readable"
    if rows := record.get("rows"):
        yield "rows " + ", ".join(f"{column} = {' or '.join(values)}" for column, values in rows.items())
    if record["labels_absent"]:
        yield f"no labels for {', '.join(name.replace('_', ' ') for name in record['labels_absent'])}"
    if test.model == "soup":
        yield "compared by the soup, because runs were thinned before the test"
    if test.absent:
        yield f"absent: {'; '.join(f'{name} ({reason})' for name, reason in test.absent)}"
