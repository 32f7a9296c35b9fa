"""Predictions of a run, stored per film, so that every later number is a function of files."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import write_with
from xraytransfer.study.data.film_table import FilmTable

__all__ = [
    "DAMAGED_NPZ",
    "LabelledFilms",
    "Predictions",
    "combine",
    "predictions_of",
    "read_predictions",
    "write_predictions",
]

Films = TypeVar("Films", bound="LabelledFilms")

DAMAGED_NPZ = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)
"""What numpy raises on an npz file that is absent or damaged; its reader parses the headers of arrays as Python."""


@dataclass(frozen=True, eq=False)
class LabelledFilms:
    """Films with their labels, without pixels. A subclass adds probabilities.

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
    """

    image: NDArray[np.str_]
    patient: NDArray[np.str_]
    examination: NDArray[np.str_]
    view: NDArray[np.str_]
    sex: NDArray[np.str_]
    age: NDArray[np.float32]
    observations: NDArray[np.str_]
    label: NDArray[np.float32]

    def subset(self: Films, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Films:
        """Return the films that a mask or a list of row numbers selects."""
        return replace(self, **{name: array[rows] for name, array in self._arrays_by_film().items()})

    def by_examination(self: Films) -> Films:
        """Return one row per examination of a patient: the largest probability and the largest label over its films.

        The paper's lab does the same (there on logits, which is equivalent for one member). A label is NaN only
        where it is NaN for every film. Everything else is taken from the examination's first film.
        """
        first, inverse = self._examinations()
        rows = {}
        for name, array in self._arrays_by_film().items():
            rows[name] = array[first]
            if array.ndim > 1:  # labels and probabilities
                rows[name] = np.full_like(rows[name], np.nan)
                np.fmax.at(rows[name], inverse, array)
        return replace(self, **rows)

    @property
    def several_films(self) -> bool:
        """Return whether an examination has more than one film."""
        return len(self._examinations()[0]) < len(self.image)

    def _examinations(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the first film of each examination, by patient, and the examination of each film.

        A patient is part of it, because data sets may number the examinations of each patient from 1.
        """
        (_, patient), (examinations, examination) = (
            np.unique(names, return_inverse=True) for names in (self.patient, self.examination)
        )
        numbers = patient.reshape(-1) * len(examinations) + examination.reshape(-1)
        _, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
        return first, inverse.reshape(-1)

    def _arrays_by_film(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that have one entry per film, by the names of their fields."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        others = ("observations", "checkpoint_steps")
        return {name: array for name, array in arrays.items() if array is not None and name not in others}


@dataclass(frozen=True, eq=False)
class Predictions(LabelledFilms):
    """The probabilities that the members of an ensemble give for films.

    Attributes
    ----------
    probability : NDArray
        float32, shape (films, members, observations), in [0, 1]. The members of a run are its kept checkpoints,
        the one with the best validation AUROC first. There is no member where only the soup predicted.
    checkpoint_steps : NDArray
        int64, shape (members,); -1 for a member that is no checkpoint.
    soup : NDArray or None
        float32, shape (films, observations): the probabilities of one network whose weights are the mean of the
        members' weights. None where there is none (several runs), or where a run was trained before soups were
        stored.
    """

    probability: NDArray[np.float32]
    checkpoint_steps: NDArray[np.int64]
    soup: NDArray[np.float32] | None = None

    def films(self) -> LabelledFilms:
        """Return the films and their labels, without the probabilities."""
        return LabelledFilms(**{field.name: getattr(self, field.name) for field in fields(LabelledFilms)})

    def select(self, columns: NDArray[np.intp]) -> Predictions:
        """Return the predictions for the observations in these columns."""
        return replace(
            self,
            observations=self.observations[columns],
            label=self.label[:, columns],
            probability=self.probability[:, :, columns],
            soup=None if self.soup is None else self.soup[:, columns],
        )

    def ensemble(self) -> NDArray[np.float32]:
        """Return the mean over the members: float32, shape (films, observations); StudyError if there is no member."""
        if not len(self.checkpoint_steps):
            raise StudyError("these are predictions of a soup alone: there are no members to average")
        mean: NDArray[np.float32] = self.probability.mean(axis=1, dtype=np.float64).astype(np.float32)
        return mean

    def best_checkpoint(self) -> NDArray[np.float32]:
        """Return the probabilities of the first member alone: float32, shape (films, observations)."""
        return self.probability[:, 0]


def combine(runs: Sequence[Predictions]) -> Predictions:
    """Return the ensemble across runs: each run is one member, the mean of its own members.

    Raises
    ------
    StudyError
        If there is no run, or the runs do not hold the same films and observations in the same order.
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
    """Return the predictions for a table's films. Shapes are those of `Predictions`."""
    return Predictions(
        **{name: getattr(table, name) for name in ("image", "patient", "examination", "view", "sex", "age")},
        observations=np.array(observations, dtype=np.str_),
        label=label.astype(np.float32),
        probability=probability.astype(np.float32),
        checkpoint_steps=np.array(checkpoint_steps, dtype=np.int64),
        soup=None if soup is None else soup.astype(np.float32),
    )


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write an npz file whole or not at all."""
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
        # opened here, because numpy leaves a file open that is no archive
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            # runs that were trained before soups were stored have none
            names = [name for name in Predictions.__dataclass_fields__ if name != "soup" or name in file]
            predictions = Predictions(**{name: file[name] for name in names})
    except DAMAGED_NPZ as error:
        raise StudyError(f"{path}: cannot be read as predictions: {error}") from error
    films, k = len(predictions.image), len(predictions.observations)
    shape = (films, len(predictions.checkpoint_steps), k)
    if predictions.probability.shape != shape or predictions.label.shape != (films, k):
        raise StudyError(f"{path}: probability {predictions.probability.shape} where {shape} was expected")
    if predictions.soup is not None and predictions.soup.shape != (films, k):
        raise StudyError(f"{path}: soup {predictions.soup.shape} where {(films, k)} was expected")
    return predictions
