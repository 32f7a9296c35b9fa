"""What a results folder holds, read for the report: finished runs, those left out, and why.

Conventions
-----------
Read are config.json, done.json, metrics.csv and predictions/test.npz of each run; nothing here needs torch.
Only the six observations of this project are judged, also where a run trained more outputs.
Runs are comparable if they were judged on the same films with the same labels, and trained with the same
settings apart from what the grid varies. The largest comparable set is reported; the rest is listed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.predictions import Predictions, read_predictions
from xraytransfer.study.training.presets import Preset
from xraytransfer.study.training.run_folder import list_runs

__all__ = ["Results", "RunResult", "read_curve", "read_results"]

_VARIED = ("architecture", "timm", "family", "row", "initialisation", "truncation", "seed", "weights", "writer")
"""Settings that a grid varies, or that say where things are."""


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
    test : Predictions
        On the test films; two members: the ensemble of the kept checkpoints, and the best of them alone. And the
        soup, where the run has one.
    checkpoints : int
        How many are in the ensemble.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    done: dict[str, Any]
    test: Predictions
    checkpoints: int

    @property
    def cell(self) -> tuple[str, str, int]:
        """Architecture, initialisation and truncation: what runs of several seeds share."""
        return self.config["architecture"], self.config["initialisation"], int(self.config["truncation"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config["seed"])


@dataclass(frozen=True, eq=False)
class Results:
    """The runs that are compared.

    Attributes
    ----------
    folder : Path
        The results folder.
    runs : tuple of RunResult
        Comparable ones, by name.
    left_out : tuple of (str, str)
        Names of other runs, and why each is not compared.
    observations : tuple of str
        Identifiers of what is judged, in this project's order.
    """

    folder: Path
    runs: tuple[RunResult, ...]
    left_out: tuple[tuple[str, str], ...]
    observations: tuple[str, ...]

    @property
    def test(self) -> Predictions:
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
        if (path / "failed.json").is_file() and not (path / "done.json").is_file():
            left_out.append((path.name, f"failed: {read_json(path / 'failed.json').get('reason', 'no reason given')}"))
        elif not (path / "done.json").is_file():
            left_out.append((path.name, "not finished"))
        elif read_json(path / "config.json").get("test") == "untouched":
            left_out.append((path.name, "kept the test patients untouched (--keep-test): a trial, not a result"))
        else:
            try:
                run = _read_run(path)
            except StudyError as error:
                left_out.append((path.name, f"cannot be read: {error}".replace(str(folder), "RESULTS")))
            else:
                groups.setdefault(_key(run), []).append(run)
    if not groups:
        raise StudyError(
            f"{folder}: no finished run to report on ({len(left_out)} unfinished, failed or left out); "
            "run `xraytransfer study run` first"
        )
    largest = max(groups, key=lambda key: len(groups[key]))
    chosen = groups.pop(largest)
    for others in groups.values():
        reason = f"other films, labels or settings than the {len(chosen)} runs compared: "
        reason += _difference(chosen[0].config, others[0].config)
        left_out += [(run.name, reason) for run in others]
    observations = tuple(str(name) for name in chosen[0].test.observations)
    return Results(folder, tuple(sorted(chosen, key=lambda run: run.name)), tuple(sorted(left_out)), observations)


def read_curve(run: RunResult) -> dict[str, NDArray[np.float64]]:
    """Return metrics.csv as columns.

    Returns
    -------
    dict of ndarray
        Column name to float64, shape (evaluations,); empty cells are NaN. Empty if the file is absent.
    """
    path = run.folder / "metrics.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = rows[0].keys() if rows else ()
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in columns}


def _read_run(folder: Path) -> RunResult:
    """Read one run, keeping of its members only what the report needs."""
    config, done = read_json(folder / "config.json"), read_json(folder / "done.json")
    predictions = read_predictions(folder / "predictions" / "test.npz")
    test = reduce_to_six(predictions, folder.name)
    return RunResult(folder.name, folder, config, done, test, predictions.probability.shape[1])


def reduce_to_six(predictions: Predictions, name: str, *, by_soup: bool = False) -> Predictions:
    """Return what the report needs of predictions: the six observations, and two members.

    Parameters
    ----------
    predictions : Predictions
        As stored.
    name : str
        Of the run, for messages.
    by_soup : bool
        False: the members are the ensemble of the checkpoints and the best of them. True: both are the soup.

    Raises
    ------
    StudyError
        If none of the six is there, or a probability is NaN.
    """
    columns = [
        column
        for observation in OBSERVATIONS
        for column in np.flatnonzero(predictions.observations == observation.identifier)
    ]
    if not columns:
        raise StudyError(f"{name}: none of the six observations was trained")
    best = -1 if by_soup else predictions.checkpoint_steps[0]
    first, second = (predictions.soup,) * 2 if by_soup else (predictions.ensemble(), predictions.probability[:, 0])
    if first is None or second is None:
        raise StudyError(f"{name}: no soup is stored")
    test = replace(
        predictions,
        observations=predictions.observations[columns],
        label=predictions.label[:, columns],
        probability=np.stack([first[:, columns], second[:, columns]], axis=1).astype(np.float32),
        checkpoint_steps=np.array([-1, best]),
        soup=None if predictions.soup is None else predictions.soup[:, columns],
    )
    if np.isnan(test.probability).any() or (test.soup is not None and np.isnan(test.soup).any()):
        raise StudyError(f"{name}: a probability is NaN")
    return test


def _key(run: RunResult) -> str:
    """Return what comparable runs share, as text."""
    settings = _settings(run.config)
    films = [run.test.image.tolist(), np.nan_to_num(run.test.label, nan=-1).tolist()]
    return json.dumps([settings, films], sort_keys=True)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that comparable runs share."""
    settings = {key: value for key, value in config.items() if key not in _VARIED}
    # settings that came after a run was trained count as off
    settings["preset"] = {**Preset("").to_dict(), **config.get("preset", {})}
    data = {key: value for key, value in config.get("data", {}).items() if key not in ("folder", "cache", "mapping")}
    if teacher := config.get("teacher"):
        settings["teacher"] = {key: value for key, value in teacher.items() if key != "folders"}
    return {**settings, "data": data}


def _difference(one: Mapping[str, Any], two: Mapping[str, Any], within: str = "") -> str:
    """Name the settings that differ."""
    first, second = (_settings(one), _settings(two)) if not within else (dict(one), dict(two))
    names = []
    for key in sorted(set(first) | set(second)):
        before, after = first.get(key), second.get(key)
        if isinstance(before, dict) and isinstance(after, dict) and not within:
            names += [part for part in _difference(before, after, f"{key}.").split(", ") if part != "labels or films"]
        elif before != after:
            names.append(f"{within}{key}")
    return ", ".join(names) or "labels or films"
