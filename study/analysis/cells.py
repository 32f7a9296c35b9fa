"""AUROC of every cell of the grid with its bootstrap replicates: what the four questions compare.

Conventions
-----------
A cell is architecture, initialisation and truncation; its AUROC is the mean over its seeds' ensembles.
All cells are judged with the same resampled patients, so that any difference of two cells is paired.
Where a cell has several seeds, each replicate also draws seeds: one fewer than there are, with replacement,
which makes the variance of their mean right (Rao and Wu). With one seed, an interval speaks for this one
training only, as the paper's do.

References
----------
Rao and Wu, Journal of the American Statistical Association 83, 1988, 231-241.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.analysis.results_folder import Results, RunResult
from xraytransfer.study.stats.auroc import weighted_auroc
from xraytransfer.study.stats.bootstrap import (
    Interval,
    Statistic,
    paired_interval,
    percentile_interval,
    resample_patients,
)

__all__ = ["Cell", "Scored", "score_results"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cell:
    """One cell of the grid, judged.

    Attributes
    ----------
    architecture, family, initialisation : str
        What it is.
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
    drawn : ndarray
        float64, shape (replicates, observations).
    seeds_drawn : ndarray
        From `draw_seeds`: whatever else of this cell is compared is drawn so too.
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
    drawn: Floats
    seeds_drawn: NDArray[np.intp]

    @property
    def key(self) -> tuple[str, str, int]:
        """Architecture, initialisation, truncation."""
        return self.architecture, self.initialisation, self.truncation

    @property
    def label(self) -> str:
        """What people read: ``resnet18, pretrained`` or ``resnet18 -2, pretrained``."""
        cut = f" \N{MINUS SIGN}{self.truncation}" if self.truncation else ""
        return f"{self.architecture}{cut}, {self.initialisation}"

    @property
    def macro_drawn(self) -> Floats:
        """Macro AUROC of each replicate: float64, shape (replicates,)."""
        defined = ~np.isnan(self.value)
        if not defined.any():
            return np.full(len(self.drawn), np.nan)
        mean: Floats = self.drawn[:, defined].mean(axis=1)
        return mean

    @property
    def macro(self) -> Interval:
        """Macro AUROC with its interval."""
        return percentile_interval(_mean(self.value), self.macro_drawn)

    @property
    def seed_sd(self) -> float:
        """Standard deviation of macro AUROC over seeds; NaN with one seed."""
        return float(self.by_seed.std(ddof=1)) if len(self.by_seed) > 1 else float("nan")

    def observation(self, index: int) -> Interval:
        """Return one observation's AUROC with its interval."""
        return percentile_interval(float(self.value[index]), self.drawn[:, index])

    def minus(self, other: Cell) -> Interval:
        """Return the paired difference of macro AUROC, this cell minus the other."""
        return paired_interval(self.macro.value - other.macro.value, self.macro_drawn, other.macro_drawn)


@dataclass(frozen=True, eq=False)
class Scored:
    """All cells of a results folder, judged on the same resampled patients.

    Attributes
    ----------
    results : Results
        What was read.
    cells : tuple of Cell
        By family, architecture, initialisation, truncation.
    weights : ndarray
        uint16, shape (replicates, films): see `resample_patients`.
    seed : int
        Of the resampling.
    """

    results: Results
    cells: tuple[Cell, ...]
    weights: NDArray[np.uint16]
    seed: int

    def find(self, architecture: str, initialisation: str, truncation: int = 0) -> Cell | None:
        """Return a cell, or None."""
        for cell in self.cells:
            if cell.key == (architecture, initialisation, truncation):
                return cell
        return None

    def whole(self, initialisation: str) -> list[Cell]:
        """Return the cells without truncation of one initialisation."""
        return [c for c in self.cells if c.initialisation == initialisation and c.truncation == 0]

    def generator(self, purpose: int) -> np.random.Generator:
        """Return a source of chance for a purpose: the same at every call."""
        return np.random.default_rng([self.seed, purpose])


def score_results(results: Results, *, replicates: int = 1000, seed: int = 0, workers: int = 1) -> Scored:
    """Judge every cell.

    Parameters
    ----------
    results : Results
        From `read_results`.
    replicates : int
        Bootstrap replicates.
    seed : int
        Of the resampling.
    workers : int
        Threads.

    Returns
    -------
    Scored
    """
    weights = resample_patients(results.test.patient, replicates, np.random.default_rng([seed, 0]))
    with ThreadPoolExecutor(max_workers=workers) as pool:
        judged = list(pool.map(lambda run: replicate_matrix(run, weights), results.runs))
    by_cell: dict[tuple[str, str, int], list[int]] = {}
    for index, run in enumerate(results.runs):
        by_cell.setdefault(run.cell, []).append(index)
    generator = np.random.default_rng([seed, 1])
    cells = []
    for indices in by_cell.values():
        runs = tuple(results.runs[i] for i in indices)
        values = np.stack([judged[i][0] for i in indices])
        seeds_drawn = draw_seeds(len(runs), len(weights), generator)
        config = runs[0].config
        cells.append(
            Cell(
                architecture=str(config["architecture"]),
                family=str(config["family"]),
                initialisation=str(config["initialisation"]),
                truncation=int(config["truncation"]),
                row=config.get("row", {}),
                parameters=int(runs[0].done.get("parameters", 0)),
                runs=runs,
                value=values.mean(axis=0),
                by_seed=np.array([_mean(value) for value in values]),
                drawn=mix_seeds(np.stack([judged[i][1] for i in indices]), seeds_drawn),
                seeds_drawn=seeds_drawn,
            )
        )
    cells = sorted(
        cells, key=lambda c: (c.family, _whole_size(c, cells), c.architecture, c.initialisation, c.truncation)
    )
    return Scored(results, tuple(cells), weights, seed)


def replicate_matrix(
    run: RunResult,
    weights: NDArray[np.uint16],
    *,
    member: int = 0,
    rows: NDArray[np.bool_] | None = None,
    statistic: Statistic = weighted_auroc,
) -> tuple[Floats, Floats]:
    """Return a number of each observation, and its replicates.

    Parameters
    ----------
    run : RunResult
        The run.
    weights : ndarray
        uint16, shape (replicates, films).
    member : int
        0 the ensemble, 1 its best checkpoint, 2 the soup, which the run must have.
    rows : ndarray, optional
        bool, shape (films,): only these.
    statistic : callable
        `weighted_auroc` or `weighted_auprc`.

    Returns
    -------
    tuple of ndarray
        float64, shape (observations,), and float64, shape (replicates, observations).
    """
    chosen = np.ones(len(run.test.image), bool) if rows is None else rows
    said = run.test.soup if member == 2 and run.test.soup is not None else run.test.probability[:, member]
    label, probability = run.test.label[chosen], said[chosen]
    weight, one = weights[:, chosen], np.ones((1, int(chosen.sum())))
    columns = range(label.shape[1])
    value = np.array([statistic(label[:, k], probability[:, k], one)[0] for k in columns])
    drawn = np.stack([statistic(label[:, k], probability[:, k], weight) for k in columns], axis=1)
    return value, drawn


def combine_seeds(drawn: Floats, generator: np.random.Generator) -> Floats:
    """Return the replicates of a mean over seeds, the seeds drawn too.

    Parameters
    ----------
    drawn : ndarray
        float64, shape (seeds, replicates, observations).
    generator : numpy.random.Generator
        Source of chance.

    Returns
    -------
    ndarray
        float64, shape (replicates, observations).
    """
    return mix_seeds(drawn, draw_seeds(drawn.shape[0], drawn.shape[1], generator))


def draw_seeds(seeds: int, replicates: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Return which seeds each replicate takes: shape (seeds - 1, replicates), or (1, replicates) of the only one."""
    if seeds == 1:
        return np.zeros((1, replicates), np.intp)
    return generator.integers(0, seeds, (seeds - 1, replicates))


def mix_seeds(drawn: Floats, chosen: NDArray[np.intp]) -> Floats:
    """Return the mean over the seeds that each replicate takes.

    Parameters
    ----------
    drawn : ndarray
        float64, shape (seeds, replicates, observations).
    chosen : ndarray
        From `draw_seeds`.

    Returns
    -------
    ndarray
        float64, shape (replicates, observations).
    """
    answer: Floats = drawn[chosen, np.arange(drawn.shape[1])].mean(axis=0)
    return answer


def _mean(value: Floats) -> float:
    """Return the mean over defined observations; NaN if there is none."""
    defined = value[~np.isnan(value)]
    return float(defined.mean()) if defined.size else float("nan")


def _whole_size(cell: Cell, cells: Sequence[Cell]) -> int:
    """Return the parameters of the architecture without truncation, as far as it was run."""
    return max(c.parameters for c in cells if c.architecture == cell.architecture)
