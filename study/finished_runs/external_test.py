"""The test of a finished run on the films of another data set, whose patients it does not know."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.plural import counted
from xraytransfer.study.data.cache import FilmCache, build_cache
from xraytransfer.study.data.external_predictions import (
    check_name,
    external_folder,
    external_names,
    films_sha256,
    labels_sha256,
    read_external,
    write_external,
)
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.labels import apply_policy, parse_policy
from xraytransfer.study.data.placement import FilmPixels, placement_of
from xraytransfer.study.data.predictions import Predictions, predictions_of
from xraytransfer.study.finished_runs.known_films import KnownFilms, known_films
from xraytransfer.study.finished_runs.settings import ExternalTestSettings
from xraytransfer.study.networks.network import Network
from xraytransfer.study.training.metrics_file import macro_and_each, observed_columns
from xraytransfer.study.training.predict import predict_rows, save_array
from xraytransfer.study.training.run_folder import Run, load_run

__all__ = ["ExternalFilms", "auroc_text", "is_stored", "run_external_test", "target_labels"]

Networks = dict[str, Callable[[], Network]]
"""A name for each network of a run, and the function that loads it."""


@dataclass(frozen=True, eq=False)
class ExternalFilms:
    """The films that runs are tested on.

    Attributes
    ----------
    table : FilmTable
        All films.
    name_space : str
        Name space of their patients; see `xraytransfer.study.finished_runs.known_films`.
    source : mapping
        Description of the data set for the record of the test.
    """

    table: FilmTable
    name_space: str
    source: Mapping[str, Any]


def run_external_test(
    folder: Path, films: ExternalFilms, settings: ExternalTestSettings, stop: Callable[[], None]
) -> str:
    """Predict the films with every checkpoint of a run and with their soup, and store the predictions with the run.

    Parameters
    ----------
    folder : Path
        The run folder.
    films : ExternalFilms
        The films to test on.
    settings : ExternalTestSettings
        How to test.
    stop : callable
        Raises `Interrupted` if the process was asked to end; the predictions of each network that is complete are
        kept.

    Returns
    -------
    str
        A line for the user.

    Raises
    ------
    StudyError
        If the run is not done or has no weights, if the films are labelled for none of the six observations that it
        was trained for, or show patients that it knows, or if another test of this name is stored.
    """
    check_name(settings.name)
    run = load_run(folder)
    outputs = _outputs(run, films.table)
    networks = _networks(run)
    with FolderLock(folder, wait=True):
        rows, columns = (int(side) for side in run.config["resolution"])
        root = settings.cache or _cache_root(run)
        recipe = (rows, columns), str(run.config["intensity"]), placement_of(run.config)
        cache = build_cache(root, films.table, *recipe, workers=settings.workers)
        known = known_films(run.config, settings.own_folder)
        tested, left_out = _select_films(run, films, known, cache, strangers_only=settings.strangers_only)
        labelled = _without_probability(run, films.table.subset(tested), outputs)
        if not settings.again and is_stored(folder, settings.name, labelled):
            return f"{run.name}: {settings.name} was done before"
        parts = _parts(folder, settings.name) / _inputs_sha256(run, labelled, cache, tested)[:12]
        predictions = _predict(run, networks, labelled, cache.pixels, tested, parts=parts, settings=settings, stop=stop)
        record = {
            "kind": "external",
            **films.source,
            "labels_absent": [name for name in run.config["outputs"] if name not in outputs],
            "label_policy": run.config["label_policy"],
            "left_out": left_out,
            "patients_compared": films.name_space == known.name_space,
        }
        write_external(folder, settings.name, predictions, record)
        shutil.rmtree(_parts(folder, settings.name))
    return f"{run.name}: {auroc_text(predictions)}{_remarks(record, predictions)}"


def _cache_root(run: Run) -> Path:
    """Return the folder of caches of a run: where it was planned, or, if its results folder was moved, beside it."""
    planned, beside = Path(run.config["data"]["cache"]), run.folder.resolve().parents[1] / "cache"
    return beside if beside.is_dir() and not planned.is_dir() else planned


def auroc_text(predictions: Predictions) -> str:
    """Return the macro AUROC of the ensemble and of the soup over the six observations, and the number of films."""
    columns = observed_columns(predictions.observations.tolist())
    models = {"ensemble": predictions.ensemble()} if len(predictions.checkpoint_steps) else {}
    if predictions.soup is not None:
        models["soup"] = predictions.soup
    label = predictions.label[:, columns]
    values = ", ".join(
        f"{name} {macro_and_each(label, probability[:, columns])[0]:.4f}" for name, probability in models.items()
    )
    patients = counted(len(np.unique(predictions.patient)), "patient")
    return f"macro AUROC {values} on {counted(len(predictions.image), 'film')} of {patients}"


def _remarks(record: Mapping[str, Any], predictions: Predictions) -> str:
    """Return in parentheses what else the user must know about a test; empty if there is nothing."""
    left_out = record["left_out"]
    parts = []
    if not len(predictions.checkpoint_steps):
        parts.append("by the soup alone, the run was thinned")
    if left_out["known_patients"]:
        parts.append(
            f"{counted(left_out['known_patients'], 'patient')} that the run knows left out "
            f"({counted(left_out['known_films'], 'film')})"
        )
    if not record["patients_compared"]:
        parts.append("patients counted in another name space than the run's, so only names of images were compared")
    return f" ({'; '.join(parts)})" if parts else ""


def _outputs(run: Run, table: FilmTable) -> list[str]:
    """Return the outputs of the run that the films are labelled for."""
    outputs = [name for name in run.config["outputs"] if name in table.observations]
    if not observed_columns(outputs):
        raise StudyError(
            f"{run.folder}: none of the six observations that it was trained for is labelled in {table.name}"
        )
    return outputs


def _networks(run: Run) -> Networks:
    """Return the networks of the run: every checkpoint that is there, by its step, and the soup."""
    run.kept_weights.require_soup(run.folder)
    if not run.checkpoints:
        raise StudyError(f"{run.folder}: the run keeps no checkpoints; train it again")
    checkpoints = run.checkpoints if run.kept_weights.keep == "all" else []
    return {**{f"{kept.step:08d}": partial(run.load_network, kept) for kept in checkpoints}, "soup": run.load_soup}


def _select_films(
    run: Run, films: ExternalFilms, known: KnownFilms, cache: FilmCache, *, strangers_only: bool
) -> tuple[NDArray[np.intp], dict[str, Any]]:
    """Return the rows of the films that the run is tested on, and the record of those that are left out."""
    table = films.table
    excluded = known.patients_of(table, films.name_space)
    patients = np.unique(table.patient[excluded])
    if len(patients) and not strangers_only:
        first = ", ".join(str(name) for name in table.image[excluded][:3])
        by_name = ""
        if films.name_space != known.name_space:
            by_name = ". Only names of images were compared; if these are other films, give them other names"
        raise StudyError(
            f"{run.folder}: it was trained with {counted(len(patients), 'patient')} of these films "
            f"({counted(int(excluded.sum()), 'film')}, first {first}): no test; --strangers-only leaves them out"
            f"{by_name}"
        )
    rows = np.flatnonzero(cache.done & ~excluded)
    if not len(rows):
        raise StudyError(f"{run.folder}: no film is left: all show patients that the run knows, or cannot be read")
    reasons = dict(zip(*np.unique(list(cache.refused.values()), return_counts=True), strict=True))
    return rows, {
        "known_patients": len(patients),
        "known_films": int(excluded.sum()),
        "refused": {str(reason): int(count) for reason, count in reasons.items()},
        "notes": table.notes,
    }


def _without_probability(run: Run, table: FilmTable, outputs: list[str]) -> Predictions:
    """Return the films and their labels under the run's policy, with no member yet."""
    label = target_labels(run, table.select(outputs), outputs)
    return predictions_of(table, outputs, label, np.zeros((len(table), 0, len(outputs)), np.float32), [])


def target_labels(run: Run, raw: NDArray[np.float32], observations: list[str]) -> NDArray[np.float32]:
    """Return labels under the label policy of a run.

    Parameters
    ----------
    run : Run
        The run.
    raw : NDArray
        float32, shape (films, observations), as for `apply_policy`.
    observations : list of str
        Some of the outputs of the run.

    Returns
    -------
    NDArray
        float32, same shape: 1, 0, or NaN for masked.
    """
    trained: list[str] = run.config["outputs"]
    policies = dict(zip(trained, parse_policy(run.config["label_policy"], trained), strict=True))
    return apply_policy(raw, [policies[name] for name in observations])


def is_stored(folder: Path, name: str, films: Predictions) -> bool:
    """Return whether a run has stored this test; raise `StudyError` if it has stored another one of this name."""
    if name not in external_names(folder):
        return False
    external = read_external(folder, name)
    record, stored = external.record, external.predictions
    if films_sha256(films.image) != record["films_sha256"]:
        other = "has other films"
    elif labels_sha256(films) != record["labels_sha256"]:
        other = "has other labels"
    elif not (np.array_equal(films.patient, stored.patient) and np.array_equal(films.examination, stored.examination)):
        other = "names other patients or examinations of the same films"
    else:
        return True
    raise StudyError(
        f"{folder}: another test is called {name} ({record['films']} films of {record.get('data')}): it {other}; take "
        "another --name, or --again to replace it"
    )


def _predict(
    run: Run,
    networks: Networks,
    films: Predictions,
    pixels: FilmPixels,
    rows: NDArray[np.intp],
    *,
    parts: Path,
    settings: ExternalTestSettings,
    stop: Callable[[], None],
) -> Predictions:
    """Return the films with the probabilities of each network; a part that an earlier process stored is reused."""
    columns = [run.config["outputs"].index(name) for name in films.observations]
    device = torch.device(settings.device)
    probability: dict[str, NDArray[np.float32]] = {}
    for name, load in networks.items():
        part = parts / f"{name}.npy"
        if not part.is_file():
            network = load().to(device).to(memory_format=torch.channels_last)
            save_array(part, predict_rows(network, pixels, rows, device, stop))
        probability[name] = np.load(part, allow_pickle=False)[:, columns]
    soup = probability.pop("soup")
    members = np.stack(list(probability.values()), axis=1) if probability else films.probability
    steps = np.array([int(name) for name in probability], np.int64)
    return replace(films, probability=members, checkpoint_steps=steps, soup=soup)


def _inputs_sha256(run: Run, films: Predictions, cache: FilmCache, rows: NDArray[np.intp]) -> str:
    """Return the SHA-256 of what the predictions depend on: names and pixels of the films, and the checkpoints."""
    checksums = np.fromfile(cache.folder / "checksum.u32", np.uint32)[rows]
    return films_sha256([*films.image, *map(str, checksums), *(kept.sha256 for kept in run.checkpoints)])


def _parts(folder: Path, name: str) -> Path:
    """Return where the predictions of single networks are kept until the test is complete."""
    return external_folder(folder) / f"parts-{name}"
