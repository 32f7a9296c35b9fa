"""The card's section about thresholds: what they do, and how near to them a small change may flip a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xraytransfer.export.card.section import Section

__all__ = ["operating_points_section"]

Row = Mapping[str, Any]


def operating_points_section(document: Row) -> Section:
    """Return the section about thresholds."""
    points = document.get("operating_points") or []
    names = {row["identifier"]: row["name"] for row in document["observations"]}
    text = [
        f"Default: {document.get('default_operating_point') or 'none'}. Thresholds apply to the calibrated "
        f"probability and were found on {_films(document, points)}; they are optimistic there and wrong "
        "elsewhere until found anew."
    ]
    rows = [
        [
            str(row["name"]),
            str(names.get(row["observation"], row["observation"])),
            _number(row["threshold"]),
            _share(row, "sensitivity"),
            _share(row, "specificity"),
            str(row.get("n")),
        ]
        for row in points
    ]
    head = ["operating point", "observation", "threshold", "sensitivity", "specificity", "images"]
    if any(row.get("flip_width") is not None for row in points):
        text.append(_FLIP_WIDTH)
        head.append("flip width")
        rows = [
            [*cells, "" if row.get("flip_width") is None else f"{row['flip_width']:.3f}"]
            for cells, row in zip(rows, points, strict=True)
        ]
    return Section("Operating points", text, head, rows)


def _films(document: Row, points: Sequence[Row]) -> str:
    """Return on which films thresholds were found: in a site's copy, those of some observations, or all, on its own."""
    names = {row["identifier"]: row["name"] for row in document["observations"]}
    of_calibration = (document.get("calibration") or {}).get("data")
    found: dict[str, dict[str, None]] = {}
    for row in points:
        found.setdefault(str(row.get("data") or of_calibration), {})[names.get(row["observation"], "")] = None
    if set(found) <= {str(of_calibration)}:
        return "the films named under calibration"
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{data}, for {', '.join(observations)}" for data, observations in found.items())


_FLIP_WIDTH = (
    "Flip width: a film whose probability lies within this distance of the threshold is near it, and results say so. "
    "One of these small changes of the film may then flip the decision: JPEG picture of quality 90, every grey level "
    "one lower, 1 % of the sides cut off, turned by 2 degrees. Of the validation films whose decision one of them "
    "flipped, 95 of 100 lie within the width; most films within it do not flip."
)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _share(row: Row, name: str) -> str:
    bounds = row.get(f"{name}_interval")
    value = _number(row.get(name))
    return value if not bounds or row.get(name) is None else f"{value} [{bounds[0]:.3f}, {bounds[1]:.3f}]"
