"""AUROC of every cell of the grid with its bootstrap replicates: what the four questions compare.

Conventions
-----------
A cell is an architecture, an initialisation and a truncation; its AUROC is the mean over its seeds' ensembles.
All cells are evaluated with the same resampled patients, so that any difference of two cells is paired.
The chance of training is pooled over all cells of an initialisation (`seed_noise`), because random networks differ more
over seeds than pretrained ones, and added to the replicates of each cell, also of those with one seed. Where no cell
has two seeds it is unknown: an interval then holds for this one training only, as the paper's do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.analysis.results_folder import Results, RunResult
from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.bootstrap import (
    Interval,
    macro_mean,
    observation_replicates,
    paired_interval,
    percentile_interval,
    resample_patients,
)
from xraytransfer.study.stats.seed_noise import pooled_covariance, seed_noise

__all__ = ["INITIALISATIONS", "Cell", "Scores", "auroc_interval", "mean_over_seeds", "score_cells", "score_results"]

INITIALISATIONS = ("pretrained", "random")
"""In the order in which they are reported."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell of the grid with its AUROCs.

    Attributes
    ----------
    architecture, family, initialisation : str
        The architecture, the family that it is grouped under, and the initialisation.
    truncation : int
        Final stages removed.
    row : mapping
        Row of the table of architectures, from config.json.
    parameters : int
        Trainable parameters, as done.json counts them; 0 if absent.
    runs : tuple of RunResult
        One per seed.
    value : ndarray
        float64, shape (observations,): mean over seeds; NaN where undefined.
    by_seed : ndarray
        float64, shape (seeds,): macro AUROC of each run.
    replicates : ndarray
        float64, shape (replicates, observations): of patients and of training.
    noise : ndarray
        float64, shape (replicates, observations): the chance of training alone, from `seed_noise`.
    """

    architecture: str
    family: str
    initialisation: str
    truncation: int
    row: Mapping[str, Any]
    parameters: int
    runs: tuple[RunResult, ...]
    value: Floats
    by_seed: Floats
    replicates: Floats
    noise: Floats

    @property
    def key(self) -> tuple[str, str, int]:
        """Architecture, initialisation, truncation."""
        return self.architecture, self.initialisation, self.truncation

    @property
    def names(self) -> dict[str, Any]:
        """Architecture, initialisation and truncation, as the first columns of a table's row."""
        return dict(zip(("architecture", "initialisation", "truncation"), self.key, strict=True))

    @property
    def label(self) -> str:
        """The name that readers see: ``resnet18, pretrained`` or ``resnet18 -2, pretrained``."""
        cut = f" \N{MINUS SIGN}{self.truncation}" if self.truncation else ""
        return f"{self.architecture}{cut}, {self.initialisation}"

    @property
    def macro_replicates(self) -> Floats:
        """Macro AUROC of each replicate: float64, shape (replicates,)."""
        return macro_mean(self.value, self.replicates)[1]

    @property
    def patient_replicates(self) -> Floats:
        """Macro AUROC of each replicate without the chance of training: float64, shape (replicates,)."""
        return macro_mean(self.value, self.replicates - self.noise)[1]

    @property
    def macro(self) -> Interval:
        """Macro AUROC with its interval."""
        return auroc_interval(*macro_mean(self.value, self.replicates))

    @property
    def seed_sd(self) -> float:
        """Standard deviation of macro AUROC over seeds; NaN with one seed."""
        return float(self.by_seed.std(ddof=1)) if len(self.by_seed) > 1 else float("nan")

    @property
    def seeds(self) -> str:
        """How many seeds, for readers: one is marked, because it says nothing about training again."""
        return str(len(self.runs)) if len(self.runs) > 1 else "1 (one seed)"

    def observation(self, index: int) -> Interval:
        """Return one observation's AUROC with its interval."""
        return auroc_interval(float(self.value[index]), self.replicates[:, index])

    def minus(self, other: Cell) -> Interval:
        """Return the paired difference of macro AUROC, this cell minus the other."""
        return paired_interval(self.macro.value - other.macro.value, self.macro_replicates, other.macro_replicates)


def auroc_interval(value: float, replicates: Floats) -> Interval:
    """Return the interval of an AUROC, within [0, 1], which the chance of training added to replicates can leave."""
    return percentile_interval(value, np.clip(replicates, 0.0, 1.0))


@dataclass(frozen=True, eq=False)
class Scores:
    """All cells of a results folder, evaluated on the same resampled patients.

    Attributes
    ----------
    results : Results
        The runs that were read.
    cells : tuple of Cell
        By family, architecture, initialisation, truncation.
    weights : ndarray
        uint16, shape (replicates, films): see `resample_patients`.
    seed : int
        Seed of the resampling.
    """

    results: Results
    cells: tuple[Cell, ...]
    weights: NDArray[np.uint16]
    seed: int

    def find(self, architecture: str, initialisation: str, truncation: int = 0) -> Cell | None:
        """Return a cell, or None."""
        key = (architecture, initialisation, truncation)
        return next((cell for cell in self.cells if cell.key == key), None)

    def whole(self, *initialisations: str) -> list[Cell]:
        """Return the cells without truncation, of some initialisations, or of all if none is named."""
        kinds = initialisations or INITIALISATIONS
        return [cell for cell in self.cells if cell.initialisation in kinds and cell.truncation == 0]

    @property
    def seed_sd(self) -> tuple[float, int]:
        """Standard deviation of macro AUROC over seeds, pooled over cells, and its degrees of freedom; NaN and 0."""
        covariance, freedom = pooled_covariance([cell.by_seed[:, None] for cell in self.cells])
        return (float(np.sqrt(covariance[0, 0])) if freedom else float("nan")), freedom

    def generator(self, purpose: int) -> np.random.Generator:
        """Return a random generator for a purpose: the same at every call."""
        return np.random.default_rng([self.seed, purpose])

    def patient_weights(self, patient: NDArray[np.str_]) -> NDArray[np.uint16]:
        """Return weights, shape (replicates, rows), in which each replicate holds the same patients as in `weights`."""
        return resample_patients(patient, len(self.weights), self.generator(0))


def score_results(results: Results, *, replicates: int = 1000, seed: int = 0, workers: int = 1) -> Scores:
    """Compute the AUROCs of every cell.

    Parameters
    ----------
    results : Results
        From `read_results`.
    replicates : int
        Bootstrap replicates.
    seed : int
        Seed of the resampling.
    workers : int
        Threads.

    Returns
    -------
    Scores
    """
    weights = resample_patients(results.test.patient, replicates, np.random.default_rng([seed, 0]))
    probabilities = [run.test.ensemble for run in results.runs]
    cells = score_cells(results.runs, results.test.label, probabilities, weights, seed=seed, workers=workers)
    return Scores(results, cells, weights, seed)


def score_cells(
    runs: Sequence[RunResult],
    label: NDArray[np.float32],
    probabilities: Sequence[NDArray[np.float32]],
    weights: NDArray[np.uint16],
    *,
    seed: int,
    workers: int = 1,
) -> tuple[Cell, ...]:
    """Return the cells of some runs, with their AUROCs on some films.

    Parameters
    ----------
    runs : sequence of RunResult
        The runs of all cells.
    label : ndarray
        float32, shape (films, observations): 1, 0, or NaN where masked.
    probabilities : sequence of ndarray
        For each run its probabilities of the films, float32, shape (films, observations).
    weights : ndarray
        uint16, shape (replicates, films): see `resample_patients`.
    seed : int
        Seed of the draws of seeds.
    workers : int
        Threads.

    Returns
    -------
    tuple of Cell
        By family, architecture, initialisation, truncation.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        each = pool.map(lambda probability: observation_replicates(label, probability, weights), probabilities)
        scores = dict(zip((run.name for run in runs), each, strict=True))
    by_cell: dict[tuple[str, str, int], list[RunResult]] = {}
    for run in runs:
        by_cell.setdefault(run.cell, []).append(run)
    generator = np.random.default_rng([seed, 1])
    values = [np.stack([scores[run.name][0] for run in members]) for members in by_cell.values()]
    noise = seed_noise(values, [key[1] for key in by_cell], len(weights), generator)
    cells = [
        _cell(members, [scores[run.name] for run in members], one)
        for members, one in zip(by_cell.values(), noise, strict=True)
    ]
    return tuple(
        sorted(cells, key=lambda c: (c.family, _whole_size(c, cells), c.architecture, c.initialisation, c.truncation))
    )


def _cell(runs: Sequence[RunResult], scores: Sequence[tuple[Floats, Floats]], noise: Floats) -> Cell:
    """Return a cell from its runs, the AUROCs of each, and the noise of training."""
    value, replicates = mean_over_seeds(scores)
    config = runs[0].config
    return Cell(
        architecture=str(config["architecture"]),
        family=str(config["family"]),
        initialisation=str(config["initialisation"]),
        truncation=int(config["truncation"]),
        row=config.get("row", {}),
        parameters=int(runs[0].done.get("parameters", 0)),
        runs=tuple(runs),
        value=value,
        by_seed=np.array([macro_mean(*one)[0] for one in scores]),
        replicates=replicates + noise,
        noise=noise,
    )


def mean_over_seeds(scores: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return the mean over seeds, on all films and in each replicate of the patients.

    Parameters
    ----------
    scores : sequence of (ndarray, ndarray)
        From `observation_replicates`, one pair per seed.

    Returns
    -------
    tuple of ndarray
        float64, shape (observations,), and float64, shape (replicates, observations).
    """
    values, replicates = (np.stack(arrays) for arrays in zip(*scores, strict=True))
    return values.mean(axis=0), replicates.mean(axis=0)


def _whole_size(cell: Cell, cells: Sequence[Cell]) -> int:
    """Return the parameters of the architecture without truncation, as far as it was run."""
    return max(c.parameters for c in cells if c.architecture == cell.architecture)
