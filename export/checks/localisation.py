"""Localisation: how often the maximum of an activation map lies within a box that a person drew around the finding.

Conventions
-----------
The pointing game of Zhang et al. (Top-down Neural Attention by Excitation Backprop, ECCV 2016), without a tolerance.
The maximum is the middle of the map's largest cell. Boxes of one finding on one film are one area, and count once. A
random point lies within it with the probability of its share of the film: the mean of these shares is chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.data.external_predictions import comparable_names
from xraytransfer.study.data.external_test_set import IDENTIFIERS, Box
from xraytransfer.study.stats.calibration_error import wilson_interval

__all__ = ["boxed_films", "localisation", "map_maximum"]

_GRID = 1024
"""Cells of a side, by which areas of overlapping boxes are counted."""

Row = dict[str, Any]


def boxed_films(boxes: Sequence[Box], images: Sequence[str]) -> dict[str, list[Box]]:
    """Return the boxes of each of the films that have any, by the film's name.

    Parameters
    ----------
    boxes : sequence of Box
        Boxes of any films.
    images : sequence of str
        Names of films; endings and folders need not be those of the boxes.
    """
    if not boxes or not images:
        return {}
    ours, theirs = comparable_names(images, sorted({box.image for box in boxes}))
    film_of = dict(zip(ours, images, strict=True))
    names = dict(zip(sorted({box.image for box in boxes}), theirs, strict=True))
    found: dict[str, list[Box]] = {}
    for box in boxes:
        if (film := film_of.get(names[box.image])) is not None:
            found.setdefault(film, []).append(box)
    return found


def map_maximum(activation_map: NDArray[np.float32]) -> list[float]:
    """Return where the largest cell of a map has its middle: [left, top] in [0, 1], shares of width and height.

    Parameters
    ----------
    activation_map : ndarray
        float32, shape (h, w).
    """
    rows, columns = activation_map.shape
    row, column = divmod(int(activation_map.argmax()), columns)
    return [(column + 0.5) / columns, (row + 0.5) / rows]


def localisation(boxes: Mapping[str, Sequence[Box]], maxima: Mapping[str, Mapping[str, Sequence[float]]]) -> Row:
    """Return how many maxima lie within their boxes.

    Parameters
    ----------
    boxes : mapping
        From `boxed_films`.
    maxima : mapping
        Name of a film -> observation -> [left, top] from `map_maximum`.

    Returns
    -------
    dict
        ``maps``, ``hits``, ``share`` with ``lower`` and ``upper`` (Wilson, 95 %), ``chance``, and ``observations``: the
        same for each. Shares are None without a map.
    """
    findings: dict[tuple[str, str], list[Box]] = {}
    for image, all_boxes in boxes.items():
        for box in all_boxes:
            findings.setdefault((image, box.observation), []).append(box)
    rows = [
        (observation, _within(maxima[image][observation], here), _area(here))
        for (image, observation), here in findings.items()
    ]
    names = [name for name in IDENTIFIERS if any(row[0] == name for row in rows)]
    return {**_share(rows), "observations": {name: _share([row for row in rows if row[0] == name]) for name in names}}


def _share(rows: Sequence[tuple[str, bool, float]]) -> Row:
    """Return the share of maps (observation, hit, area of its boxes) that hit their boxes."""
    if not rows:
        return {"maps": 0, "hits": 0, "share": None, "lower": None, "upper": None, "chance": None}
    hits = sum(hit for _, hit, _ in rows)
    lower, upper = wilson_interval([hits], [len(rows)])
    return {
        "maps": len(rows),
        "hits": hits,
        "share": hits / len(rows),
        "lower": float(lower[0]),
        "upper": float(upper[0]),
        "chance": float(np.mean([area for _, _, area in rows])),
    }


def _within(maximum: Sequence[float], boxes: Sequence[Box]) -> bool:
    left, top = maximum
    return any(box.left <= left <= box.right and box.top <= top <= box.bottom for box in boxes)


def _area(boxes: Sequence[Box]) -> float:
    """Return the share of a film that lies within one of the boxes."""
    middles = (np.arange(_GRID) + 0.5) / _GRID
    within = np.zeros((_GRID, _GRID), bool)
    for box in boxes:
        rows = (middles >= box.top) & (middles <= box.bottom)
        within |= rows[:, None] & ((middles >= box.left) & (middles <= box.right))
    return float(within.mean())
