"""The chance of training, pooled over cells: two or three seeds of one cell cannot tell it, those of all cells can.

Conventions
-----------
A cell is trained with one or several seeds. The covariance of its numbers over seeds is taken to be that of all cells
and is pooled over them. It is added to every cell, also to those with one seed.
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

__all__ = ["pooled_covariance", "seed_noise"]


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


def seed_noise(by_cell: Sequence[Floats], replicates: int, generator: np.random.Generator) -> list[Floats]:
    """Return the noise that is added to the replicates of each cell.

    Parameters
    ----------
    by_cell : sequence of ndarray
        As for `pooled_covariance`.
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
    covariance, freedom = pooled_covariance(by_cell)
    if freedom < 1:
        return [np.zeros((replicates, len(covariance))) for _ in by_cell]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    scale = np.sqrt(freedom / generator.chisquare(freedom, (replicates, 1)))
    return [
        scale * (generator.normal(size=(replicates, len(root))) @ root.T) / np.sqrt(len(values_)) for values_ in by_cell
    ]
