"""The checks before a file is written: parity with the trained networks, and what a lower precision costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from torch import nn

from xraytransfer.errors import ExportError
from xraytransfer.export.checks.evaluation import auroc_difference
from xraytransfer.export.checks.parity import TOLERANCES, Parity, Resize, measure_parity, random_films
from xraytransfer.radiograph import Film
from xraytransfer.resize import resize
from xraytransfer.study.data.predictions import Predictions

__all__ = ["MARGINS", "ReleaseChecks", "accuracy_check", "parity_check"]

MARGINS = {"float32": 0.0, "float16-weights": 0.002, "float16": 0.002, "int8": 0.005}
"""Macro AUROC that a precision may cost on the validation patients: the whole 95 % interval of the paired
difference must lie above minus this. 0.002 is a fifth of what another seed changes."""


@dataclass(frozen=True)
class ReleaseChecks:
    """Refuses to write a file of which a check failed, unless it is forced.

    Attributes
    ----------
    force : bool
        Write the file although a check failed; the file says so.
    log : callable
        Called with each line for the user.
    """

    force: bool
    log: Callable[[str], None]

    def requires(self, passed: bool, message: str) -> None:
        """Raise `ExportError` where a check failed and the file is not forced."""
        if passed:
            return
        if not self.force:
            raise ExportError(f"{message}; no file was written (--force writes it and says so inside)")
        self.log(f"forced: {message}")


def parity_check(
    networks: Sequence[nn.Module],
    session: ort.InferenceSession,
    films: Sequence[Film],
    *,
    resolution: tuple[int, int],
    precision: str,
    checks: ReleaseChecks,
    resolutions: Sequence[tuple[int, int]] | None = None,
    resize_again: Resize = resize,
) -> dict[str, Any]:
    """Compare the graph with the networks and return the row for the model file.

    Parameters
    ----------
    networks : sequence of nn.Module
        The members.
    session : onnxruntime.InferenceSession
        The graph in the precision that will be written.
    films : sequence of ndarray
        uint8, shape (rows, columns): whole real films.
    resolution : tuple of int
        The model's.
    precision : str
        Decides the tolerance.
    checks : ReleaseChecks
        How strictly.
    resolutions : sequence of tuple of int, optional
        Those of the members; the model's where absent.
    resize_again : callable
        As `measure_parity`.

    Raises
    ------
    ExportError
        A difference is beyond the tolerance.
    """
    made = random_films(resolution, np.random.default_rng(0))
    parity = measure_parity(
        networks,
        session,
        films,
        made,
        resolution,
        tolerance=TOLERANCES[precision],
        resolutions=resolutions,
        resize_again=resize_again,
    )
    checks.log(
        f"parity {precision}: {parity.films} films, largest difference of a probability "
        f"{parity.probability:.1e} (allowed {parity.tolerance:.0e}), on {parity.provider}"
    )
    checks.requires(parity.passed, _unlike(precision, parity))
    return {**parity.to_dict(), "passed": parity.passed}


def accuracy_check(
    validation: Predictions,
    lowered: NDArray[np.float32],
    full: NDArray[np.float32],
    *,
    precision: str,
    checks: ReleaseChecks,
    margin: float | None = None,
) -> dict[str, Any]:
    """Compare a lower precision's AUROC with float32's on the same validation films.

    Parameters
    ----------
    validation : Predictions
        Films, labels and patients.
    lowered, full : ndarray
        float32, shape (films, members, 6).
    precision : str
        Of `lowered`.
    checks : ReleaseChecks
        How strictly.
    margin : float, optional
        Allowed loss; `MARGINS` where absent.

    Returns
    -------
    dict
        The difference with its interval, the margin, and whether it passed.

    Raises
    ------
    ExportError
        The loss, or the far end of its interval, is beyond the margin.
    """
    allowed = MARGINS[precision] if margin is None else margin
    ours, reference = (values.mean(axis=1, dtype=np.float64) for values in (lowered, full))
    difference = auroc_difference(validation, ours, reference, np.random.default_rng(0))
    passed = bool(difference.lower >= -allowed)
    change = f"{difference.value:+.4f} [{difference.lower:+.4f}, {difference.upper:+.4f}]"
    checks.log(f"accuracy {precision}: macro AUROC against float32 {change}, may fall by {allowed}")
    checks.requires(passed, f"{precision} changes the macro AUROC by {change}, more than {allowed} may be lost")
    return {
        "reference": "float32",
        "data": "validation patients",
        "macro_auroc_difference": difference.value,
        "lower": difference.lower,
        "upper": difference.upper,
        "replicates": difference.replicates,
        "margin": allowed,
        "passed": passed,
    }


def _unlike(precision: str, parity: Parity) -> str:
    beyond = [
        f"{what} differs by {value:.2g} (allowed {allowed:.2g})"
        for what, value, allowed in parity.comparisons()
        if not value <= allowed
    ]
    return f"the {precision} graph does not answer as the trained networks do: {', '.join(beyond)}"
