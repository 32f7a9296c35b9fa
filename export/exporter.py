"""The export: finished runs become one model file, which has passed every gate."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from xraytransfer.classifier import Classifier
from xraytransfer.errors import ExportError, StudyError
from xraytransfer.export.calibration import Calibration, fit, identity
from xraytransfer.export.card.files import write_cards
from xraytransfer.export.checks.gates import Gate, accuracy_gate, parity_gate
from xraytransfer.export.checks.predictions_file import write_test_predictions
from xraytransfer.export.checks.quality_gate_parity import load_matching_quality_gate, quality_gate_parity
from xraytransfer.export.checks.robustness import VARIANTS, measure_robustness
from xraytransfer.export.checks.self_test import NOTICEABLE, measure_self_test
from xraytransfer.export.description import Measurements, describe_for_scoring, describe_model
from xraytransfer.export.graph.int8 import calibration_films
from xraytransfer.export.graph.model_writer import check_size, serialise
from xraytransfer.export.graph.precision import lower
from xraytransfer.export.graph.rewriting import with_fixed_input
from xraytransfer.export.graph.to_onnx import build_graph
from xraytransfer.export.member_weights import write_member_weights
from xraytransfer.export.members import Ensemble, choose_members, gather_members
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.scoring import member_probability, set_calibration
from xraytransfer.export.selection import select_members
from xraytransfer.files import write_bytes
from xraytransfer.plural import counted
from xraytransfer.radiograph import Film, read_radiograph
from xraytransfer.runtime import open_session
from xraytransfer.study.data.predictions import Predictions, combine, predictions_of
from xraytransfer.study.data.run_data import RunData, load_data
from xraytransfer.study.stats.auroc import macro_auroc

__all__ = ["export_runs"]

PARITY_FILMS = 32
"""Number of whole films of validation patients on which parity is measurements."""


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
        Runs that do not fit together, a file that exists, one that would be too large, or a failed gate.
    StudyError
        Runs or data that cannot be read.
    """
    options.check(out)
    gate = Gate(options.force, log)
    ensemble, selection = _ensemble(folders, options, log)
    float_members = options.float_members([member.description["architecture"] for member in ensemble.members])
    size = check_size(ensemble.networks, options.precision, float_members)
    log(f"{counted(len(ensemble.members), 'member')}, about {size / 1e6:.0f} MB")
    unfused = _unfused_auroc(ensemble)
    data = _data(ensemble.config, options)
    model, measurements = _build_and_measure(ensemble, options, data, float_members, gate)
    log(f"calibration: {measurements.calibration.method}")
    measurements = replace(measurements, comparison=_compare(measurements.validation, unfused, log))
    robustness = None
    if options.robustness:
        scorable = serialise(model, describe_for_scoring(ensemble, options, measurements))
        robustness = _robustness(scorable, data, measurements.test, options.device, log)
    if options.input == "fixed":
        model = with_fixed_input(model, ensemble.resolution, kind=options.input_type)
    test = measure_self_test(model, ensemble.resolution, options.precision, fixed=options.input == "fixed")
    _report_self_test(test, log)
    document = {**describe_model(ensemble, options, measurements, robustness), "self_test": test}
    document |= selection
    document["input"] |= {"size": options.input, "type": options.input_type}
    file = serialise(model, document)
    if options.max_mb is not None and len(file) > options.max_mb * 1e6:
        raise ExportError(f"{out}: not written: {len(file) / 1e6:.1f} MB, --max-mb {options.max_mb:g} allows less")
    write_bytes(out, file, error=ExportError)
    if options.weights_out is not None:
        names = ", ".join(path.name for path in write_member_weights(ensemble, options.weights_out))
        log(f"{options.weights_out}: {names}")
    write_test_predictions(out, measurements.test, measurements.calibration.apply(measurements.test.ensemble()))
    written = write_cards(out)
    log(f"{out}: {len(file) / 1e6:.1f} MB; card: {', '.join(path.name for path in written)}")
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
    ensemble: Ensemble, options: ExportOptions, data: RunData, float_members: Sequence[int], gate: Gate
) -> tuple[onnx.ModelProto, Measurements]:
    """Return the calibrated graph in the precision that will be written, and its measurements."""
    config, films = ensemble.config, _whole_films(data, ensemble.config["intensity"])
    quality_gate, gate_document = load_matching_quality_gate(options.quality_gate, config["split"])
    resolutions = ensemble.resolutions
    model = build_graph(ensemble.networks, ensemble.resolution, quality_gate, resolutions=resolutions)
    session, accuracy = _open(model, options.device), None
    common: dict[str, Any] = {"resolution": ensemble.resolution, "gate": gate, "resolutions": resolutions}
    parity = parity_gate(ensemble.networks, session, films, precision="float32", **common)
    validation = _predict_split(session, data, "validation", config)
    if options.precision != "float32":
        model = lower(model, options.precision, calibration_films(data), float_members=float_members)
        session = _open(model, options.device)
        parity = parity_gate(ensemble.networks, session, films, precision=options.precision, **common)
        full, validation = validation, _predict_split(session, data, "validation", config)
        accuracy = accuracy_gate(
            full,
            validation.probability,
            full.probability,
            precision=options.precision,
            gate=gate,
            margin=options.margin,
        )
    if quality_gate is not None:
        parity["judge"] = quality_gate_parity(quality_gate, session, films, ensemble.resolution, gate)
    test = _predict_split(session, data, "test", config)
    calibration = _fit_calibration(validation, options.calibration)
    set_calibration(model, calibration)
    return model, Measurements(validation, test, calibration, parity, accuracy, {}, gate_document)


def _report_self_test(test: Mapping[str, Any], log: Callable[[str], None]) -> None:
    """Log how well the self-test tells a runtime that resizes wrongly."""
    moved = test["without_antialiasing"]
    if moved is not None:
        line = f"self-test: a film that is sampled and not averaged moves a probability by {moved:.3f}"
        log(line if moved >= NOTICEABLE else f"{line}: too little to notice it (expected {NOTICEABLE})")


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
    rows = data.rows["validation"]
    spread = rows[np.linspace(0, len(rows) - 1, min(PARITY_FILMS, len(rows))).astype(int)]
    return [read_radiograph(data.table.path[row], intensity=intensity).pixels for row in spread]


def _open(model: onnx.ModelProto, device: str) -> ort.InferenceSession:
    return open_session(model.SerializeToString(), device)[0]


def _robustness(
    file: bytes, data: RunData, test: Predictions, device: str, log: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Score the test films in every variant, with a file as users will have it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(file)
        films = [data.table.path[row] for row in data.rows["test"]]
        return measure_robustness(Classifier(path, device=device), films, test, log=log, variants=VARIANTS)


def _predict_split(session: ort.InferenceSession, data: RunData, split: str, config: Mapping[str, Any]) -> Predictions:
    """Score the films of one split with a graph."""
    rows = data.rows[split]
    probability = member_probability(session, data.pixels, rows)
    members = [-1] * probability.shape[1]
    return predictions_of(data.table.subset(rows), config["outputs"], data.label[rows], probability, members)


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
