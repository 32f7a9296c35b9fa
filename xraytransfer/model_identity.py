"""The checksum that tells models apart: it covers the graph and the parts of its description that a result depends on.

Conventions
-----------
The checksum is the SHA-256 of one JSON text (keys sorted, no spaces, ASCII) with these entries: ``graph_sha256``;
``input`` (resolution, intensity recipe, resize); ``calibration`` (the numbers of its formula); ``operating_points``
(sorted rows of name, observation, threshold, and flip width where there is one) and ``default_operating_point``;
``acceptance`` (kinds and limits of the quality gate). Numbers are written as Python writes a float. Metrics, notes,
training and dates are left out: a new card changes no result.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from xraytransfer.quality_gate import QualityGateLimits

__all__ = ["model_sha256"]


def model_sha256(document: dict[str, Any]) -> str:
    """Return the checksum of a model, 64 hexadecimal digits.

    Parameters
    ----------
    document : dict
        The description in a model file, as `xraytransfer.model_metadata.check_metadata` accepts it.
    """
    gate = QualityGateLimits.from_document(document)
    points = document.get("operating_points", [])
    parts = {
        "graph_sha256": document["graph_sha256"],
        "input": document["input"],
        "calibration": (document.get("calibration") or {}).get("parameters"),
        "operating_points": sorted(
            [str(row["name"]), row["observation"], _number(row["threshold"]), *_flip_width(row)] for row in points
        ),
        "default_operating_point": document.get("default_operating_point"),
        "acceptance": gate and _gate_limits(gate),
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _flip_width(row: dict[str, Any]) -> list[float]:
    """Return the row's flip width in a list; an empty list without one."""
    return [] if row.get("flip_width") is None else [float(row["flip_width"])]


def _gate_limits(gate: QualityGateLimits) -> list[Any]:
    """Return kinds and limits; that of mirrored films only where there is one: older files keep their identity."""
    limits = [list(gate.kinds), float(gate.minimum_probability), float(gate.maximum_distance)]
    mirrored = gate.minimum_mirrored_probability
    return limits if mirrored is None else [*limits, float(mirrored)]


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
