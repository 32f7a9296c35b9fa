"""The judge in the graph against the judge that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from xraytransfer.errors import ExportError
from xraytransfer.export.checks.gates import Gate
from xraytransfer.model_file import INPUT
from xraytransfer.quality_gate import ACCEPTANCE_OUTPUTS
from xraytransfer.resize import resize
from xraytransfer.study.quality_gate.network import QualityGateNetwork, load_quality_gate

__all__ = ["fitting_judge", "judge_gate"]

TOLERANCE = 0.02
"""Allowed difference of a kind's probability: the film is resized twice, and either resize may round by one level."""


def fitting_judge(
    folder: Path | None, split: dict[str, Any]
) -> tuple[QualityGateNetwork | None, dict[str, Any] | None]:
    """Load a judge that was trained on the same division of patients.

    Parameters
    ----------
    folder : Path or None
        The judge's; None for none.
    split : dict
        Of the runs that are exported.

    Raises
    ------
    ExportError
        It learned from other patients: some of them may be test patients of the runs.
    StudyError
        The folder holds no judge.
    """
    if folder is None:
        return None, None
    judge, document = load_quality_gate(folder)
    if document["split"]["sha256"] != split["sha256"]:
        raise ExportError(
            f"{folder}: the judge was trained on another division of patients than the runs; train it with the "
            "same --salt, --fractions and --evaluation-minimum-width"
        )
    return judge, document


def judge_gate(
    judge: QualityGateNetwork,
    session: ort.InferenceSession,
    films: Sequence[NDArray[np.uint8]],
    resolution: tuple[int, int],
    gate: Gate,
) -> dict[str, Any]:
    """Compare the judge in a graph with the trained one on whole films.

    Parameters
    ----------
    judge : QualityGateNetwork
        As it was trained.
    session : onnxruntime.InferenceSession
        The graph.
    films : sequence of ndarray
        uint8, shape (rows, columns).
    resolution : tuple of int
        The model's, by whose picture the judge is fed.
    gate : Gate
        How strictly.

    Raises
    ------
    ExportError
        A difference is beyond `TOLERANCE`.
    """
    kinds = distance = 0.0
    with torch.no_grad():
        for film in films:
            small = resize(resize(film, resolution), (judge.side, judge.side))
            expected = judge(torch.from_numpy(small[None, None].copy()).float())
            found = session.run(list(ACCEPTANCE_OUTPUTS), {INPUT: film[None, None]})
            kinds = max(kinds, float(np.abs(found[0] - expected[0].numpy()).max()))
            distance = max(distance, float(np.abs(found[1] - expected[1].numpy()).max()))
    gate.say(f"parity of the judge: {len(films)} films, largest difference of a probability {kinds:.1e}")
    gate.judge(kinds <= TOLERANCE, f"the judge in the graph differs from the trained one by {kinds:.2g}")
    return {
        "films": len(films),
        "max_abs_difference": kinds,
        "max_distance_difference": distance,
        "tolerance": TOLERANCE,
    }
