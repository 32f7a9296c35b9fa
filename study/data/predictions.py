"""Predictions of a run, stored per film, so that every later number is a function of files."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import write_with
from xraytransfer.study.data.film_table import FilmTable

__all__ = ["Predictions", "combine", "read_predictions", "write_predictions"]

_PER_FILM = ("image", "patient", "examination", "view", "sex", "age", "label", "probability")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the members of an ensemble say about films.

    Attributes
    ----------
    image, patient, examination, view, sex : NDArray
        str, shape (films,).
    age : NDArray
        float32, shape (films,), years; NaN if absent.
    observations : NDArray
        str, shape (observations,): identifiers.
    label : NDArray
        float32, shape (films, observations): 1, 0, or NaN where masked.
    probability : NDArray
        float32, shape (films, members, observations), in [0, 1]. No member where only the soup was asked.
    checkpoint_steps : NDArray
        int64, shape (members,); -1 for a member that is no checkpoint.
    soup : NDArray or None
        float32, shape (films, observations): what the mean of the members' weights says, as one network; None
        where there is none (several runs), or a run was trained before soups were stored.
    """

    image: NDArray[np.str_]
    patient: NDArray[np.str_]
    examination: NDArray[np.str_]
    view: NDArray[np.str_]
    sex: NDArray[np.str_]
    age: NDArray[np.float32]
    observations: NDArray[np.str_]
    label: NDArray[np.float32]
    probability: NDArray[np.float32]
    checkpoint_steps: NDArray[np.int64]
    soup: NDArray[np.float32] | None = None

    def ensemble(self) -> NDArray[np.float32]:
        """Return the mean over the members: float32, shape (films, observations); StudyError if there is none."""
        if not len(self.checkpoint_steps):
            raise StudyError("these are predictions of a soup alone: there are no members to average")
        mean: NDArray[np.float32] = self.probability.mean(axis=1, dtype=np.float64).astype(np.float32)
        return mean

    def by_examination(self) -> Predictions:
        """Return one row per examination: the largest probability and the largest label over its films.

        As the paper's lab does (there on logits, which is the same for one member). A label is NaN only
        where it is NaN for every film. All else is taken from the examination's first film.
        """
        names, first, inverse = np.unique(self.examination, return_index=True, return_inverse=True)
        probability = np.zeros((len(names), *self.probability.shape[1:]), np.float32)
        np.maximum.at(probability, inverse, self.probability)
        label = np.full((len(names), self.label.shape[1]), -1, np.float32)
        np.maximum.at(label, inverse, np.nan_to_num(self.label, nan=-1.0))
        label[label < 0] = np.nan
        rows = {name: getattr(self, name)[first] for name in ("image", "patient", "view", "sex", "age")}
        soup = None
        if self.soup is not None:
            soup = np.zeros((len(names), self.soup.shape[1]), np.float32)
            np.maximum.at(soup, inverse, self.soup)
        return replace(self, **rows, examination=names, label=label, probability=probability, soup=soup)

    def subset(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Predictions:
        """Return the films that a mask or a list of row numbers selects."""
        soup = None if self.soup is None else self.soup[rows]
        return replace(self, **{name: getattr(self, name)[rows] for name in _PER_FILM}, soup=soup)


def combine(runs: Sequence[Predictions]) -> Predictions:
    """Return the ensemble across runs: each run is one member, the mean of its own members.

    Raises
    ------
    StudyError
        If there is no run, or the runs did not judge the same films and observations in the same order.
    """
    if not runs:
        raise StudyError("an ensemble needs at least one run")
    for run in runs[1:]:
        if not np.array_equal(run.image, runs[0].image) or not np.array_equal(run.observations, runs[0].observations):
            raise StudyError("the runs did not judge the same films and observations: no ensemble across them")
    probability = np.stack([run.ensemble() for run in runs], axis=1)
    return replace(runs[0], probability=probability, checkpoint_steps=np.full(len(runs), -1, np.int64), soup=None)


def predictions_of(
    table: FilmTable,
    observations: Sequence[str],
    label: NDArray[np.float32],
    probability: NDArray[np.float32],
    checkpoint_steps: Sequence[int],
    *,
    soup: NDArray[np.float32] | None = None,
) -> Predictions:
    """Return the predictions for a table's films. Shapes as in `Predictions`."""
    return Predictions(
        image=table.image,
        patient=table.patient,
        examination=table.examination,
        view=table.view,
        sex=table.sex,
        age=table.age,
        observations=np.array(observations, dtype=np.str_),
        label=label.astype(np.float32),
        probability=probability.astype(np.float32),
        checkpoint_steps=np.array(checkpoint_steps, dtype=np.int64),
        soup=None if soup is None else soup.astype(np.float32),
    )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write an npz file in one step."""
    arrays = {name: getattr(predictions, name) for name in Predictions.__dataclass_fields__}
    if predictions.soup is None:
        del arrays["soup"]

    def write(temporary: Path) -> None:
        # through a file object: numpy would append .npz to the temporary name
        with temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_with(path, write)


def read_predictions(path: Path) -> Predictions:
    """Read an npz file that `write_predictions` wrote.

    Raises
    ------
    StudyError
        If it is absent, damaged, or its arrays do not fit together.
    """
    try:
        # opened here: numpy leaves the file open where it is no archive
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            # runs that are older than soups have none
            names = [name for name in Predictions.__dataclass_fields__ if name != "soup" or name in file]
            predictions = Predictions(**{name: file[name] for name in names})
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StudyError(f"{path}: cannot be read as predictions: {error}") from error
    films, k = len(predictions.image), len(predictions.observations)
    shape = (films, len(predictions.checkpoint_steps), k)
    if predictions.probability.shape != shape or predictions.label.shape != (films, k):
        raise StudyError(f"{path}: probability {predictions.probability.shape} where {shape} was expected")
    if predictions.soup is not None and predictions.soup.shape != (films, k):
        raise StudyError(f"{path}: soup {predictions.soup.shape} where {(films, k)} was expected")
    return predictions
