"""Calibration and operating points of a site: its labelled films give a calibrated copy of the model file.

Conventions
-----------
The table is a CSV file with a column ``path`` (relative to the table's folder, or absolute), one column for
each observation that was labelled (identifier or printed name; 1 present, 0 absent, empty not labelled), and
optionally ``patient``. Networks stay as they are: only the calibration's numbers, the operating points and
the description change.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

import xraytransfer
from xraytransfer.errors import ExportError
from xraytransfer.export.calibration import Calibration, fit
from xraytransfer.export.card.files import write_cards
from xraytransfer.export.description import describe_calibrated_copy
from xraytransfer.export.graph.model_writer import serialise
from xraytransfer.export.graph.to_onnx import CALIBRATION_INITIALISERS
from xraytransfer.export.options import check_output
from xraytransfer.export.scoring import set_calibration
from xraytransfer.files import write_bytes
from xraytransfer.model_file import ModelDescription, describe, parse, read
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.predictions import Predictions

__all__ = ["LabelledFilms", "calibrate_site", "read_labels"]

_REFUSALS_SHOWN = 10
_EXPECTED = f"expected are a column path and at least one of {', '.join(row.identifier for row in OBSERVATIONS)}"


@dataclass(frozen=True, eq=False)
class LabelledFilms:
    """A site's films.

    Attributes
    ----------
    path : list of Path
        The films.
    patient : ndarray
        str, shape (films,); the path where the table has no such column.
    label : ndarray
        float32, shape (films, 6): 1, 0 or NaN.
    """

    path: list[Path]
    patient: NDArray[np.str_]
    label: NDArray[np.float32]


def read_labels(table: Path) -> LabelledFilms:
    """Read a site's table.

    Parameters
    ----------
    table : Path
        CSV, UTF-8, as the module's conventions define.

    Raises
    ------
    ExportError
        The table cannot be read, lacks a column, or holds another label than 1, 0 or nothing; the message
        names the line.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"{table}: is no CSV file in UTF-8; {_EXPECTED}") from error
    except OSError as error:
        raise ExportError(f"{table}: cannot be read: {error.strerror}") from error
    names = {alias: k for k, row in enumerate(OBSERVATIONS) for alias in (row.identifier, row.name)}
    label_columns = {column: names[column] for column in columns if column in names}
    if "path" not in columns or not label_columns:
        raise ExportError(f"{table}: {_EXPECTED}; it has {', '.join(columns) or 'no columns'}")
    label = np.full((len(rows), len(OBSERVATIONS)), np.nan, np.float32)
    for index, row in enumerate(rows):
        for column, k in label_columns.items():
            label[index, k] = _label(row[column], f"{table}, line {index + 2}, {column}")
    paths = [table.parent / (row["path"] or "") for row in rows]
    patients = [row.get("patient") or str(path) for row, path in zip(rows, paths, strict=True)]
    return LabelledFilms(paths, np.array(patients, dtype=np.str_), label)


def calibrate_site(
    model: str | Path,
    table: Path,
    out: Path,
    *,
    method: str = "auto",
    name: str | None = None,
    version: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write a copy of a model file with calibration and operating points found on a site's films.

    Parameters
    ----------
    model : str or Path
        A model file or the name of a shipped model.
    table : Path
        The site's table.
    out : Path
        The copy.
    method : str
        ``auto`` or a method of `xraytransfer.export.calibration`.
    name : str, optional
        The copy's name; the model's where absent.
    version : str, optional
        The copy's version; the model's with ``+site.`` and the first digits of the copy's checksum where absent, so
        that results of the two can be told apart.
    device : str
        As `xraytransfer.load`.
    overwrite : bool
        Replace `out` if it exists.
    log : callable
        Takes each line for the user.

    Returns
    -------
    dict
        The copy's description.

    Raises
    ------
    ExportError
        A bad table, no film that can be scored, too few of every class, or a file that exists.
    ModelFileError
        Not a model file, or damaged.
    """
    check_output(out, overwrite=overwrite)
    films = read_labels(table)
    description, data = read(model, verify=True)
    scored = _score(model, films, device, log)
    graph = onnx.ModelProto.FromString(data)
    # an observation with too few films keeps the model's calibration, and so do all where no method beats it
    arrays = (scored.label, scored.ensemble(), scored.patient)
    calibration = fit(*arrays, np.random.default_rng(0), method, before=_stored(graph))
    if not calibration.fitted.any():
        raise ExportError(f"{table}: no observation has 5 films with it and 5 without: nothing to calibrate on")
    set_calibration(graph, calibration)
    document = describe_calibrated_copy(description, scored, calibration, table.name, name)
    document["version"] = version or _site_version(description, parse(serialise(graph, document), out))
    write_bytes(out, serialise(graph, document), error=ExportError)
    write_cards(out)
    _report(out, calibration, len(scored.image), log)
    return document


def _site_version(original: ModelDescription, copy: ModelDescription) -> str:
    """Return a version that names the copy's numbers; a copy of a copy carries the last one's alone."""
    return f"{original.version.partition('+site.')[0]}+site.{copy.sha256[:8]}"


def _report(out: Path, calibration: Calibration, films: int, log: Callable[[str], None]) -> None:
    """Log which observations were fitted, and which were left as they were."""
    fitted = [row.identifier for row, yes in zip(OBSERVATIONS, calibration.fitted, strict=True) if yes]
    left = [row.identifier for row in OBSERVATIONS if row.identifier not in fitted]
    kept = calibration.method == "none"
    method = "the model's own calibration kept, none is better" if kept else f"{calibration.method} calibration"
    copy = describe(out)
    log(f"{out}: {copy.name} {copy.version}, checksum of the model {copy.sha256}")
    log(f"{out}: {method}; thresholds of {', '.join(fitted)} found on {films} films")
    if left:
        log(f"left as they were (fewer than 5 films with or without): {', '.join(left)}")


def _label(text: str | None, where: str) -> float:
    value = (text or "").strip()
    if value in ("", "nan"):
        return float("nan")
    if value in ("1", "1.0", "0", "0.0"):
        return float(value)
    raise ExportError(f"{where}: {value!r} is no label; expected 1, 0 or nothing")


def _score(model: str | Path, films: LabelledFilms, device: str, log: Callable[[str], None]) -> Predictions:
    """Return labels and probabilities of the films that the model does not refuse."""
    kept, answers, refused = [], [], 0
    for index, outcome in enumerate(xraytransfer.load(model, device=device).predict_many(films.path)):
        if isinstance(outcome, xraytransfer.Prediction):
            kept.append(index)
            answers.append(outcome.raw_member_probability)
        else:
            refused += 1
            if refused <= _REFUSALS_SHOWN:
                log(f"refused: {outcome.message}")
    if refused > _REFUSALS_SHOWN:
        log(f"refused: {refused - _REFUSALS_SHOWN} more")
    if not kept:
        raise ExportError(
            f"none of the {len(films.path)} films could be scored; a path in the table begins at the table's own folder"
        )
    count = len(kept)
    unknown = np.array([""] * count)
    return Predictions(
        image=np.array([films.path[index].name for index in kept]),
        patient=films.patient[kept],
        examination=films.patient[kept],
        view=unknown,
        sex=unknown,
        age=np.full(count, np.nan, np.float32),
        observations=np.array([row.identifier for row in OBSERVATIONS]),
        label=films.label[kept],
        probability=np.stack(answers),
        checkpoint_steps=np.full(answers[0].shape[0], -1, np.int64),
    )


def _stored(graph: onnx.ModelProto) -> Sequence[NDArray[np.float64]]:
    """Return a, b and c as the graph holds them."""
    held = {tensor.name: tensor for tensor in graph.graph.initializer}
    if missing := [name for name in CALIBRATION_INITIALISERS if name not in held]:
        raise ExportError(f"the model has no {missing[0]}: it was not written by xraytransfer export")
    return [numpy_helper.to_array(held[name]).astype(np.float64) for name in CALIBRATION_INITIALISERS]
