"""A finished run on the films of another data set, whose patients it does not know."""

from __future__ import annotations

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
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.plural import counted
from xraytransfer.study.data.cache import FilmCache, Progress, build_cache
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
from xraytransfer.study.data.predictions import Predictions, predictions_of
from xraytransfer.study.finished_runs.strangers import KnownFilms, known_films
from xraytransfer.study.networks.network import Network
from xraytransfer.study.training.metrics_file import macro_and_each
from xraytransfer.study.training.predict import np_save, predict_rows
from xraytransfer.study.training.run_folder import Run, load_run

__all__ = ["ExternalFilms", "ExternalTestOptions", "auroc_sentence", "is_stored", "run_external_test"]

Floats = NDArray[np.float32]
Networks = dict[str, Callable[[], Network]]
"""A name for each network of a run, and what loads it."""


@dataclass(frozen=True, eq=False)
class ExternalFilms:
    """The films that runs are tested on.

    Attributes
    ----------
    table : FilmTable
        All of them.
    name_space : str
        In which their patients are counted; see `xraytransfer.study.finished_runs.strangers`.
    source : mapping
        What the record of the test says of the data set.
    """

    table: FilmTable
    name_space: str
    source: Mapping[str, Any]


@dataclass(frozen=True)
class ExternalTestOptions:
    """How runs are tested.

    Attributes
    ----------
    name : str
        Of the test.
    strangers_only : bool
        Whether films of patients that the run knows are left out; otherwise the run is refused.
    again : bool
        Whether a test of this name is made anew.
    own_folder : Path or None
        Where the runs' own data set lies now; None for where their config.json says.
    cache : Path or None
        Folder of caches; None for each run's own.
    device : str
        ``cpu`` or ``cuda:N``.
    workers : int
        Processes that decode films.
    """

    name: str
    strangers_only: bool = False
    again: bool = False
    own_folder: Path | None = None
    cache: Path | None = None
    device: str = "cpu"
    workers: int = 1


def run_external_test(
    folder: Path,
    films: ExternalFilms,
    options: ExternalTestOptions,
    *,
    stop: Callable[[], None],
    progress: Progress | None = None,
) -> str:
    """Predict the films with every checkpoint of a run and with their soup; store that beside the run's own.

    Parameters
    ----------
    folder : Path
        The run's.
    films : ExternalFilms
        What it is tested on.
    options : ExternalTestOptions
        How.
    stop : callable
        Raises where the process was asked to end; what a network has predicted is kept.
    progress : callable or None
        Called with films in the cache and films in all.

    Returns
    -------
    str
        A sentence on what was done.

    Raises
    ------
    StudyError
        The run is not done or has no weights; the films have none of the six labels, or show patients that the run
        knows; or another test of this name is there.
    """
    check_name(options.name)
    run = load_run(folder)
    outputs = _outputs(run, films.table)
    networks = _networks(run)
    with FolderLock(folder, wait=True):
        resolution = (int(run.config["resolution"][0]), int(run.config["resolution"][1]))
        root = options.cache or Path(run.config["data"]["cache"])
        intensity = str(run.config["intensity"])
        cache = build_cache(root, films.table, resolution, intensity, workers=options.workers, progress=progress)
        known = known_films(run.config, options.own_folder)
        rows, left_out = _strangers(run, films, known, cache, strangers_only=options.strangers_only)
        empty = _without_probability(run, films.table.subset(rows), outputs)
        if not options.again and is_stored(folder, options.name, empty):
            return f"{run.name}: {options.name} was done before"
        stored = _predict(run, networks, cache, rows, empty, options=options, stop=stop)
        record = {
            "kind": "external",
            **films.source,
            "labels_absent": [name for name in run.config["outputs"] if name not in outputs],
            "label_policy": run.config["label_policy"],
            "left_out": left_out,
            "patients_compared": films.name_space == known.name_space,
        }
        write_external(folder, options.name, stored, record)
        _delete_parts(folder, options.name)
    return f"{run.name}: {auroc_sentence(stored)}{_note(record, stored)}"


def auroc_sentence(predictions: Predictions) -> str:
    """Return how many films there are, and the macro AUROC over the six of the ensemble and of the soup."""
    six = {o.identifier for o in OBSERVATIONS}
    columns = [k for k, name in enumerate(predictions.observations) if name in six]
    judged = {"ensemble": predictions.ensemble()} if len(predictions.checkpoint_steps) else {}
    if predictions.soup is not None:
        judged["soup"] = predictions.soup
    values = {
        name: macro_and_each(predictions.label[:, columns], probability[:, columns])[0]
        for name, probability in judged.items()
    }
    shown = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
    patients = len(np.unique(predictions.patient))
    return f"macro AUROC {shown} on {counted(len(predictions.image), 'film')} of {counted(patients, 'patient')}"


def _note(record: Mapping[str, Any], stored: Predictions) -> str:
    left_out = record["left_out"]
    parts = []
    if not len(stored.checkpoint_steps):
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
    """Return the run's outputs that the films are labelled with."""
    found = [name for name in run.config["outputs"] if name in table.observations]
    if not {o.identifier for o in OBSERVATIONS} & set(found):
        raise StudyError(
            f"{run.folder}: none of the six observations that it was trained for is labelled in {table.name}"
        )
    return found


def _networks(run: Run) -> Networks:
    """Return what predicts: every kept checkpoint by its step, and the soup."""
    run.kept_weights.require_soup(run.folder)
    if not run.checkpoints:
        raise StudyError(f"{run.folder}: the run keeps no checkpoints; train it again")
    single = run.checkpoints if run.kept_weights.keep == "all" else []
    return {**{f"{c.step:08d}": partial(run.load_network, c) for c in single}, "soup": run.load_soup}


def _strangers(
    run: Run, films: ExternalFilms, known: KnownFilms, cache: FilmCache, *, strangers_only: bool
) -> tuple[NDArray[np.intp], dict[str, Any]]:
    """Return the rows that the run is tested on, and what was left out."""
    table = films.table
    seen = known.patients_of(table, films.name_space)
    patients = np.unique(table.patient[seen])
    if len(patients) and not strangers_only:
        first = ", ".join(str(name) for name in table.image[seen][:3])
        raise StudyError(
            f"{run.folder}: it was trained with {counted(len(patients), 'patient')} of these films "
            f"({counted(int(seen.sum()), 'film')}, first {first}): no test; --strangers-only leaves them out"
        )
    rows = np.flatnonzero(cache.done & ~seen)
    if not len(rows):
        raise StudyError(f"{run.folder}: no film is left: all show patients that the run knows, or cannot be read")
    reasons = dict(zip(*np.unique(list(cache.refused.values()), return_counts=True), strict=True))
    return rows, {
        "known_patients": len(patients),
        "known_films": int(seen.sum()),
        "refused": {str(reason): int(count) for reason, count in reasons.items()},
        "notes": table.notes,
    }


def _without_probability(run: Run, table: FilmTable, outputs: list[str]) -> Predictions:
    """Return the films and their labels under the run's policy, with no member yet."""
    trained: list[str] = run.config["outputs"]
    policies = dict(zip(trained, parse_policy(run.config["label_policy"], trained), strict=True))
    label = apply_policy(table.select(outputs), [policies[name] for name in outputs])
    return predictions_of(table, outputs, label, np.zeros((len(table), 0, len(outputs)), np.float32), [])


def is_stored(folder: Path, name: str, films: Predictions) -> bool:
    """Return whether this test is stored; raise if another one has its name."""
    if name not in external_names(folder):
        return False
    record = read_external(folder, name).record
    same = (films_sha256(films.image), labels_sha256(films)) == (record["films_sha256"], record["labels_sha256"])
    if not same:
        raise StudyError(
            f"{folder}: another test is called {name} ({record['films']} films of {record.get('data')}); take another "
            "--name, or --again to replace it"
        )
    return True


def _predict(
    run: Run,
    networks: Networks,
    cache: FilmCache,
    rows: NDArray[np.intp],
    films: Predictions,
    *,
    options: ExternalTestOptions,
    stop: Callable[[], None],
) -> Predictions:
    """Return the films with what each network says; networks that were asked before a kill are not asked again."""
    columns = [run.config["outputs"].index(name) for name in films.observations]
    parts = external_folder(run.folder) / f"parts-{options.name}" / films_sha256(films.image)[:12]
    device = torch.device(options.device)
    said: dict[str, Floats] = {}
    for name, load in networks.items():
        part = parts / f"{name}.npy"
        if not part.is_file():
            network = load().to(device).to(memory_format=torch.channels_last)
            np_save(part, predict_rows(network, cache.pixels, rows, device, stop))
        said[name] = np.load(part, allow_pickle=False)[:, columns]
    soup = said.pop("soup")
    members = np.stack(list(said.values()), axis=1) if said else films.probability
    return replace(films, probability=members, checkpoint_steps=np.array([int(s) for s in said], np.int64), soup=soup)


def _delete_parts(folder: Path, name: str) -> None:
    """Delete what was kept of single networks."""
    parts = external_folder(folder) / f"parts-{name}"
    for path in sorted(parts.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    if parts.is_dir():
        parts.rmdir()
