"""Finished runs of a results folder, read for the report, and the reasons why other runs are left out.

Conventions
-----------
config.json, done.json and predictions/test.npz of each run are read; nothing here needs torch.
Only the six observations of this project are evaluated, also where a run trained more outputs.
Runs are comparable if they were evaluated on the same films with the same labels, and trained with the same
settings apart from those that the grid varies. The largest comparable set is reported; the rest is listed.
Of several runs with the same settings and seed, as a copied folder makes them, one is compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.analysis.comparable_settings import other_network, settings_difference, shared_settings
from xraytransfer.study.data.predictions import LabelledFilms, Predictions, read_predictions
from xraytransfer.study.training.run_folder import list_runs

__all__ = ["Results", "RunPredictions", "RunResult", "judged_by", "read_results", "select_six"]

SCHEMA = 1
"""Of config.json, since version 0.1."""


@dataclass(frozen=True, eq=False)
class RunPredictions(LabelledFilms):
    """The probabilities of a run on its test films, from the three models that its checkpoints make.

    Attributes
    ----------
    ensemble : ndarray
        float32, shape (films, observations): mean of the kept checkpoints' probabilities.
    best_checkpoint : ndarray
        float32, shape (films, observations): the checkpoint with the best validation AUROC, alone.
    soup : ndarray or None
        float32, shape (films, observations): one network with the mean of the checkpoints' weights; None where
        the run stored none.
    """

    ensemble: NDArray[np.float32]
    best_checkpoint: NDArray[np.float32]
    soup: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class RunResult:
    """A finished run.

    Attributes
    ----------
    name : str
        Name of its folder.
    folder : Path
        Where it is.
    config, done : dict
        config.json and done.json.
    test : RunPredictions
        On the test films; on examinations, if its preset is judged by them.
    checkpoints : int
        How many are in the ensemble.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    done: dict[str, Any]
    test: RunPredictions
    checkpoints: int

    @property
    def cell(self) -> tuple[str, str, int]:
        """Architecture, initialisation and truncation, which the runs of all seeds share."""
        return self.config["architecture"], self.config["initialisation"], int(self.config["truncation"])

    @property
    def precision(self) -> str:
        """What it was trained in: with ``auto``, each machine chooses. Two where it was resumed on another machine."""
        return str(self.done.get("precision") or "not recorded")


@dataclass(frozen=True, eq=False)
class Results:
    """The runs that are compared.

    Attributes
    ----------
    folder : Path
        The results folder.
    runs : tuple of RunResult
        Comparable runs, by name.
    left_out : tuple of (str, str)
        Names of the other runs, and why each is not compared.
    observations : tuple of str
        Identifiers of the observations that are evaluated, in this project's order.
    """

    folder: Path
    runs: tuple[RunResult, ...]
    left_out: tuple[tuple[str, str], ...]
    observations: tuple[str, ...]

    @property
    def test(self) -> RunPredictions:
        """The test films, with the first run's predictions."""
        return self.runs[0].test

    def config(self, *path: str) -> Any:
        """Return a setting that all runs share, such as ``config("data", "name")``; None if absent."""
        value: Any = self.runs[0].config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def read_results(folder: Path) -> Results:
    """Read a results folder.

    Parameters
    ----------
    folder : Path
        With ``runs/``.

    Returns
    -------
    Results

    Raises
    ------
    StudyError
        There is no finished run.
    """
    groups: dict[str, list[RunResult]] = {}
    left_out: list[tuple[str, str]] = []
    for path in list_runs(folder):
        try:
            reason = _reason_against(path)
            run = None if reason else _read_run(path)
        except StudyError as error:
            reason, run = f"cannot be read: {error}".replace(str(folder), "RESULTS"), None
        if run is None:
            left_out.append((path.name, reason))
        else:
            groups.setdefault(_comparison_key(run), []).append(run)
    if not groups:
        found = f"{len(left_out)} unfinished, failed or left out" if left_out else "runs/NAME/config.json is absent"
        raise StudyError(
            f"{folder}: no finished run to report on ({found}); `xraytransfer study status --results {folder}` lists "
            "its runs, and `study run` trains them"
        )
    comparable = [
        _of_one_network(_without_copies(part, left_out), left_out)
        for found in groups.values()
        for part in _by_training_labels(found)
    ]
    runs, *rest = sorted(comparable, key=len, reverse=True)
    for others in rest:
        difference = settings_difference(runs[0].config, others[0].config)
        reason = f"other films, labels or settings than the {len(runs)} runs compared: {difference}"
        left_out += [(run.name, reason) for run in others]
    observations = tuple(str(name) for name in runs[0].test.observations)
    return Results(folder, tuple(sorted(runs, key=lambda run: run.name)), tuple(sorted(left_out)), observations)


def _by_training_labels(runs: Sequence[RunResult]) -> list[list[RunResult]]:
    """Return the runs in groups of those that were planned with the same labels.

    Test films and their labels are the same already; the labels of training films may have changed between two plans.
    Runs of versions that did not note their labels stay with the largest group.
    """
    known: dict[str, list[RunResult]] = {}
    unknown: list[RunResult] = []
    for run in runs:
        labels = run.config.get("data", {}).get("labels_sha256")
        (unknown if labels is None else known.setdefault(labels, [])).append(run)
    first, *rest = sorted(known.values(), key=len, reverse=True) or [[]]
    return [[*first, *unknown], *rest]


def _without_copies(runs: Sequence[RunResult], left_out: list[tuple[str, str]]) -> list[RunResult]:
    """Return the runs without those that have cell and seed of another, which would count as one more seed."""
    kept: dict[tuple[Any, ...], RunResult] = {}
    for run in runs:
        same = kept.setdefault((*run.cell, run.config.get("seed", run.name)), run)
        if same is not run:
            left_out.append((run.name, f"has the settings and the seed of {same.name}; is it a copy?"))
    return list(kept.values())


def _of_one_network(runs: Sequence[RunResult], left_out: list[tuple[str, str]]) -> list[RunResult]:
    """Return the runs without those whose architecture has the name of another network, with its first run.

    Seeds and cuts are trainings of one network, with and without pretraining each.
    """
    first: dict[tuple[str, str], RunResult] = {}
    kept = []
    # those that know their pretrained weights first: the others are compared with none
    for run in sorted(runs, key=lambda run: "sha256" not in run.config.get("weights", {})):
        differing = other_network(first.setdefault(run.cell[:2], run).config, run.config)
        if not differing:
            kept.append(run)
            continue
        other = first[run.cell[:2]].name
        reason = f"is of another network than {other}, although it has the same name: {', '.join(differing)}"
        left_out.append((run.name, reason))
    return kept


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise StudyError(f"{path}: holds no JSON object; `study run` did not write it")
    return found


def _reason_against(folder: Path) -> str:
    """Return why a run cannot be compared; empty for a finished run that used the test patients."""
    if not (folder / "done.json").is_file():
        if (folder / "failed.json").is_file():
            return f"failed: {_read_object(folder / 'failed.json').get('reason', 'no reason given')}"
        return "not finished"
    if _read_object(folder / "config.json").get("test") == "untouched":
        return "kept the test patients untouched (--keep-test): a trial, not a result"
    return ""


def _read_run(folder: Path) -> RunResult:
    """Read one run, and keep of its checkpoints' probabilities only what the report needs."""
    config, done = _read_object(folder / "config.json"), _read_object(folder / "done.json")
    _check_config(folder, config)
    if not isinstance(done.get("parameters", 0), int):
        raise StudyError(f"{folder / 'done.json'}: parameters is {done['parameters']!r}, expected a number")
    stored = select_six(read_predictions(folder / "predictions" / "test.npz"), folder.name)
    test = RunPredictions(
        **vars(stored.films()),
        ensemble=stored.ensemble(),
        best_checkpoint=stored.best_checkpoint(),
        soup=stored.soup,
    )
    if judged_by(config) == "examination":
        test = test.by_examination()
    return RunResult(folder.name, folder, config, done, test, stored.probability.shape[1])


def _check_config(folder: Path, config: Any) -> None:
    """Raise `StudyError` unless config.json is one that this version, or an older one, writes."""
    found = config if isinstance(config, dict) else {}
    if missing := [key for key in ("architecture", "family", "initialisation", "truncation") if key not in found]:
        raise StudyError(f"{folder / 'config.json'}: lacks {', '.join(missing)}; `study run` did not write it")
    if found.get("schema", SCHEMA) != SCHEMA:
        raise StudyError(
            f"{folder / 'config.json'}: is of schema {found['schema']}, {SCHEMA} expected; "
            f"{found.get('writer', 'another version')} wrote it"
        )


def judged_by(config: Mapping[str, Any]) -> str:
    """Return what a run's numbers are of: ``film`` or ``examination``."""
    return str((config.get("preset") or {}).get("judged_by", "film"))


def select_six(predictions: Predictions, run: str) -> Predictions:
    """Return the predictions of those of the six observations that the run was trained for.

    Raises
    ------
    StudyError
        If the run was trained for none of the six, or a probability is NaN. The message starts with the name `run`.
    """
    columns = [
        column
        for observation in OBSERVATIONS
        for column in np.flatnonzero(predictions.observations == observation.identifier)
    ]
    if not columns:
        raise StudyError(f"{run}: none of the six observations was trained")
    six = predictions.select(np.array(columns))
    if np.isnan(six.probability).any() or (six.soup is not None and np.isnan(six.soup).any()):
        raise StudyError(f"{run}: a probability is NaN")
    return six


def _comparison_key(run: RunResult) -> str:
    """Return as text what comparable runs share: settings, films and labels."""
    settings = shared_settings(run.config)
    films = [run.test.image.tolist(), np.nan_to_num(run.test.label, nan=-1).tolist()]
    return json.dumps([settings, films], sort_keys=True)
