"""Calibration: a strictly rising curve for each observation that makes probabilities agree with frequencies.

Conventions
-----------
label : float, shape (films, k): 1, 0 or NaN (masked).
probability : float, shape (films, k), in [0, 1]: the members' mean.
The curve is ``sigmoid(a * ln p - b * ln(1 - p) + c)``, with a, b > 0, so the order of films, and every AUROC,
stays as it was. Isotonic regression is left out on purpose: its steps make ties, and ties change the AUROC.

Methods
-------
none : a = b = 1, c = 0.
temperature : a = b, c = 0. One number.
platt : a = b, c free. Two numbers: Platt's on the logit of p.
beta : all three free.

They are compared by expected calibration error on films of patients that the curve was not fitted on.

References
----------
Platt, Advances in Large Margin Classifiers, 1999 (with his targets, which keep fits of few positives finite).
Guo et al., ICML 2017 (temperature). Kull, Silva Filho and Flach, AISTATS 2017 (beta).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit

from xraytransfer.errors import ExportError
from xraytransfer.study.stats.calibration_error import expected_calibration_error

__all__ = ["METHODS", "Calibration", "compare", "fit", "identity"]

METHODS = ("none", "temperature", "platt", "beta")
"""From simple to complex."""

_FOLDS = 5
_WORTHWHILE = 0.75
"""A more complex method is taken when its calibration error is below this share of the simpler one's. On
4,000 films of a calibrated model the errors of two methods differ by up to a quarter by chance alone."""
_SMALLEST_SLOPE = 0.01
_CLIP = 1e-7
_MINIMUM_PER_CLASS = 5
"""Fewer films of a class than this say nothing about a curve: the observation stays as it is."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fitted calibration.

    Attributes
    ----------
    method : str
        One of `METHODS`, or a site's own word.
    a, b, c : ndarray
        float64, shape (k,).
    errors : dict
        Method -> mean expected calibration error over observations, on patients left out; empty where none
        were compared.
    fitted : ndarray
        bool, shape (k,): whether there were enough films of both classes.
    """

    method: str
    a: Floats
    b: Floats
    c: Floats
    errors: Mapping[str, float]
    fitted: NDArray[np.bool_]

    def apply(self, probability: ArrayLike) -> Floats:
        """Return calibrated probabilities.

        Parameters
        ----------
        probability : array_like
            float, shape (films, k), in [0, 1].

        Returns
        -------
        ndarray
            float64, shape (films, k), in (0, 1).
        """
        return _curve(np.asarray(probability, float), self.a, self.b, self.c)

    def initialisers(self) -> dict[str, NDArray[np.float32]]:
        """Return a, b and c as the graph stores them, float32 (k,)."""
        return {name: getattr(self, name).astype(np.float32) for name in ("a", "b", "c")}

    def to_dict(self, data: str) -> dict[str, Any]:
        """Return what the model file stores; `data` says what it was fitted on."""
        return {
            "method": self.method,
            "formula": "sigmoid(a * ln(p) - b * ln(1 - p) + c), p the members' mean probability",
            "parameters": {name: getattr(self, name).tolist() for name in ("a", "b", "c")},
            "fitted": self.fitted.tolist(),
            "expected_calibration_error": dict(self.errors),
            "data": data,
        }


def identity(observations: int) -> Calibration:
    """Return the calibration that changes nothing."""
    one = np.ones(observations)
    return Calibration("none", one, one, np.zeros(observations), {}, np.zeros(observations, bool))


def fit(
    label: ArrayLike,
    probability: ArrayLike,
    patient: ArrayLike,
    generator: np.random.Generator,
    method: str = "auto",
    *,
    before: Sequence[Floats] | None = None,
) -> Calibration:
    """Fit a calibration, choosing the method by calibration error on patients left out.

    Parameters
    ----------
    label, probability : array_like
        float, shape (films, k).
    patient : array_like
        Shape (films,): films of one patient are never on both sides of a fold.
    generator : numpy.random.Generator
        Draws the folds.
    method : str
        ``auto``, or one of `METHODS` without comparison.
    before : sequence of ndarray, optional
        a, b and c, float of shape (k,), of a calibration that is there already: what ``none`` keeps, and what
        the others must beat. Where absent, ``none`` keeps the mean probability as it is.

    Returns
    -------
    Calibration

    Raises
    ------
    ExportError
        No films, or an unknown method.
    """
    truth, p = np.asarray(label, float), np.asarray(probability, float)
    if method not in (*METHODS, "auto"):
        raise ExportError(f"unknown calibration {method!r}; known: auto, {', '.join(METHODS)}")
    if not truth.size:
        raise ExportError("a calibration needs labelled films; there are none")
    errors: dict[str, float] = {}
    if method == "auto":
        errors = compare(truth, p, patient, generator, before)
        method = METHODS[0]
        for candidate in METHODS[1:]:
            if errors[candidate] < _WORTHWHILE * errors[method]:
                method = candidate
    kept = _columns(before, truth.shape[1])
    rows = [_fit_one(truth[:, k], p[:, k], method, kept[k]) for k in range(truth.shape[1])]
    a, b, c = (np.array([row[index] for row in rows]) for index in range(3))
    enough = np.array([_enough(truth[:, k]) for k in range(truth.shape[1])])
    return Calibration(method, a, b, c, errors, enough)


def compare(
    label: ArrayLike,
    probability: ArrayLike,
    patient: ArrayLike,
    generator: np.random.Generator,
    before: Sequence[Floats] | None = None,
) -> dict[str, float]:
    """Return each method's expected calibration error, mean over observations, cross-validated by patient.

    Parameters are those of `fit`.
    """
    truth, p = np.asarray(label, float), np.asarray(probability, float)
    patients, index = np.unique(np.asarray(patient), return_inverse=True)
    fold = generator.permutation(len(patients))[index.reshape(-1)] % _FOLDS
    errors = {}
    kept = _columns(before, truth.shape[1])
    for method in METHODS:
        held_out = np.empty_like(p)
        for number in range(_FOLDS):
            inside, outside = fold != number, fold == number
            for k in range(truth.shape[1]):
                curve = _fit_one(truth[inside, k], p[inside, k], method, kept[k])
                held_out[outside, k] = _curve(p[outside, k], *curve)
        each = [expected_calibration_error(truth[:, k], held_out[:, k]) for k in range(truth.shape[1])]
        errors[method] = float(np.nanmean(each)) if not np.all(np.isnan(each)) else float("nan")
    return errors


Curve = tuple[float, float, float]


def _columns(before: Sequence[Floats] | None, observations: int) -> list[Curve]:
    """Return a, b, c for each observation as they were before; what changes nothing where there was nothing."""
    if before is None:
        return [(1.0, 1.0, 0.0)] * observations
    a, b, c = before
    return [(float(a[k]), float(b[k]), float(c[k])) for k in range(observations)]


def _fit_one(label: Floats, probability: Floats, method: str, before: Curve) -> Curve:
    """Return a, b, c for one observation; those from before where nothing is to be, or can be, fitted."""
    if method == "none" or not _enough(label):
        return before
    known = ~np.isnan(label)
    truth, p = label[known], np.clip(probability[known], _CLIP, 1 - _CLIP)
    log_p, log_q = np.log(p), np.log1p(-p)
    positives, negatives = truth.sum(), len(truth) - truth.sum()
    # Platt's targets: the mean of a uniform prior's posterior, instead of 1 and 0
    target = np.where(truth > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def unpack(parameters: Floats) -> tuple[float, float, float]:
        if method == "temperature":
            return parameters[0], parameters[0], 0.0
        if method == "platt":
            return parameters[0], parameters[0], parameters[1]
        return parameters[0], parameters[1], parameters[2]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        a, b, c = unpack(parameters)
        logit = a * log_p - b * log_q + c
        value = float(np.mean(np.logaddexp(0, logit) - target * logit))
        slope = (expit(logit) - target) / len(logit)
        by_a, by_b, by_c = slope @ log_p, -(slope @ log_q), slope.sum()
        gradient = {
            "temperature": [by_a + by_b],
            "platt": [by_a + by_b, by_c],
            "beta": [by_a, by_b, by_c],
        }[method]
        return value, np.array(gradient)

    start = {"temperature": [1.0], "platt": [1.0, 0.0], "beta": [1.0, 1.0, 0.0]}[method]
    slopes = {"temperature": 1, "platt": 1, "beta": 2}[method]
    bounds = [(_SMALLEST_SLOPE, None)] * slopes + [(None, None)] * (len(start) - slopes)
    optimum = minimize(loss, np.array(start), jac=True, method="L-BFGS-B", bounds=bounds)
    a, b, c = unpack(optimum.x)
    return float(a), float(b), float(c)


def _enough(label: Floats) -> bool:
    positives, negatives = int(np.sum(label == 1)), int(np.sum(label == 0))
    return min(positives, negatives) >= _MINIMUM_PER_CLASS


def _curve(probability: Floats, a: Floats | float, b: Floats | float, c: Floats | float) -> Floats:
    p = np.clip(probability, _CLIP, 1 - _CLIP)
    value: Floats = expit(a * np.log(p) - b * np.log1p(-p) + c)
    return value
