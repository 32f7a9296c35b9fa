"""A model file summarised in a few lines, and verified by a trial run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from xraytransfer import model_file, runtime
from xraytransfer.errors import ModelFileError
from xraytransfer.model_file import ModelDescription

__all__ = ["card", "checksum_line", "failed_checks", "page", "summary", "verified"]


def card(model: ModelDescription) -> str:
    """Return the card that lies beside a model file, and the model's checksum; a summary where there is none.

    A card of another file, which names other graph and weights, is not shown.
    """
    path = model.path.with_suffix(".md")
    if not path.is_file():
        return summary(model)
    text = path.read_text("utf-8", "replace")
    if model.graph_sha256 in text:
        return f"{text}\n{checksum_line(model)}"
    return f"{summary(model)}\n{path}: is the card of another model file, and is not shown"


def page(model: ModelDescription) -> str:
    """Return the card that lies beside a model file as a web page.

    Raises
    ------
    ModelFileError
        There is none, or it is that of another file.
    """
    path = model.path.with_suffix(".html")
    if not path.is_file():
        raise ModelFileError(f"{path}: no such file; `xraytransfer export` writes it beside the model")
    text = path.read_text("utf-8", "replace")
    if model.graph_sha256 not in text:
        raise ModelFileError(f"{path}: is the card of another model file: it does not name {model.graph_sha256}")
    return text


def summary(model: ModelDescription) -> str:
    """Return a summary of a model file: members, input, metrics.

    Parameters
    ----------
    model : ModelDescription

    Returns
    -------
    str
        Several lines; metrics as stored, with n and 95 % interval, none where none are stored.
    """
    rows, columns = model.resolution
    lines = [
        f"{model.name}, version {model.version}, written by {model.document['writer']}",
        checksum_line(model),
        f"checksum of graph and weights alone: {model.graph_sha256}",
        f"input: {rows} x {columns}{_only(model)}, intensity recipe {model.intensity}; "
        f"precision {model.document['precision']}",
        f"licence: {model.document['licence']}",
        f"members: {len(model.members)}",
    ]
    lines += [f"  {_member_line(member)}" for member in model.members]
    lines += [
        f"{row['metric']} {row['observation']} ({row['data']}, {row['subset']}): {_interval(row)}"
        for row in model.metrics
    ]
    return "\n".join(lines + [f"PROBLEM: {problem}" for problem in failed_checks(model.document)])


def checksum_line(model: ModelDescription) -> str:
    """Return the line that names a model's checksum, by which its results are told from those of other models."""
    return f"checksum of the model (graph, calibration, thresholds, limits and input): {model.sha256}"


def failed_checks(document: Mapping[str, Any]) -> list[str]:
    """Return which checks an exported file failed and was written in spite of, by its metadata document."""
    parity, accuracy = document.get("parity") or {}, document.get("accuracy") or {}
    checks = {"parity check": parity, "parity check of its quality gate": parity.get("judge") or {}}
    checks["accuracy check"] = accuracy
    return [
        f"the export's {check} failed, and the file was written because it was forced"
        for check, row in checks.items()
        if not row.get("passed", True)
    ]


def _only(model: ModelDescription) -> str:
    """Return what a program must know of a fixed input; empty for films of any size."""
    kind = model.document["input"].get("type", "uint8")
    return f", films of this size only ({kind})" if model.fixed_input else ""


def _member_line(member: dict[str, object]) -> str:
    parts = [str(member.get("timm") or member.get("architecture") or "?")]
    parts += [f"{key} {member[key]}" for key in ("initialisation", "truncation", "fusion", "run") if key in member]
    return ", ".join(parts)


def _interval(row: dict[str, object]) -> str:
    value, lower, upper = row["value"], row.get("lower"), row.get("upper")
    text = "undefined" if value is None else f"{value:.3f}"
    if lower is not None and upper is not None:
        text += f" ({lower:.3f} to {upper:.3f})"
    return f"{text}, n {row.get('n', '?')}, positive {row.get('positives', '?')}"


def verified(model: str | os.PathLike[str], device: str = "auto") -> str:
    """Check a model file: metadata, checksum, and the outputs for a test image.

    Parameters
    ----------
    model : path-like
        A model file or a shipped model's name.
    device : str
        As `xraytransfer.load`.

    Returns
    -------
    str
        One line.

    Raises
    ------
    ModelFileError
        The file is damaged, newer than this version reads, or its outputs are no probabilities.
    DeviceError
        The device asked for does not run, or computes something else than the file's self-test states.
    """
    description, data = model_file.read(model, verify=True)
    session, provider = runtime.open_session(data, device, sizes=runtime.film_sizes(description))
    runtime.check_outputs(session, description)
    probability, members, maps = session.run(list(model_file.OUTPUTS), {model_file.INPUT: runtime.ramp(session)})
    count = len(description.observations)
    if probability.shape != (1, count) or members.shape != (1, len(description.members), count):
        raise ModelFileError(
            f"{description.path}: answers of shape {probability.shape} and {members.shape}, expected "
            f"(1, {count}) and (1, {len(description.members)}, {count})"
        )
    if maps.ndim != 4 or not all(np.isfinite(array).all() for array in (probability, members, maps)):
        raise ModelFileError(f"{description.path}: its answers are not finite numbers")
    if min(probability.min(), members.min()) < 0 or max(probability.max(), members.max()) > 1:
        raise ModelFileError(f"{description.path}: its answers are no probabilities")
    if description.calibration is not None:
        description.calibration.check(members, probability, str(description.path))
    line = f"{description.path}: metadata, checksum {description.sha256[:12]} and answers are right, on {provider}"
    test = description.self_test
    if test is None:
        line += "; it has no self-test (schema version 2 or earlier)"
    else:
        difference = test.require(session, f"{description.path} on {provider}")
        line += f"; self-test: {difference:.1e} (allowed {test.tolerance})"
    return "; but ".join([line, *failed_checks(description.document)])
