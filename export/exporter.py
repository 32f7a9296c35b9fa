"""The export: finished runs become one model file, which has passed every check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from xraytransfer.errors import ExportError, StudyError
from xraytransfer.export.calibration import Calibration, fit, identity
from xraytransfer.export.card.files import write_cards
from xraytransfer.export.checks.quality_gate_parity import load_matching_quality_gate, quality_gate_parity
from xraytransfer.export.checks.release_checks import ReleaseChecks, accuracy_check, parity_check
from xraytransfer.export.checks.self_test import NOTICEABLE, measure_self_test
from xraytransfer.export.description import Measurements, describe_model
from xraytransfer.export.external import check_judges
from xraytransfer.export.graph.calibration_numbers import set_calibration
from xraytransfer.export.graph.int8 import calibration_films
from xraytransfer.export.graph.model_writer import check_size, serialise
from xraytransfer.export.graph.precision import lower
from xraytransfer.export.graph.resizing import resized
from xraytransfer.export.graph.rewriting import with_fixed_input
from xraytransfer.export.graph.to_onnx import build_graph
from xraytransfer.export.member_weights import write_member_weights
from xraytransfer.export.members import Ensemble, choose_members, gather_members
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.scoring import predict_split
from xraytransfer.export.selection import select_members
from xraytransfer.export.trials import Trials, TrialsPlan, spread
from xraytransfer.files import write_bytes
from xraytransfer.plural import counted
from xraytransfer.radiograph import Film, read_radiograph
from xraytransfer.runtime import open_session
from xraytransfer.study.data.predictions import Predictions, combine
from xraytransfer.study.data.run_data import RunData, load_data
from xraytransfer.study.stats.auroc import macro_auroc

__all__ = ["export_runs"]

PARITY_FILMS = 32
"""Number of whole films of validation patients on which parity is measured."""


def export_runs(
    folders: Sequence[Path],
    out: Path,
    options: ExportOptions,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the ensemble of runs as a model file, with its cards beside it.

    Parameters
    ----------
    folders : sequence of Path
        Run folders.
    out : Path
        The model file; the cards take its name with ``.md`` and ``.html``.
    options : ExportOptions
        The options.
    log : callable
        Takes each line for the user.

    Returns
    -------
    dict
        The description as it stands in the file.

    Raises
    ------
    ExportError
        Runs that do not fit together, a file that exists, one that would be too large, or a failed check.
    StudyError
        Runs or data that cannot be read.
    """
    options.check(out)
    checks, plan = ReleaseChecks(options.force, log), TrialsPlan.read(options)
    ensemble, selection = _ensemble(folders, options, log)
    if options.chosen_by is not None:
        check_judges(plan.sets, ensemble.runs[0], options.chosen_by)
    float_members = options.float_members([member.description["architecture"] for member in ensemble.members])
    size = check_size(ensemble.networks, options.precision, float_members)
    log(f"{counted(len(ensemble.members), 'member')}, about {size / 1e6:.0f} MB")
    unfused = _unfused_auroc(ensemble)
    data = _data(ensemble.config, options)
    model, measurements = _build_and_measure(ensemble, options, data, float_members, checks)
    log(f"calibration: {measurements.calibration.method}")
    if options.input == "fixed":
        model = with_fixed_input(model, ensemble.resolution, kind=options.input_type)
    document = {
        **describe_model(ensemble, options, measurements),
        **selection,
        "ensemble": _compare(measurements.validation, unfused, log),
        "self_test": _self_test(model, ensemble.resolution, options, log),
    }
    trials = plan.run(partial(serialise, model, document), ensemble, measurements, data, log)
    trials.add_to(document)
    _write(out, serialise(model, document), trials, measurements, max_mb=options.max_mb, log=log)
    if options.weights_out is not None:
        names = ", ".join(path.name for path in write_member_weights(ensemble, options.weights_out))
        log(f"{options.weights_out}: {names}")
    return document


def _ensemble(
    folders: Sequence[Path], options: ExportOptions, log: Callable[[str], None]
) -> tuple[Ensemble, dict[str, Any]]:
    """Return the members, and what the description says about their choice: nothing where runs were named by hand."""
    if options.best is None:
        return choose_members(folders, options.checkpoints, options.fuse), {}
    parts, selection = select_members(folders, options, log)
    return gather_members(parts), {"selection": selection}


def _build_and_measure(
    ensemble: Ensemble, options: ExportOptions, data: RunData, float_members: Sequence[int], checks: ReleaseChecks
) -> tuple[onnx.ModelProto, Measurements]:
    """Return the calibrated graph in the precision that will be written, and its measurements."""
    config, films = ensemble.config, _whole_films(data, ensemble.config["intensity"])
    quality_gate, gate_document = load_matching_quality_gate(options.quality_gate, config["split"])
    resolutions = ensemble.resolutions
    model = build_graph(ensemble.networks, ensemble.resolution, quality_gate, resolutions=resolutions)
    session, accuracy = _open(model, options.device), None
    common: dict[str, Any] = {"resolution": ensemble.resolution, "checks": checks, "resolutions": resolutions}
    common["resize_again"] = resized
    parity = parity_check(ensemble.networks, session, films, precision="float32", **common)
    validation = predict_split(session, data, "validation", config["outputs"])
    if options.precision != "float32":
        model = lower(model, options.precision, calibration_films(data), float_members=float_members)
        session = _open(model, options.device)
        parity = parity_check(ensemble.networks, session, films, precision=options.precision, **common)
        full, validation = validation, predict_split(session, data, "validation", config["outputs"])
        accuracy = accuracy_check(
            full,
            validation.probability,
            full.probability,
            precision=options.precision,
            checks=checks,
            margin=options.margin,
        )
    if quality_gate is not None:
        parity["judge"] = quality_gate_parity(quality_gate, session, films, ensemble.resolution, checks)
    test = predict_split(session, data, "test", config["outputs"])
    calibration = _fit_calibration(validation, options.calibration)
    set_calibration(model, calibration.initialisers())
    return model, Measurements(validation, test, calibration, parity, accuracy, gate_document)


def _self_test(
    model: onnx.ModelProto, resolution: tuple[int, int], options: ExportOptions, log: Callable[[str], None]
) -> dict[str, Any]:
    """Return the self-test, and log how well it tells a runtime that resizes wrongly."""
    test = measure_self_test(model, resolution, options.precision, fixed=options.input == "fixed")
    moved = test["without_antialiasing"]
    if moved is not None:
        line = f"self-test: a film that is sampled and not averaged moves a probability by {moved:.3f}"
        log(
            line
            if moved >= NOTICEABLE
            else f"{line} (expected {NOTICEABLE}): with this file, a program that resizes badly passes the self-test"
        )
    return test


def _write(
    out: Path,
    file: bytes,
    trials: Trials,
    measurements: Measurements,
    *,
    max_mb: float | None,
    log: Callable[[str], None],
) -> None:
    """Write the model file, and beside it the predictions of all test films and the cards."""
    if max_mb is not None and len(file) > max_mb * 1e6:
        raise ExportError(f"{out}: not written: {len(file) / 1e6:.1f} MB, --max-mb {max_mb:g} allows less")
    write_bytes(out, file, error=ExportError)
    trials.write_predictions(out, measurements)
    written = write_cards(out)
    log(f"{out}: {len(file) / 1e6:.1f} MB; card: {', '.join(path.name for path in written)}")


def _fit_calibration(validation: Predictions, method: str) -> Calibration:
    if method == "none":
        return identity(validation.label.shape[1])
    arrays = (validation.label, validation.ensemble(), validation.patient)
    return fit(*arrays, np.random.default_rng(0), method)


def _data(config: Mapping[str, Any], options: ExportOptions) -> RunData:
    """Open the films that the runs were trained on, at their present place."""
    places = {"folder": options.folder, "cache": options.cache}
    moved = {key: str(path) for key, path in places.items() if path is not None}
    try:
        return load_data({**config, "data": {**config["data"], **moved}})
    except StudyError as error:
        raise ExportError(
            f"calibration, parity and metrics need the run's films: {error} (--data-folder and --cache say "
            f"where they are now)"
        ) from error


def _whole_films(data: RunData, intensity: str) -> list[Film]:
    """Return whole validation films, evenly spread."""
    films = spread(data.table.path, data.rows["validation"], PARITY_FILMS)
    return [read_radiograph(path, intensity=intensity).pixels for path in films]


def _open(model: onnx.ModelProto, device: str) -> ort.InferenceSession:
    return open_session(model.SerializeToString(), device)[0]


def _compare(validation: Predictions, unfused: float | None, log: Callable[[str], None]) -> dict[str, Any]:
    """Return the validation AUROC of this file, of its members, and of its checkpoints not averaged."""
    label = validation.label
    whole = macro_auroc(label, validation.ensemble())
    members = [macro_auroc(label, validation.probability[:, m]) for m in range(validation.probability.shape[1])]
    log(f"macro AUROC on validation patients: {whole:.4f}; members one by one: {np.mean(members):.4f}")
    if unfused is not None:
        log(f"the same checkpoints as an ensemble, not averaged: {unfused:.4f}")
    return {
        "validation_auroc": whole,
        "member_validation_auroc": members,
        "checkpoints_validation_auroc": unfused,
    }


def _unfused_auroc(ensemble: Ensemble) -> float | None:
    """Return the validation AUROC of a soup's checkpoints as an ensemble, from what the runs stored."""
    if all(member.description["fusion"] == "none" for member in ensemble.members):
        return None
    parts = []
    for run in ensemble.runs:
        stored = run.predictions("validation")
        steps = list(stored.checkpoint_steps)
        if missing := [kept.step for kept in run.checkpoints if kept.step not in steps]:
            raise ExportError(f"{run.folder}: its stored predictions lack the checkpoint of step {missing[0]}")
        chosen = [steps.index(kept.step) for kept in run.checkpoints]
        parts.append(
            replace(
                stored,
                probability=stored.probability[:, chosen],
                checkpoint_steps=stored.checkpoint_steps[chosen],
            )
        )
    whole = combine(parts)
    columns = [list(whole.observations).index(name) for name in ensemble.config["outputs"]]
    return macro_auroc(whole.label[:, columns], whole.ensemble()[:, columns])
