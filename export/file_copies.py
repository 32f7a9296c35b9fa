"""Copies of model files that need no run: of a fixed input, in today's form, or sealed after a graph tool.

Only the package onnx is needed, not torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from xraytransfer.errors import ExportError, ModelFileError
from xraytransfer.export.checks.self_test import measure_self_test
from xraytransfer.export.graph.model_writer import serialise
from xraytransfer.export.graph.rewriting import (
    with_fixed_input,
    with_float32_weights,
    with_unshared_int8,
    without_resize,
)
from xraytransfer.export.options import check_output
from xraytransfer.files import write_bytes
from xraytransfer.model_file import INPUT, ModelDescription, describe, parse, read, shipped_models
from xraytransfer.resize import resize
from xraytransfer.runtime import check_outputs, open_session
from xraytransfer.self_test import made_picture

__all__ = ["fixed_copy", "renewed_copy", "seal"]

Log = Callable[[str], None]
_PARITY = {"float32": 1e-5, "float16-weights": 1e-5, "float16": 1e-2, "int8": 1e-2}
"""How far a copy's outputs may lie from the original's: nodes are the same, but a runtime that finds other nodes
beside them may join them otherwise. Films are compared at the model's resolution; whole, where the resize is kept."""


def fixed_copy(
    model: str | Path,
    out: Path,
    *,
    kind: str = "uint8",
    float32_weights: bool = False,
    overwrite: bool = False,
    log: Log = lambda _: None,
) -> Path:
    """Write a copy of a model file that takes films at the model's resolution alone and has no shape arithmetic.

    Parameters
    ----------
    model : str or Path
        A model file or the name of a shipped model.
    out : Path
        The copy. No card is written beside it: the original's says all that was measured.
    kind : {'uint8', 'float32'}
        Type of the input: grey levels of 0 to 255 in either case.
    float32_weights : bool
        Store float16 weights as float32: twice the size, for runtimes that know no float16.
    overwrite : bool
        Replace `out` if it exists.
    log : callable
        Takes each line for the user.

    Raises
    ------
    ExportError
        The graph was not written by xraytransfer, a file exists, or the copy answers otherwise.
    ModelFileError
        Not a model file, or damaged.
    """
    check_output(out, overwrite=overwrite)
    original, data = read(model, verify=True)
    graph = with_fixed_input(onnx.ModelProto.FromString(data), original.resolution, kind=kind)
    if float32_weights:
        try:
            graph = with_float32_weights(graph)
        except ExportError as error:
            raise ExportError(f"{original.path}: {error}; leave out --float32-weights") from error
    precision = "float32" if float32_weights else original.document["precision"]
    entry = {**original.document["input"], "size": "fixed", "type": kind}
    return _write(original, data, graph, out, {"input": entry, "precision": precision}, log=log)


def renewed_copy(model: str | Path, out: Path, *, overwrite: bool = False, log: Log = lambda _: None) -> Path:
    """Write a copy of a file of version 0.1 in today's form: products for Resize nodes, low opset, a self-test.

    Parameters
    ----------
    model, out, overwrite, log
        As `fixed_copy`.

    Raises
    ------
    ExportError, ModelFileError
        As `fixed_copy`.
    """
    check_output(out, overwrite=overwrite)
    original, data = read(model, verify=True)
    graph = onnx.ModelProto.FromString(data)
    if original.self_test is not None and all(node.op_type != "Resize" for node in graph.graph.node):
        log(f"{original.path}: has today's form already, and is only copied")
    entry = {"size": "any", "type": "uint8", **original.document["input"]}
    return _write(original, data, without_resize(graph), out, {"input": entry}, log=log)


def seal(
    file: Path,
    *,
    original: str | Path | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    log: Log = lambda _: None,
) -> Path:
    """Give a file that a graph tool rewrote its description and checksum again, if it answers as the original does.

    Parameters
    ----------
    file : Path
        What the tool wrote.
    original : str or Path, optional
        The model file that it was made of; the shipped one of the checksum that `file` states where absent.
    out : Path, optional
        Where the sealed file is written; `file` is replaced where absent.
    overwrite : bool
        Replace `out` if it exists.
    log : callable
        Takes each line for the user.

    Raises
    ------
    ExportError
        The original is unknown or another one, the file is no ONNX file, `out` exists, or the file answers otherwise.
    ModelFileError
        The original is no model file, or damaged.
    """
    if out is not None:
        check_output(out, overwrite=overwrite)
    try:
        graph = with_unshared_int8(onnx.load_model_from_string(file.read_bytes()))
    except (OSError, DecodeError) as error:
        raise ExportError(f"{file}: is no ONNX file that can be read: {error}") from error
    known, data = read(_original(file, original), verify=True)
    (entry,) = graph.graph.input if len(graph.graph.input) == 1 else (None,)
    if entry is None or entry.name != INPUT:
        raise ExportError(f"{file}: a model file has one input, {INPUT}; this graph has {len(graph.graph.input)}")
    try:
        check_outputs(open_session(graph.SerializeToString(), "cpu")[0], replace(known, path=file))
    except ModelFileError as error:
        raise ExportError(f"{file}: was not made of {known.path}: {error}") from error
    return _write(known, data, graph, out or file, {}, whole=True, log=log)


def _original(file: Path, named: str | Path | None) -> str | Path:
    """Return the model file that another one was made of."""
    try:
        stated = describe(file).sha256
    except ModelFileError as error:
        if named is None:
            raise ExportError(f"{file}: the tool dropped the description; name the original with --original") from error
        return named
    if named is not None:
        if describe(named).sha256 != stated:
            raise ExportError(f"{file}: was made of another file than {named}: it states the checksum {stated[:12]}...")
        return named
    for path in shipped_models().values():
        if describe(path).sha256 == stated:
            return path
    raise ExportError(f"{file}: no shipped model has the checksum {stated[:12]}...; name the original with --original")


def _write(
    original: ModelDescription,
    data: bytes,
    graph: onnx.ModelProto,
    out: Path,
    changes: Mapping[str, Any],
    *,
    whole: bool = False,
    log: Log,
) -> Path:
    """Measure a copy against its original, and write it with its description and self-test; `whole` films too."""
    kept = {key: value for key, value in original.document.items() if key not in ("created", "schema_version")}
    document = {**kept, "made_from": original.sha256, **changes}
    fixed = document["input"].get("size") == "fixed"
    entry = measure_self_test(graph, original.resolution, document["precision"], fixed=fixed)
    file = serialise(graph, {**document, "self_test": entry})
    copy = parse(file, out, verify=True)
    sessions = [open_session(each, "cpu")[0] for each in (data, file)]
    check_outputs(sessions[1], copy)
    films = [resize(film, original.resolution) for film in _pictures()]
    if whole and not original.fixed_input:
        films += _pictures()
    difference = max(_difference(sessions, original.outputs, film) for film in films)
    allowed = _PARITY[original.document["precision"]]
    if not difference <= allowed:
        raise ExportError(
            f"{out}: the copy does not answer as {original.path} does: an output differs by {difference:.2g} "
            f"(allowed {allowed}); no file was written"
        )
    write_bytes(out, file, error=ExportError)
    log(f"{out}: {len(file) / 1e6:.1f} MB; largest difference of an output from {original.path.name}: {difference:.1e}")
    return out


def _difference(sessions: Sequence[ort.InferenceSession], outputs: Sequence[str], film: NDArray[np.uint8]) -> float:
    """Return how far the outputs of two graphs lie apart, those above 1 as a share of the largest; NaN is infinite."""
    original, copy = (
        session.run(list(outputs), {INPUT: film[None, None].astype(_input_type(session))}) for session in sessions
    )
    largest = 0.0
    for one, other in zip(original, copy, strict=True):
        if one.shape != other.shape:
            return float("inf")
        apart = float(np.abs(one - other).max()) / max(1.0, float(np.abs(one).max()))
        largest = max(largest, apart) if apart <= float("inf") else float("inf")
    return largest


def _input_type(session: ort.InferenceSession) -> type[np.float32] | type[np.uint8]:
    return np.float32 if session.get_inputs()[0].type == "tensor(float)" else np.uint8


def _pictures() -> list[NDArray[np.uint8]]:
    """Return made films: stripes, noise, a ramp, black and white."""
    noise = np.random.default_rng(0).integers(0, 256, (700, 600), dtype=np.uint8)
    ramp = np.linspace(0, 255, 700 * 600).reshape(700, 600).astype(np.uint8)
    plain = [np.full((700, 600), level, np.uint8) for level in (0, 255)]
    return [*(made_picture(700, 600, detail) for detail in (2, 30, 100)), noise, ramp, ramp[::-1].copy(), *plain]
