"""The description in a model file, for an exported ensemble and for a copy that a site has calibrated.

It holds everything that the model card shows. `xraytransfer.export.graph.model_writer.serialise` adds the
checksum, the date and the name of the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xraytransfer.export.calibration import Calibration
from xraytransfer.export.checks.evaluation import metric_rows, roc_rows
from xraytransfer.export.graph.model_writer import observation_rows
from xraytransfer.export.operating_points import DEFAULT, operating_points
from xraytransfer.export.options import ExportOptions
from xraytransfer.model_file import ModelDescription
from xraytransfer.study.data.datasets import data_set_name
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.auroc import macro_auroc
from xraytransfer.study.stats.calibration_error import reliability_curve

if TYPE_CHECKING:  # `calibrate` works without torch
    from xraytransfer.export.members import Ensemble

__all__ = ["Measurements", "describe_calibrated_copy", "describe_model", "reliability_rows"]

_NOTES = (
    "No Finding means that the report names nothing: it is not a disease, and its probability falls as the "
    "others rise.",
    "Labels were mined from radiology reports; no radiologist read these films again, unless this card names "
    "corrections.",
    "Thresholds and calibration belong to the films that they were found on; `xraytransfer calibrate` finds a "
    "site's own.",
)


@dataclass(frozen=True)
class Measurements:
    """The measurements of a finished graph.

    Attributes
    ----------
    validation, test : Predictions
        The probabilities of the graph's members for these films.
    calibration : Calibration
        Fitted on `validation`.
    parity : dict
        From the parity check, with ``judge`` where the file holds a quality gate.
    accuracy : dict or None
        From the accuracy check; None in float32.
    quality_gate : dict or None
        The document in the quality gate's folder; None where the file holds no quality gate.
    """

    validation: Predictions
    test: Predictions
    calibration: Calibration
    parity: Mapping[str, Any]
    accuracy: Mapping[str, Any] | None
    quality_gate: Mapping[str, Any] | None


def describe_model(ensemble: Ensemble, options: ExportOptions, measurements: Measurements) -> dict[str, Any]:
    """Return the description of an exported ensemble.

    Parameters
    ----------
    ensemble : Ensemble
        The members.
    options : ExportOptions
        Name, version, precision, licence.
    measurements : Measurements
        The measurements of the finished graph.

    Returns
    -------
    dict
        As the model file's schema has it.
    """
    name = data_set_name(ensemble.config["data"])
    held_out, test = f"{name} test patients", measurements.test
    probability = measurements.calibration.apply(test.ensemble())
    return {
        **_scoring(ensemble, options, measurements),
        "training": _training(ensemble.config),
        "metrics": metric_rows(held_out, test, probability, np.random.default_rng(0)),
        "roc": roc_rows(test, probability, held_out),
        "calibration": {
            **measurements.calibration.to_dict(f"validation patients of {name}"),
            "reliability": reliability_rows(test, probability, held_out),
        },
        "parity": dict(measurements.parity),
        "notes": list(_NOTES),
        "accuracy": measurements.accuracy,
    }


def _scoring(ensemble: Ensemble, options: ExportOptions, measurements: Measurements) -> dict[str, Any]:
    """Return the part of the description that decides about results."""
    config, validation = ensemble.config, measurements.validation
    data = f"validation patients of {data_set_name(config['data'])}"
    thresholds = operating_points(
        validation.label, measurements.calibration.apply(validation.ensemble()), list(config["outputs"])
    )
    document: dict[str, Any] = {
        "name": options.name,
        "version": options.version,
        "observations": observation_rows(),
        "input": {
            "resolution": list(ensemble.resolution),
            "intensity": config["intensity"],
            "resize": "bilinear-antialias-stretch",
            "size": options.input,
            "type": options.input_type,
        },
        "members": _members(ensemble, options, validation),
        "operating_points": [{**row, "data": data} for row in thresholds],
        "default_operating_point": DEFAULT,
        "precision": options.precision,
        "licence": options.licence,
    }
    if measurements.quality_gate is not None:
        inner = ("row", "split", "data")
        document["acceptance"] = {key: value for key, value in measurements.quality_gate.items() if key not in inner}
    return document


def describe_calibrated_copy(
    original: ModelDescription, scored: Predictions, calibration: Calibration, data: str, name: str | None = None
) -> dict[str, Any]:
    """Return the description of a copy that was calibrated on a site's films.

    Parameters
    ----------
    original : ModelDescription
        Of the model file that is copied.
    scored : Predictions
        The site's films: labels, and the members' probabilities.
    calibration : Calibration
        Fitted on `scored`.
    data : str
        Which films these are, for readers.
    name : str, optional
        Name of the copy; the original's where absent.

    Returns
    -------
    dict
        The original's description with new numbers for the observations that were fitted.
    """
    document = {key: value for key, value in original.document.items() if key not in ("created", "schema_version")}
    probability = calibration.apply(scored.ensemble())
    names = [str(name) for name in scored.observations]
    fitted = {name for name, yes in zip(names, calibration.fitted, strict=True) if yes}
    rows = operating_points(scored.label, probability, names)
    fresh = [{**row, "data": data} for row in rows if row["observation"] in fitted]
    kept = [row for row in original.operating_points if row["observation"] not in fitted]
    points = [*fresh, *kept]
    default = original.document.get("default_operating_point")
    changed = calibration.method != "none"
    return {
        **document,
        "name": name or original.name,
        "operating_points": points,
        "default_operating_point": default if default in [row["name"] for row in points] else DEFAULT,
        "metrics": [
            *(row for row in original.metrics if not (changed and _is_stale(row, fitted))),
            *metric_rows(f"{data}, on which it was fitted", scored, probability, np.random.default_rng(0)),
        ],
        **_external(document, fitted if changed else set()),
        "roc": roc_rows(scored, probability, data),
        "calibration": {
            **(calibration.to_dict(data) if changed else document.get("calibration") or {}),
            "reliability": reliability_rows(scored, probability, data),
        },
        "calibrated_from": {
            "name": original.name,
            "version": original.version,
            "sha256": original.sha256,
            "graph_sha256": original.graph_sha256,
            "calibration": document.get("calibration"),
        },
    }


def reliability_rows(films: Predictions, calibrated: np.ndarray[Any, Any], data: str) -> dict[str, Any]:
    """Return reliability curves, calibrated and not, for the card's plot.

    Parameters
    ----------
    films : Predictions
        Labels, and the members' probabilities.
    calibrated : ndarray
        float, shape (films, k).
    data : str
        Which films.

    Returns
    -------
    dict
        ``data``, and for each observation ``calibrated`` and ``uncalibrated``: lists of mean probability,
        share of positives and its interval, number of images, one number a bin.
    """
    raw = films.ensemble().astype(float)
    rows: dict[str, Any] = {"data": data}
    for k, observation in enumerate(films.observations):
        label = films.label[:, k]
        rows[str(observation)] = {
            "calibrated": _curve(label, calibrated[:, k]),
            "uncalibrated": _curve(label, raw[:, k]),
        }
    return rows


def _members(ensemble: Ensemble, options: ExportOptions, validation: Predictions) -> list[dict[str, Any]]:
    """Return a row for each member; averaged members, which no run has measured, get their AUROC from `validation`."""
    rows = []
    float_members = options.float_members([member.description["architecture"] for member in ensemble.members])
    for index, member in enumerate(ensemble.members):
        row = dict(member.description)
        if row["validation_auroc"] is None:
            row["validation_auroc"] = macro_auroc(validation.label, validation.probability[:, index])
        if index in float_members:
            row["precision"] = "float16-weights"
        rows.append(row)
    return rows


def _curve(label: np.ndarray[Any, Any], probability: np.ndarray[Any, Any]) -> dict[str, list[float]]:
    curve = reliability_curve(label, probability)
    return {
        "probability": np.round(curve.probability, 5).tolist(),
        "observed": np.round(curve.observed, 5).tolist(),
        "lower": np.round(curve.lower, 5).tolist(),
        "upper": np.round(curve.upper, 5).tolist(),
        "images": curve.images.tolist(),
    }


def _training(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the members were trained, without this machine's paths."""
    data = {key: value for key, value in config["data"].items() if key in ("images", "refused", "views")}
    data = {"name": data_set_name(config["data"]), **data}
    corrected = {
        key: value for key, value in (config["data"].get("corrected") or {}).items() if key not in ("folder", "mapping")
    }
    return {
        "data": data.get("name"),
        "data_detail": data,
        **({"corrected_labels": corrected} if corrected else {}),
        "label_policy": config["label_policy"],
        "split": dict(config["split"]),
        "preset": config["preset"],
        "initial_weights": _initial_weights(config),
    }


def _initial_weights(config: Mapping[str, Any]) -> str:
    if config["initialisation"] != "pretrained":
        return "random"
    weights = config.get("weights") or {}
    if weights.get("path"):
        known = f" (SHA-256 {weights['sha256']})" if "sha256" in weights else ""
        return f"ImageNet-1k, from files of the user's in timm's layout{known}"
    return "ImageNet-1k, from timm's hub, as the tag names them"


def _external(document: Mapping[str, Any], fitted: set[str]) -> dict[str, Any]:
    """Return the entry ``external`` without the metrics of a calibration that is replaced; no entry without one."""

    def kept(part: Mapping[str, Any]) -> dict[str, Any]:
        return {**part, "metrics": [row for row in part["metrics"] if not _is_stale(row, fitted)]}

    tests = document.get("external") or []
    return {"external": [{**test, "parts": [kept(part) for part in test["parts"]]} for test in tests]} if tests else {}


def _is_stale(row: Mapping[str, Any], fitted: set[str]) -> bool:
    """Return whether a metric was measured with a calibration that is replaced; AUROC and AUPRC keep their values."""
    return row["metric"] in ("ece", "brier") and row["observation"] in fitted
