"""Flip widths: how near to its threshold a probability has to be for a small change of the film to flip the decision.

Conventions
-----------
Each film is scored as it is and in every small change (`robustness.SMALL_CHANGES`). A decision flips if one of the
changes brings the probability to the other side of the threshold. The flip width of a threshold is the distance from it
within which 95 of 100 films lie whose decision flips. Films whose probability lies within it are near the threshold;
most of them do not flip. Labels play no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.classifier import Classifier
from xraytransfer.export.checks.robustness import SMALL_CHANGES, Variant, score_films

__all__ = ["FILMS", "SmallChanges", "flip_width", "measure_small_changes", "with_flip_widths"]

FILMS = 600
"""Films on which small changes are measured."""
FEWEST = 10
"""Decisions that have to flip for a width to be given."""
_COVERED = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SmallChanges:
    """What small changes do to films.

    Attributes
    ----------
    probability : ndarray
        float64, shape (films, 6): of the film as it is.
    changed : ndarray
        float64, shape (variants, films, 6): of the film in each small change.
    """

    probability: Floats
    changed: Floats


def measure_small_changes(
    classifier: Classifier, paths: Sequence[Path], variants: Sequence[Variant] = SMALL_CHANGES
) -> SmallChanges:
    """Score films as they are and in every small change.

    Parameters
    ----------
    classifier : Classifier
        The finished model.
    paths : sequence of Path
        The films.
    variants : sequence of Variant
        The changes.
    """
    generator = np.random.default_rng(0)

    def scored(variant: Variant) -> Floats:
        sources = (variant.make(classifier.read(str(path)).pixels, generator) for path in paths)
        return score_films(classifier, sources).probability

    reference = score_films(classifier, (str(path) for path in paths)).probability
    return SmallChanges(reference, np.stack([scored(variant) for variant in variants]))


def flip_width(probability: Floats, changed: Floats, threshold: float) -> float | None:
    """Return the flip width of a threshold on one observation.

    Parameters
    ----------
    probability : ndarray
        float64, shape (films,): as they are.
    changed : ndarray
        float64, shape (variants, films): in each small change.
    threshold : float
        In [0, 1].

    Returns
    -------
    float or None
        A width in probability; None where fewer than `FEWEST` decisions flip.
    """
    flips = ((changed >= threshold) != (probability >= threshold)).any(axis=0)
    if flips.sum() < FEWEST:
        return None
    return float(np.quantile(np.abs(probability[flips] - threshold), _COVERED))


def with_flip_widths(
    rows: Sequence[Mapping[str, Any]], changes: SmallChanges, observations: Sequence[str]
) -> list[dict[str, Any]]:
    """Return operating points with their ``flip_width``, where it can be told.

    Parameters
    ----------
    rows : sequence of mapping
        From `xraytransfer.export.operating_points`.
    changes : SmallChanges
        From `measure_small_changes`.
    observations : sequence of str
        Identifiers of the columns of `changes`.
    """
    points = []
    for row in rows:
        k = list(observations).index(row["observation"])
        threshold = row["threshold"]
        width = (
            None if threshold is None else flip_width(changes.probability[:, k], changes.changed[:, :, k], threshold)
        )
        points.append(dict(row) if width is None else {**row, "flip_width": width})
    return points
