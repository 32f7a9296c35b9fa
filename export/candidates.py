"""The candidates for the members of a file: the best checkpoint and the soup of each finished run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from xraytransfer.errors import ExportError, StudyError
from xraytransfer.export.compatible_runs import check_member, check_same
from xraytransfer.export.graph.model_writer import member_bytes
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.selection_report import Candidate
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.plural import counted
from xraytransfer.study.analysis.cost import measure_cost
from xraytransfer.study.data.external_predictions import external_names, origin_record, read_external
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.finished_runs.known_films import known_films
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.stats.auroc import macro_auroc
from xraytransfer.study.training.run_folder import Run, list_runs, load_run

__all__ = ["finished_runs", "read_candidates"]


def finished_runs(results: Path) -> list[Path]:
    """Return the folders of a results folder's runs.

    Raises
    ------
    ExportError
        It holds no run, or none that is done.
    """
    folders = list_runs(results)
    if not folders:
        raise ExportError(
            f"{results}: no run (no runs/NAME/config.json); --study needs the folder that `study run --results` named"
        )
    if not any((folder / "done.json").is_file() for folder in folders):
        raise ExportError(
            f"{results}: none of {counted(len(folders), 'run')} is finished; `xraytransfer study run` goes on where "
            f"it stopped"
        )
    return folders


def read_candidates(
    folders: Sequence[Path], options: ExportOptions
) -> tuple[Predictions, list[Candidate], list[tuple[str, str]]]:
    """Read the runs' predictions for the films that choose.

    Returns
    -------
    tuple
        The films that choose, with their labels; the candidates in the order of the runs; name and reason of each run,
        and of films that would choose, that are left out.

    Raises
    ------
    ExportError
        No run can be a member, or two cannot be in one file.
    """
    films: Predictions | None = None
    candidates: list[Candidate] = []
    left_out: list[tuple[str, str]] = []
    measure = cache(_milliseconds)
    weights: dict[tuple[str, ...], str] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        try:
            run = load_run(folder)
            check_member(run)
            same = weights.setdefault(tuple(kept.sha256 for kept in run.checkpoints), run.name)
            if same != run.name:
                raise StudyError(f"has the checkpoints of {same}, and would count double")
            stored, judging = _without_judges(run, _six(run, options.chosen_by), options)
        except (StudyError, ExportError) as error:
            left_out.append((folder.name, str(error).removeprefix(f"{folder}: ")))
            continue
        if films is None:
            films = stored
            if judging:
                left_out.append((str(options.chosen_by), judging))
        else:
            _check_together(candidates[0].run, run, films, stored)
        candidates += _candidates(run, stored, options, measure)
    if films is None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:3])
        raise ExportError(f"no run can be a member of {counted(len(left_out), 'run')}: {reasons}")
    return films, candidates, left_out


def _six(run: Run, chosen_by: str | None) -> Predictions:
    """Return predictions of the six observations for the films that choose; `StudyError` if the run is no candidate."""
    stored = run.predictions("validation") if chosen_by is None else _external(run, chosen_by)
    identifiers, names = [row.identifier for row in OBSERVATIONS], [str(name) for name in stored.observations]
    if missing := [name for name in identifiers if name not in names]:
        raise StudyError(f"predicted nothing for {', '.join(missing)}; a model file needs all six")
    six = stored.select(np.array([names.index(name) for name in identifiers]))
    if np.isnan(six.probability).any() or (six.soup is not None and np.isnan(six.soup).any()):
        raise StudyError("a probability for a film that chooses is NaN")
    if run.kept_weights.keep == "soup" and six.soup is None:
        raise StudyError("thinned to soup, and it stored no predictions of the soup")
    return six


def _external(run: Run, name: str) -> Predictions:
    """Return the predictions of an external test, unless they are of the run's own test films with other labels."""
    if name not in external_names(run.folder):
        found = ", ".join(external_names(run.folder)) or "none"
        raise StudyError(f"has no external test {name} (found: {found}); run `xraytransfer study test` first")
    stored = read_external(run.folder, name)
    if origin_record(run.folder, stored) is None:
        raise StudyError(f"{name} is of the test films, with other labels: what judges cannot choose")
    return stored.predictions


def _without_judges(run: Run, stored: Predictions, options: ExportOptions) -> tuple[Predictions, str]:
    """Return the films of an external test that may choose, and in words what was left out.

    A patient whose film is one of the run's test films judges the file, and cannot choose its members too.
    """
    if options.chosen_by is None:
        return stored, ""
    test = known_films(run.config, options.folder, splits=("test",))
    origin = origin_record(run.folder, read_external(run.folder, options.chosen_by)) or {}
    same = origin.get("patients_compared", True)
    judges = test.patients_of(stored, test.name_space if same else "")
    if judges.all():
        raise StudyError(f"all films of {options.chosen_by} show its own test patients: who judges cannot choose")
    patients = len(np.unique(stored.patient[judges]))
    text = (
        f"{counted(int(judges.sum()), 'film')} of {counted(patients, 'patient')} of the test: who judges cannot choose"
    )
    return stored.subset(~judges), text if patients else ""


def _check_together(first: Run, run: Run, films: Predictions, stored: Predictions) -> None:
    try:
        check_same(first, run)
    except ExportError as error:
        raise ExportError(
            f"{error}. One file cannot be chosen of both: name the runs that belong together (export RUN... --best K)"
        ) from None
    if not np.array_equal(films.image, stored.image) or not np.array_equal(films.label, stored.label, equal_nan=True):
        raise ExportError(f"{first.name} and {run.name} stored predictions of other films or other labels")


def _candidates(
    run: Run, stored: Predictions, options: ExportOptions, measure: Callable[..., float]
) -> list[Candidate]:
    """Return the candidates of one run."""
    architecture, truncation = run.architecture, int(run.config["truncation"])
    precision = "float16-weights" if architecture.name in options.int8_except else options.precision
    megabytes = member_bytes(run.empty_network(), precision) / 1e6
    milliseconds = None
    if options.max_ms is not None:
        milliseconds = measure(architecture, truncation, int(run.config["resolution"][0]))
    validation = None if options.chosen_by is None else _six(run, None)
    found = []
    if run.kept_weights.keep != "soup":
        best = 0 if validation is None else _best_member(stored)
        step, probability = int(stored.checkpoint_steps[best]), stored.probability[:, best]
        one = Candidate(run, "best checkpoint", probability, megabytes, milliseconds, f"{step},")
        found.append(replace(one, validation_auroc=_auroc(validation, step)))
    if stored.soup is not None and len(stored.checkpoint_steps) != 1:
        one = Candidate(run, "soup", stored.soup, megabytes, milliseconds)
        found.append(replace(one, validation_auroc=_auroc(validation, None)))
    return found


def _best_member(films: Predictions) -> int:
    """Return the index of the checkpoint with the highest macro AUROC on these films."""
    members = range(films.probability.shape[1])
    return int(np.nanargmax([macro_auroc(films.label, films.probability[:, member]) for member in members]))


def _auroc(films: Predictions | None, step: int | None) -> float | None:
    """Return the macro AUROC of the checkpoint of a step, or of the soup where the step is None."""
    if films is None:
        return None
    probability = films.soup
    if step is not None:
        probability = films.probability[:, list(films.checkpoint_steps).index(step)]
    return None if probability is None else macro_auroc(films.label, probability)


def _milliseconds(architecture: Architecture, truncation: int, side: int) -> float:
    return measure_cost(architecture, truncation, len(OBSERVATIONS), side).latency_ms
