"""The model file's description of an exported ensemble: everything that the card later says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xraytransfer.export.calibration import Calibration
from xraytransfer.export.checks.evaluation import metric_rows
from xraytransfer.export.checks.roc_curve import roc_rows
from xraytransfer.export.graph.model_writer import observation_rows
from xraytransfer.export.members import Ensemble
from xraytransfer.export.operating_points import DEFAULT, operating_points
from xraytransfer.export.options import ExportOptions
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.auroc import macro_auroc
from xraytransfer.study.stats.calibration_error import reliability_curve

__all__ = ["describe_model", "reliability_rows"]

_NOTES = (
    "No Finding means that the report names nothing: it is not a disease, and its probability falls as the "
    "others rise.",
    "Labels were mined from radiology reports; no radiologist read these films again.",
    "Thresholds and calibration belong to the films that they were found on; `xraytransfer calibrate` finds a "
    "site's own.",
)


def describe_model(
    ensemble: Ensemble,
    options: ExportOptions,
    *,
    validation: Predictions,
    test: Predictions,
    calibration: Calibration,
    parity: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the document that `xraytransfer.export.graph.model_writer.serialise` completes.

    Parameters
    ----------
    ensemble : Ensemble
        The members.
    options : ExportOptions
        Name, version, precision, licence.
    validation, test : Predictions
        What the finished graph's members say.
    calibration : Calibration
        Fitted on `validation`.
    parity : mapping
        From the parity gate.
    """
    config = ensemble.config
    found_on = f"validation patients of {config['data']['name']}"
    p_validation, p_test = calibration.apply(validation.ensemble()), calibration.apply(test.ensemble())
    members = []
    for index, member in enumerate(ensemble.members):
        row = dict(member.description)
        if row["validation_auroc"] is None:
            row["validation_auroc"] = macro_auroc(validation.label, validation.probability[:, index])
        members.append(row)
    observations = list(config["outputs"])
    held_out = f"{config['data']['name']} test patients"
    return {
        "name": options.name,
        "version": options.version,
        "observations": observation_rows(),
        "input": {
            "resolution": list(ensemble.resolution),
            "intensity": config["intensity"],
            "resize": "bilinear-antialias-stretch",
        },
        "members": members,
        "training": _training(config),
        "metrics": metric_rows(held_out, test, p_test, np.random.default_rng(0)),
        "roc": roc_rows(test, p_test, held_out),
        "calibration": {
            **calibration.to_dict(found_on),
            "reliability": reliability_rows(test, p_test, held_out),
        },
        "operating_points": [
            {**row, "data": found_on} for row in operating_points(validation.label, p_validation, observations)
        ],
        "default_operating_point": DEFAULT,
        "parity": dict(parity),
        "precision": options.precision,
        "licence": options.licence,
        "notes": list(_NOTES),
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
    """Return how it was trained, without this machine's paths."""
    data = {key: value for key, value in config["data"].items() if key in ("name", "images", "refused", "views")}
    return {
        "data": data.get("name"),
        "data_detail": data,
        "label_policy": config["label_policy"],
        "split": dict(config["split"]),
        "preset": config["preset"],
        "initial_weights": _initial_weights(config),
    }


def _initial_weights(config: Mapping[str, Any]) -> str:
    if config["initialisation"] != "pretrained":
        return "random"
    if (config.get("weights") or {}).get("path"):
        return "ImageNet-1k, from files of the user's in timm's layout"
    return "ImageNet-1k, from timm's hub, as the tag names them"
