"""The metadata document of a model file: its schema, and the checks that scoring relies on.

The checks are written by hand, so that the core needs no schema library; the published JSON Schema says the same and
more (a test holds the two together).
"""

from __future__ import annotations

import importlib.resources
import json
import re
from typing import Any

from xraytransfer.calibration import Calibration
from xraytransfer.errors import ModelFileError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.quality_gate import QualityGateLimits
from xraytransfer.reading.intensity import INTENSITIES
from xraytransfer.self_test import SelfTest

__all__ = ["INPUT_SIZES", "INPUT_TYPES", "SCHEMA_VERSION", "check_metadata", "schema"]

SCHEMA_VERSION = 3
"""Version 3 adds the self-test and files of a fixed input, version 2 the quality gate (``acceptance``) in the graph.
Files of the earlier versions are still read."""
INPUT_SIZES = ("any", "fixed")
INPUT_TYPES = ("uint8", "float32")


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the metadata document."""
    text = importlib.resources.files("xraytransfer").joinpath("model_file.schema.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def check_metadata(document: dict[str, Any]) -> None:
    """Refuse a metadata document that this version cannot rely on.

    Parameters
    ----------
    document : dict
        The parsed metadata.

    Raises
    ------
    ModelFileError
        A newer schema, a missing or mistyped entry, or other observations than ours.
    """
    version = document.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelFileError(f"metadata: schema_version is {version!r}, expected a positive integer")
    if version > SCHEMA_VERSION:
        raise ModelFileError(
            f"written for schema version {version}, this version of xraytransfer reads up to {SCHEMA_VERSION}; "
            "a newer version of xraytransfer reads this file"
        )
    for key, kind in _REQUIRED.items():
        if not isinstance(document.get(key), kind):
            raise ModelFileError(f"metadata: {key} is {_short(document.get(key))}, expected {_KIND_NAMES[kind]}")
    for key in ("name", "version"):  # they stand in results and on terminals
        if not document[key] or _CONTROL.search(document[key]):
            raise ModelFileError(f"metadata: {key} is {_short(document[key])}, expected no control characters")
    _check_observations(document["observations"])
    _check_input(document["input"])
    if not document["members"] or not all(isinstance(row, dict) for row in document["members"]):
        raise ModelFileError("metadata: members is empty or not a list of objects")
    sha256 = document["graph_sha256"]
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ModelFileError(f"metadata: graph_sha256 is {_short(sha256)}, expected 64 hexadecimal digits")
    QualityGateLimits.from_document(document)
    Calibration.from_document(document)
    SelfTest.from_document(document)
    for row in _rows(document, "metrics"):
        if not {"data", "subset", "observation", "metric", "value"} <= set(row):
            raise ModelFileError(f"metadata: metric {_short(row)} lacks data, subset, observation, metric or value")
        if not all(_is_number_or_null(row.get(key)) for key in ("value", "lower", "upper")):
            raise ModelFileError(f"metadata: metric {_short(row)} has a value that is no number")
    _check_operating_points(_rows(document, "operating_points"), document.get("default_operating_point"))


_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
"""Control characters, breaks of lines, and halves of characters; spaces of any script are text."""

_REQUIRED: dict[str, type[Any]] = {
    "name": str,
    "version": str,
    "writer": str,
    "observations": list,
    "input": dict,
    "members": list,
    "graph_sha256": str,
    "precision": str,
    "licence": str,
}


def _rows(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return a list of objects that may be absent."""
    rows = document.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ModelFileError(f"metadata: {key} is {_short(rows)}, expected a list of objects")
    return rows


def _is_number_or_null(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _check_observations(rows: list[Any]) -> None:
    identifiers = [row.get("identifier") if isinstance(row, dict) else None for row in rows]
    expected = [observation.identifier for observation in OBSERVATIONS]
    if identifiers != expected:
        raise ModelFileError(f"metadata: observations are {_short(identifiers)}, expected {expected}")


def _check_input(entry: dict[str, Any]) -> None:
    resolution = entry.get("resolution")
    if (
        not isinstance(resolution, list)
        or len(resolution) != 2
        or not all(isinstance(side, int) and 1 <= side <= 8192 for side in resolution)
    ):
        raise ModelFileError(
            f"metadata: input resolution is {_short(resolution)}, expected [rows, columns] of 1 to 8192"
        )
    if entry.get("intensity") not in INTENSITIES:
        raise ModelFileError(
            f"metadata: intensity recipe {_short(entry.get('intensity'))} is unknown; known: {', '.join(INTENSITIES)}"
        )
    for key, known in (("size", INPUT_SIZES), ("type", INPUT_TYPES)):
        if entry.get(key, known[0]) not in known:
            raise ModelFileError(f"metadata: input {key} is {_short(entry[key])}, expected {' or '.join(known)}")


def _check_operating_points(rows: list[dict[str, Any]], default: object) -> None:
    seen = set()
    for row in rows:
        _check_operating_point(row)
        point = (str(row["name"]), row["observation"])
        if point in seen:  # readers would disagree which of them counts
            raise ModelFileError(f"metadata: two operating points {_short(point[0])} of {_short(point[1])}")
        seen.add(point)
    if default is not None and default not in [row["name"] for row in rows]:
        raise ModelFileError(f"metadata: default_operating_point is {_short(default)}, which operating_points lack")


def _check_operating_point(row: dict[str, Any]) -> None:
    if not {"name", "observation", "threshold"} <= set(row):
        raise ModelFileError(f"metadata: operating point {_short(row)} lacks name, observation or threshold")
    if not _is_number_or_null(row["threshold"]) or not isinstance(row["observation"], str):
        raise ModelFileError(f"metadata: operating point {_short(row)} has a threshold that is no number")
    if row["threshold"] is not None and not 0 <= row["threshold"] <= 1:  # NaN neither: no probability reaches it
        raise ModelFileError(f"metadata: operating point {_short(row)} has a threshold outside of 0 to 1")
    width = row.get("flip_width")
    if not _is_number_or_null(width) or (width is not None and not width >= 0):
        raise ModelFileError(f"metadata: operating point {_short(row)} has a flip_width that is no number from 0")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


_KIND_NAMES: dict[type[Any], str] = {str: "a string", list: "a list", dict: "an object"}
