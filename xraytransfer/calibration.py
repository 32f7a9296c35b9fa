"""Calibration as scoring applies it: the curve of the model file, for each member as for the ensemble.

The graph calibrates the members' mean and gives the members as they are. A spread is comparable with a calibrated
probability only if the members have gone through the same curve, so the numbers in the description are applied to them.

References
----------
Kull, Silva Filho and Flach, AISTATS 2017 (beta calibration, of which Platt's and temperature are cases).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.errors import ModelFileError
from xraytransfer.observations import OBSERVATIONS

__all__ = ["Calibration"]

_TOLERANCE = 1e-3  # the graph computes in float32
_CLIP = 1e-7  # as in the graph, so that logarithms of a saturated member stay finite


@dataclass(frozen=True, eq=False)
class Calibration:
    """The curve ``sigmoid(a * ln(p) - b * ln(1 - p) + c)`` of each observation.

    Attributes
    ----------
    a, b, c : ndarray
        float64, shape (6,).
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Calibration | None:
        """Read a model file's metadata; None where the model is not calibrated.

        Raises
        ------
        ModelFileError
            The entry exists and is malformed.
        """
        entry = document.get("calibration")
        if not isinstance(entry, dict) or "parameters" not in entry:
            return None
        try:
            rows = [np.asarray(entry["parameters"][name], np.float64) for name in ("a", "b", "c")]
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError("metadata: calibration parameters are not the numbers a, b and c") from error
        if any(row.shape != (len(OBSERVATIONS),) or not np.isfinite(row).all() for row in rows):
            raise ModelFileError(
                f"metadata: calibration parameters a, b and c are not {len(OBSERVATIONS)} numbers each"
            )
        return cls(*rows)

    def check(self, member_probability: NDArray[np.float32], probability: NDArray[np.float32], name: str) -> None:
        """Refuse a description that its own graph contradicts.

        Parameters
        ----------
        member_probability, probability : ndarray
            float32, shapes (films, members, 6) and (films, 6): what the graph answered.
        name : str
            Names the model file in the message.

        Raises
        ------
        ModelFileError
            The graph's probability is not its members' mean through this curve.
        """
        expected = self.apply(member_probability.mean(axis=1, dtype=np.float64))
        if not np.allclose(expected, probability, rtol=0, atol=_TOLERANCE):
            raise ModelFileError(
                f"{name}: the calibration that its description states is not the one in its graph; "
                "export or calibrate the model again"
            )

    def apply(self, probability: ArrayLike) -> NDArray[np.float32]:
        """Return calibrated probabilities.

        Parameters
        ----------
        probability : array_like
            Shape (..., 6), in [0, 1].

        Returns
        -------
        ndarray
            float32, the same shape, in [0, 1].
        """
        p = np.clip(np.asarray(probability, np.float64), _CLIP, 1 - _CLIP)
        logit = self.a * np.log(p) - self.b * np.log1p(-p) + self.c
        return (0.5 * (1 + np.tanh(logit / 2))).astype(np.float32)  # the sigmoid, without overflow
