"""Calibration and operating points of a site: its labelled films give a calibrated copy of the model file.

The table is read by `xraytransfer.export.site_films`. Networks stay as they are: only the calibration's numbers, the
operating points and the description change.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import xraytransfer
from xraytransfer.errors import ExportError
from xraytransfer.export.calibration import Calibration, fit
from xraytransfer.export.card.files import write_cards
from xraytransfer.export.checks.self_test import measure_self_test
from xraytransfer.export.description import describe_calibrated_copy
from xraytransfer.export.graph.calibration_numbers import calibration_numbers, set_calibration
from xraytransfer.export.graph.model_writer import serialise
from xraytransfer.export.options import check_output
from xraytransfer.export.site_films import SiteFilms, read_site_films
from xraytransfer.export.site_report import site_report
from xraytransfer.files import write_bytes
from xraytransfer.model_file import ModelDescription, describe, parse, read
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.predictions import Predictions

__all__ = ["calibrate_site"]

_REFUSALS_SHOWN = 10
_COLUMNS_SHOWN = 10


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
    table, out : Path
        The site's table; the copy.
    method : str
        ``auto`` or a method of `xraytransfer.export.calibration`.
    name : str, optional
        The copy's name; the model's where absent.
    version : str, optional
        The copy's version; where absent the model's with ``+site.`` and the first digits of the copy's checksum.
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
    films = _read_films(table, log)
    description, data = read(model, verify=True)
    scored = _score(model, films, device, log)
    graph = onnx.ModelProto.FromString(data)
    calibration = _calibrate(graph, scored, method, table)
    document = describe_calibrated_copy(description, scored, calibration, _films_text(table.name, films, scored), name)
    precision = str(description.document["precision"])
    document["self_test"] = measure_self_test(graph, description.resolution, precision, fixed=description.fixed_input)
    document["version"] = version or _site_version(description, parse(serialise(graph, document), out))
    write_bytes(out, serialise(graph, document), error=ExportError)
    write_cards(out)
    for line in site_report(out, description, describe(out), calibration=calibration, films=films, scored=scored):
        log(line)
    return document


def _read_films(table: Path, log: Callable[[str], None]) -> SiteFilms:
    """Read the table; log which columns are not read, and what follows where no column names the patients."""
    films = read_site_films(table)
    if unused := films.unused:
        more = f" and {len(unused) - _COLUMNS_SHOWN} more" if len(unused) > _COLUMNS_SHOWN else ""
        log(f"{table.name}: columns that are not used: {', '.join(unused[:_COLUMNS_SHOWN])}{more}")
    if not films.names_patients:
        log(
            f"{table.name}: has no column patient, so each film counts as a patient of its own; where patients have "
            "several films, the comparison of methods is then too favourable and the card's intervals are too narrow"
        )
    return films


def _films_text(table: str, films: SiteFilms, scored: Predictions) -> str:
    """Return which films the numbers are of, for the card."""
    if not films.names_patients:
        return f"{table}: {len(scored.image)} films, each counted as a patient of its own"
    return f"{table}: {len(scored.image)} films of {len(np.unique(scored.patient))} patients"


def _calibrate(graph: onnx.ModelProto, scored: Predictions, method: str, table: Path) -> Calibration:
    """Fit a calibration and write it into the graph, in place."""
    # an observation with too few films keeps the model's calibration, and so do all where no method beats it
    arrays, before = (scored.label, scored.ensemble(), scored.patient), calibration_numbers(graph)
    calibration = fit(*arrays, np.random.default_rng(0), method, before=before)
    if not calibration.fitted.any():
        raise ExportError(f"{table}: no observation has 5 films with it and 5 without: nothing to calibrate on")
    set_calibration(graph, calibration.initialisers())
    return calibration


def _site_version(original: ModelDescription, copy: ModelDescription) -> str:
    """Return a version that names the copy's numbers; a copy of a copy carries the last one's alone."""
    return f"{original.version.partition('+site.')[0]}+site.{copy.sha256[:8]}"


def _score(model: str | Path, films: SiteFilms, device: str, log: Callable[[str], None]) -> Predictions:
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
