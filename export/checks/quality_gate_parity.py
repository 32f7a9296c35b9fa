"""The quality gate in the graph against the quality gate that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from xraytransfer.errors import ExportError
from xraytransfer.export.checks.release_checks import ReleaseChecks
from xraytransfer.model_file import INPUT
from xraytransfer.quality_gate import MIRRORED_OUTPUT, QUALITY_GATE_OUTPUTS
from xraytransfer.resize import resize
from xraytransfer.study.quality_gate.network import QualityGateNetwork, load_quality_gate

__all__ = ["load_matching_quality_gate", "quality_gate_parity"]

TOLERANCE = 0.02
"""Allowed difference of a probability, and of a distance as a share of it, or of 1 where it is smaller. The film is
resized twice, and either resize may round by one level."""


def load_matching_quality_gate(
    folder: Path | None, split: dict[str, Any]
) -> tuple[QualityGateNetwork | None, dict[str, Any] | None]:
    """Load a quality gate that was trained on the same division of patients.

    Parameters
    ----------
    folder : Path or None
        The quality gate's; None for none.
    split : dict
        Of the runs that are exported.

    Raises
    ------
    ExportError
        It learned from other patients: some of them may be test patients of the runs.
    StudyError
        The folder holds no quality gate.
    """
    if folder is None:
        return None, None
    quality_gate, document = load_quality_gate(folder)
    if document["split"]["sha256"] != split["sha256"]:
        raise ExportError(
            f"{folder}: the quality gate was trained on another division of patients than the runs; train it with the "
            "same --salt, --fractions and --evaluation-minimum-width"
        )
    return quality_gate, document


def quality_gate_parity(
    quality_gate: QualityGateNetwork,
    session: ort.InferenceSession,
    films: Sequence[NDArray[np.uint8]],
    resolution: tuple[int, int],
    checks: ReleaseChecks,
) -> dict[str, Any]:
    """Compare the quality gate in a graph with the trained one on whole films.

    Parameters
    ----------
    quality_gate : QualityGateNetwork
        As it was trained.
    session : onnxruntime.InferenceSession
        The graph.
    films : sequence of ndarray
        uint8, shape (rows, columns).
    resolution : tuple of int
        The model's; the quality gate takes the film at this resolution.
    checks : ReleaseChecks
        How strictly.

    Raises
    ------
    ExportError
        A probability differs by more than `TOLERANCE`, or a distance by more than this share of it.
    """
    names = [*QUALITY_GATE_OUTPUTS, MIRRORED_OUTPUT]
    kinds, distances, shares = [0.0], [0.0], [0.0]
    with torch.no_grad():
        for film in films:
            small = resize(resize(film, resolution), (quality_gate.side, quality_gate.side))
            answers = quality_gate(torch.from_numpy(small[None, None].copy()).float())
            expected = [answer.numpy() for answer in answers]
            outputs = session.run(names, {INPUT: film[None, None]})
            kinds += [_difference(outputs[index], expected[index]) for index in (0, 2)]  # the two probabilities
            distances.append(_difference(outputs[1], expected[1]))
            shares.append(distances[-1] / max(float(expected[1].max()), 1.0))
    found = {"a probability": float(np.max(kinds)), "a distance, as a share of itself,": float(np.max(shares))}
    checks.log(
        f"parity of the quality gate: {len(films)} films, largest difference of a probability "
        f"{found['a probability']:.1e}"
    )
    beyond = [f"{what} differs by {value:.2g}" for what, value in found.items() if not value <= TOLERANCE]
    checks.requires(
        not beyond,
        f"the quality gate in the graph does not answer as the trained one does: {', '.join(beyond)} "
        f"(allowed {TOLERANCE})",
    )
    return {
        "films": len(films),
        "max_abs_difference": found["a probability"],
        "max_distance_difference": float(np.max(distances)),
        "tolerance": TOLERANCE,
        "passed": not beyond,
    }


def _difference(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(actual - expected).max())
