"""The chance of training, pooled over cells: two or three seeds of one cell cannot tell it, those of all cells can.

Conventions
-----------
A cell is trained with one or several seeds. The covariance of its numbers over seeds is taken to be that of all cells
of its group and is pooled over them. It is added to every cell, also to those with one seed. Groups are trainings that
chance moves by different amounts: networks from random weights differ more over seeds than pretrained ones.
Trainings count as independent, also those of different cells with the same seed. Those share the order of films and
the augmentation: where a seed moves all cells alike, the degrees of freedom are fewer than are counted here, the noise
of a mean over cells is larger, and that of a difference of two cells with the same seeds is smaller.

Metrics
-------
Noise : for each replicate and cell a multivariate normal draw with the pooled covariance over the number of seeds. Each
    replicate divides it by one draw of chi-square over its degrees of freedom, as Student's t does, because the
    pooled covariance is itself an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xraytransfer.study.stats import Floats

__all__ = ["ENOUGH_FREEDOM", "pooled_covariance", "seed_noise"]

ENOUGH_FREEDOM = 4
"""Degrees of freedom from which a group has a covariance of its own: Student's t is then at most 1.4 times wider than
the normal distribution, with two it would be 2.2 times."""


def pooled_covariance(by_cell: Sequence[Floats]) -> tuple[Floats, int]:
    """Return the covariance over seeds, pooled over cells, and its degrees of freedom.

    Parameters
    ----------
    by_cell : sequence of ndarray
        For each cell float64, shape (seeds, numbers); NaN where a number is not defined.

    Returns
    -------
    tuple of (ndarray, int)
        float64, shape (numbers, numbers), 0 where a number is not defined and where no cell has two seeds; and
        seeds less cells.
    """
    centred = np.concatenate([values - values.mean(axis=0) for values in by_cell])
    freedom = len(centred) - len(by_cell)
    rows = np.nan_to_num(centred)
    return rows.T @ rows / max(freedom, 1), freedom


def seed_noise(
    by_cell: Sequence[Floats], groups: Sequence[str], replicates: int, generator: np.random.Generator
) -> list[Floats]:
    """Return the noise that is added to the replicates of each cell.

    Parameters
    ----------
    by_cell : sequence of ndarray
        As for `pooled_covariance`.
    groups : sequence of str
        For each cell its group. One with fewer than `ENOUGH_FREEDOM` degrees of freedom has the covariance of all
        cells.
    replicates : int
        Replicates of the bootstrap.
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    list of ndarray
        For each cell float64, shape (replicates, numbers): noise of the mean over its seeds; 0 where no cell has two
        seeds, because the noise is then unknown.
    """
    everything = pooled_covariance(by_cell)
    noise: dict[int, Floats] = {}
    for group in dict.fromkeys(groups):
        members = [index for index, name in enumerate(groups) if name == group]
        pooled = pooled_covariance([by_cell[index] for index in members])
        pooled = pooled if pooled[1] >= ENOUGH_FREEDOM else everything
        seeds = [len(by_cell[index]) for index in members]
        noise |= dict(zip(members, _draws(*pooled, seeds, replicates, generator), strict=True))
    return [noise[index] for index in range(len(by_cell))]


def _draws(
    covariance: Floats, freedom: int, seeds: Sequence[int], replicates: int, generator: np.random.Generator
) -> list[Floats]:
    """Return the noise of cells with so many seeds each."""
    if freedom < 1:
        return [np.zeros((replicates, len(covariance))) for _ in seeds]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    scale = np.sqrt(freedom / generator.chisquare(freedom, (replicates, 1)))
    return [scale * (generator.normal(size=(replicates, len(root))) @ root.T) / np.sqrt(count) for count in seeds]
