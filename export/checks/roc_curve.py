"""The ROC curve: a few points of it for the model file, and its plot for the card.

Conventions
-----------
label : float, shape (films,): 1, 0 or NaN (masked).
probability : float, shape (films,). Films of equal probability stand on one straight piece of the curve, so that the
area under the whole curve is the AUROC with ties counted half.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xraytransfer.export.card.square_plot import SquarePlot
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.auroc import auroc

__all__ = ["POINTS", "roc_points", "roc_rows", "roc_svg"]

POINTS = 50
"""Most points kept of a curve: the area under them differs from the AUROC, which is stated, by less than 0.005."""


def roc_points(label: ArrayLike, probability: ArrayLike) -> tuple[list[float], list[float]]:
    """Return shares of false and of true positives from (0, 0) to (1, 1), at most `POINTS`, evenly along the curve.

    Both are empty where a class is absent.
    """
    truth, p = np.asarray(label, float), np.asarray(probability, float)
    known = ~np.isnan(truth)
    truth, p = truth[known], p[known]
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if not positives or not negatives:
        return [], []
    order = np.argsort(-p, kind="stable")
    called = np.flatnonzero(np.diff(p[order], append=-np.inf))  # the last film of each probability
    right = np.concatenate([[0.0], np.cumsum(truth[order] == 1)[called] / positives])
    wrong = np.concatenate([[0.0], np.cumsum(truth[order] == 0)[called] / negatives])
    way = right + wrong  # rises from 0 to 2
    kept = np.unique(np.searchsorted(way, np.linspace(0, 2, POINTS)).clip(0, len(way) - 1))
    return np.round(wrong[kept], 4).tolist(), np.round(right[kept], 4).tolist()


def roc_rows(films: Predictions, calibrated: np.ndarray[Any, Any], data: str) -> dict[str, Any]:
    """Return what the model file stores of the curves.

    Parameters
    ----------
    films : Predictions
        Labels.
    calibrated : ndarray
        float, shape (films, k).
    data : str
        Which films.

    Returns
    -------
    dict
        ``data``, and for each observation with both classes ``false_positive``, ``true_positive`` (shares),
        ``auroc``, ``n`` and ``positives``.
    """
    rows: dict[str, Any] = {"data": data}
    for k, observation in enumerate(films.observations):
        label = films.label[:, k]
        wrong, right = roc_points(label, calibrated[:, k])
        if wrong:
            rows[str(observation)] = {
                "false_positive": wrong,
                "true_positive": right,
                "auroc": float(auroc(label, calibrated[:, k])),
                "n": int((~np.isnan(label)).sum()),
                "positives": int((label == 1).sum()),
            }
    return rows


def roc_svg(curve: Mapping[str, Any], title: str) -> str:
    """Return a square plot of sensitivity against 1 - specificity.

    Parameters
    ----------
    curve : mapping
        ``false_positive`` and ``true_positive``: shares, of equal length.
    title : str
        Read out by screen readers.
    """
    plot = SquarePlot(1.0)
    pairs = zip(curve["false_positive"], curve["true_positive"], strict=True)
    points = " ".join(f"{plot.x(wrong)},{plot.y(right)}" for wrong, right in pairs)
    line = f'<polyline points="{points}" fill="none" stroke="#2b6cb0" stroke-width="2"/>'
    return plot.svg(title, "1 − specificity", "sensitivity", [line])
