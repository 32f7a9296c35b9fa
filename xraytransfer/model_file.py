"""The model file, an ONNX file that holds its own description: reading and checking it.

Conventions
-----------
A model file is an ONNX ``ModelProto``. Its ``metadata_props`` (field 14) hold, under the key
`METADATA_KEY`, one JSON document that fulfils ``model_file.schema.json``. The document names the
SHA-256 of everything else in the file, so weights cannot change unnoticed and descriptions can be
read without loading the graph.
The file is over 300 lines long because it documents each part of the description.
"""

from __future__ import annotations

import importlib.resources
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xraytransfer import onnx_bytes
from xraytransfer.calibration import Calibration
from xraytransfer.errors import ModelFileError
from xraytransfer.model_identity import model_sha256
from xraytransfer.model_metadata import check_metadata
from xraytransfer.quality_gate import QualityGateLimits
from xraytransfer.self_test import SelfTest

__all__ = [
    "INPUT",
    "METADATA_KEY",
    "OUTPUTS",
    "ModelDescription",
    "describe",
    "graph_sha256",
    "parse",
    "read",
    "shipped_models",
]

METADATA_KEY = "xraytransfer"
INPUT = "image"
OUTPUTS = ("probability", "member_probability", "activation_map")
MAX_BYTES = 2**31 - 1
"""Protobuf cannot hold more in one message."""


@dataclass(frozen=True)
class ModelDescription:
    """The description in a model file.

    Attributes
    ----------
    path : Path
        The file.
    document : dict
        The whole metadata document.
    """

    path: Path
    document: dict[str, Any]

    @property
    def name(self) -> str:
        """Return the model's name."""
        return str(self.document["name"])

    @property
    def version(self) -> str:
        """Return the model's own version, not this package's."""
        return str(self.document["version"])

    @cached_property
    def sha256(self) -> str:
        """Return the model's checksum, 64 hexadecimal digits: graph, calibration, thresholds, limits and input."""
        return model_sha256(self.document)

    @property
    def graph_sha256(self) -> str:
        """Return the checksum of graph and weights alone, 64 hexadecimal digits."""
        return str(self.document["graph_sha256"])

    @property
    def calibration(self) -> Calibration | None:
        """Return the numbers of the calibration, None where the file holds none."""
        return Calibration.from_document(self.document)

    @property
    def observations(self) -> tuple[str, ...]:
        """Return the observations' identifiers in the order of every output."""
        return tuple(str(row["identifier"]) for row in self.document["observations"])

    @property
    def resolution(self) -> tuple[int, int]:
        """Return (rows, columns) that the graph resizes every radiograph to."""
        rows, columns = self.document["input"]["resolution"]
        return int(rows), int(columns)

    @property
    def intensity(self) -> str:
        """Return the intensity recipe that the model was trained with."""
        return str(self.document["input"]["intensity"])

    @property
    def fixed_input(self) -> bool:
        """Return whether the graph takes films at `resolution` alone; others are resized before."""
        return bool(self.document["input"].get("size", "any") == "fixed")

    @property
    def self_test(self) -> SelfTest | None:
        """Return the self-test, None in files of schema versions 1 and 2."""
        return SelfTest.from_document(self.document)

    @property
    def members(self) -> list[dict[str, Any]]:
        """Return one dict for each member of the ensemble."""
        return list(self.document["members"])

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Return the measured metrics, empty where none were measured."""
        return list(self.document.get("metrics", []))

    @property
    def operating_points(self) -> list[dict[str, Any]]:
        """Return the stored operating points, empty where there are none."""
        return list(self.document.get("operating_points", []))

    @property
    def quality_gate(self) -> QualityGateLimits | None:
        """Return the limits of the quality gate, None where the file has none."""
        return QualityGateLimits.from_document(self.document)

    @property
    def outputs(self) -> list[str]:
        """Return the names of the graph's outputs."""
        return [*OUTPUTS, *(() if self.quality_gate is None else self.quality_gate.outputs)]

    def thresholds(self, name: str | None = None) -> list[float | None]:
        """Return one decision threshold on the calibrated probability for each observation.

        Parameters
        ----------
        name : str, optional
            An operating point's name; the file's default where absent.

        Returns
        -------
        list of float or None
            In observation order; None where the file holds no such operating point.
        """
        return self._operating_point(name, "threshold")

    def flip_widths(self, name: str | None = None) -> list[float | None]:
        """Return the flip width of each observation's threshold, in probability.

        Parameters
        ----------
        name : str, optional
            As for `thresholds`.

        Returns
        -------
        list of float or None
            In observation order; None where the file holds none, as those of version 0.1.
        """
        return self._operating_point(name, "flip_width")

    def _operating_point(self, name: str | None, key: str) -> list[float | None]:
        point = name or self.document.get("default_operating_point")
        rows = {row["observation"]: row.get(key) for row in self.operating_points if row["name"] == point}
        return [rows.get(observation) for observation in self.observations]


def shipped_models() -> dict[str, Path]:
    """Return the models that ship with the package: name -> path."""
    folder = Path(str(importlib.resources.files("xraytransfer.models")))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"), key=lambda path: path.stem)}


def describe(path: str | os.PathLike[str]) -> ModelDescription:
    """Read a model file's description without loading its graph; the checksum is not verified.

    Parameters
    ----------
    path : path-like
        A model file, or the name of a shipped model such as ``default``; a file of that very name in
        the working folder is ``./default``.

    Returns
    -------
    ModelDescription

    Raises
    ------
    ModelFileError
        No such file, not an ONNX file of ours, or a schema newer than this version reads.
    """
    return read(path)[0]


def read(path: str | os.PathLike[str], *, verify: bool = False) -> tuple[ModelDescription, bytes]:
    """Read a model file's description and its bytes.

    Parameters
    ----------
    path : path-like
        A model file, or the name of a shipped model.
    verify : bool
        Compare the checksum of graph and weights with the one that the file states.

    Returns
    -------
    ModelDescription, bytes
        The bytes are the whole file, for `xraytransfer.runtime.open_session`.

    Raises
    ------
    ModelFileError
        As `describe`; with `verify`, also where the checksum differs.
    """
    file = _locate(path)
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"{file}: larger than 2 GB, which an ONNX file cannot be")
        data = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file}: cannot be read: {error.strerror}") from error
    return parse(data, file, verify=verify), data


def parse(data: bytes, path: Path, *, verify: bool = False) -> ModelDescription:
    """Read the description out of a model file's bytes; `path` only names the file in messages.

    Raises
    ------
    ModelFileError
        Not ours, damaged, or newer than this version reads; with `verify` also if graph or weights were changed.
    """
    try:
        document = _metadata_document(data)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: not a model file of xraytransfer: {error}") from error
    try:
        check_metadata(document)
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    if verify and graph_sha256(data) != document["graph_sha256"]:
        raise ModelFileError(f"{path}: {_changed(data, document)}")
    return ModelDescription(path, document)


def _locate(path: str | os.PathLike[str]) -> Path:
    shipped = shipped_models()
    if str(path) in shipped:  # also where a file of that name happens to lie in the working folder
        return shipped[str(path)]
    file = Path(path)
    if file.is_file():
        return file
    if file.is_dir():
        raise ModelFileError(f"{path}: a folder; name the model file in it")
    known = ", ".join(shipped) or "none"
    raise ModelFileError(f"{path}: no such model file, and no shipped model has this name (shipped: {known})")


def graph_sha256(data: bytes | memoryview) -> str:
    """Return the SHA-256 of a model file without its metadata: 64 hexadecimal digits.

    Raises
    ------
    ValueError
        `data` is not an ONNX file.
    """
    return onnx_bytes.sha256_without_metadata(data)


def _changed(data: bytes, document: dict[str, Any]) -> str:
    """Return what happened to a file whose checksum is another one, and what to do.

    Damage keeps the number of bytes; a file that is cut short is no ONNX file any more.
    """
    checksums = (
        f"graph and weights have the checksum {graph_sha256(data)[:12]}..., the file states "
        f"{document['graph_sha256'][:12]}..."
    )
    again = "fetch or export it again"
    seal = "`xraytransfer models seal` compares it with its original and seals it again"
    stated, size = document.get("graph_bytes"), onnx_bytes.size_without_metadata(data)
    if stated == size:
        return f"damaged: {checksums}; {again}"
    if stated is None:  # schema versions 1 and 2
        return f"damaged, or rewritten by another program: {checksums}; {again}; if a program rewrote it, {seal}"
    return f"rewritten by another program ({stated} bytes became {size}): {checksums}; {seal}"


def _metadata_document(data: bytes) -> dict[str, Any]:
    """Return the file's JSON document; raise ValueError with the reason where there is none."""
    if not data:
        raise ValueError("an empty file")
    entries = onnx_bytes.metadata(data)
    if METADATA_KEY.encode() not in entries:
        raise ValueError(f"no metadata entry named {METADATA_KEY!r}")
    document = json.loads(entries[METADATA_KEY.encode()].decode("utf-8"))
    if not isinstance(document, dict):
        raise ValueError("its metadata is not a JSON object")
    return document
