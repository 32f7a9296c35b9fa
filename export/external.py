"""External tests of an export: the finished file scores films of patients that its runs do not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.classifier import Classifier
from xraytransfer.errors import ExportError
from xraytransfer.export.card.external import part_sentence
from xraytransfer.export.checks.external_evaluation import evaluate_parts
from xraytransfer.export.checks.localisation import boxed_films, localisation, map_maximum
from xraytransfer.plural import counted
from xraytransfer.prediction import Prediction
from xraytransfer.study.data.external_predictions import origin_record, read_external
from xraytransfer.study.data.external_test_set import IDENTIFIERS, ExternalTestSet, read_external_test_set
from xraytransfer.study.data.patient_names import normalised_patient
from xraytransfer.study.data.run_data import RunData
from xraytransfer.study.finished_runs.known_films import KnownFilms, name_space
from xraytransfer.study.training.run_folder import Run

__all__ = ["ExternalResult", "check_judges", "read_test_sets", "score_strangers"]

Log = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class ExternalResult:
    """What a model file answers for an external test set.

    Attributes
    ----------
    document : dict
        An entry of ``external`` in the model file.
    images : NDArray
        str, shape (films,): names.
    probability : NDArray
        float64, shape (films, 6), calibrated.
    """

    document: dict[str, Any]
    images: NDArray[np.str_]
    probability: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Answers:
    """The answers for those films that could be read: their rows, probabilities, maxima of maps, gate's refusals."""

    rows: NDArray[np.intp]
    probability: NDArray[np.float64]
    maxima: list[dict[str, list[float]]]
    refused: int


def read_test_sets(places: Sequence[tuple[Path, Path]]) -> list[ExternalTestSet]:
    """Read external test sets, each from its mapping file and folder.

    Raises
    ------
    ExportError
        Two test sets have the same name.
    StudyError
        A test set cannot be read.
    """
    sets = [read_external_test_set(mapping, folder) for mapping, folder in places]
    names = [films.name for films in sets]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ExportError(f"--external: two test sets are called {min(twice)}; each needs a name of its own")
    return sets


def check_judges(sets: Sequence[ExternalTestSet], run: Run, chosen_by: str) -> None:
    """Refuse test sets in which patients whose films chose the members would judge them.

    Parameters
    ----------
    sets : sequence of ExternalTestSet
        The test sets.
    run : Run
        A member's run, which has the external test.
    chosen_by : str
        Name of the external test whose films chose.

    Raises
    ------
    ExportError
        A film of such a patient has another use than ``choose``.
    """
    chose = read_external(run.folder, chosen_by)
    record = origin_record(run.folder, chose) or {}
    space = name_space(run.config["data"]) if record.get("patients_compared") else str(record.get("data"))
    patients = frozenset(normalised_patient(str(name)) for name in chose.predictions.patient)
    known = KnownFilms(space, patients, tuple(map(str, chose.predictions.image)))
    for films in sets:
        wrong = known.patients_of(films.table, films.name_space) & (films.use != "choose")
        if wrong.any():
            patients_text = counted(len(np.unique(films.table.patient[wrong])), "patient")
            raise ExportError(
                f"--external {films.name}: {counted(int(wrong.sum()), 'film')} of {patients_text} whose films choose "
                f"the members (--chosen-by {chosen_by}) would judge them; let the column that `use` of the mapping "
                "file names say `choose` for these films, or leave them out"
            )


def score_strangers(
    classifier: Classifier, films: ExternalTestSet, known: KnownFilms, data: RunData, log: Log = lambda _: None
) -> ExternalResult:
    """Score an external test set with a model file, and evaluate its answers.

    Parameters
    ----------
    classifier : Classifier
        The model file, as users will have it.
    films : ExternalTestSet
        The test set.
    known : KnownFilms
        The films that the runs know: these, and all films of their patients, are left out.
    data : RunData
        The runs' own data: boxes of its test films count in the localisation.
    log : callable
        Takes each line for the user.

    Raises
    ------
    ExportError
        None of the films can be scored.
    """
    mask = known.patients_of(films.table, films.name_space)
    strangers = films.subset(~mask)
    answers = _score(classifier, films.name, strangers.table.path, log)
    scored = strangers.subset(answers.rows)
    images = [str(name) for name in scored.table.image]
    maxima = dict(zip(images, answers.maxima, strict=True))
    document: dict[str, Any] = {
        "name": films.name,
        "judges": films.judges,
        "attribution": films.attribution,
        "note": films.note,
        "films": len(images),
        "patients_compared": films.name_space == known.name_space,
        "left_out": {
            "known_patients": len(np.unique(films.table.patient[mask])),
            "known_films": int(mask.sum()),
            "unreadable": len(strangers.table) - len(images),
            "notes": films.table.notes,
        },
        "refused_by_quality_gate": answers.refused,
        "parts": evaluate_parts(scored, answers.probability),
        "localisation": _localisation(classifier, films, data, maxima, log),
    }
    for part in document["parts"]:
        log(part_sentence(document, part))
    return ExternalResult(document, scored.table.image, answers.probability)


def _score(classifier: Classifier, name: str, paths: Sequence[Path], log: Log) -> _Answers:
    """Score films; those that cannot be read are logged and left out."""
    rows, probability, maxima, refused = [], [], [], 0
    for row, outcome in enumerate(classifier.predict_many(paths, any_film=True)):
        if not isinstance(outcome, Prediction):
            log(f"{name}: left out: {outcome.message}")
            continue
        rows.append(row)
        probability.append(outcome.probability.astype(np.float64))
        maps = zip(IDENTIFIERS, outcome.activation_map, strict=True)
        maxima.append({observation: map_maximum(one) for observation, one in maps})
        refused += outcome.acceptance is not None and not outcome.acceptance.accepted
    if not rows:
        raise ExportError(f"{name}: none of its {counted(len(paths), 'film')} of strangers can be scored")
    return _Answers(np.array(rows), np.stack(probability), maxima, refused)


def _localisation(
    classifier: Classifier,
    films: ExternalTestSet,
    data: RunData,
    maxima: Mapping[str, Mapping[str, list[float]]],
    log: Log,
) -> dict[str, Any] | None:
    """Return how often maps point into boxes, on the strangers' films and the runs' own test films; None without."""
    test = {str(data.table.image[row]): data.table.path[row] for row in data.rows["test"]}
    own = list(boxed_films(films.boxes, list(test)))
    every = dict(maxima)
    if own:
        answers = _score(classifier, data.table.name, [test[image] for image in own], log)
        every |= {own[row]: points for row, points in zip(answers.rows, answers.maxima, strict=True)}
    boxes = boxed_films(films.boxes, list(every))
    if not boxes:
        return None
    drawn = {image: {box.observation: every[image][box.observation] for box in here} for image, here in boxes.items()}
    return {**localisation(boxes, drawn), "maxima": drawn}
