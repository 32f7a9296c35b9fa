"""External tests of a finished run: predictions for other films, or for its own films with other labels.

``predictions/external/NAME.npz`` has the form of the run's own ``test.npz``. ``NAME.json``, which is written last,
describes the films and holds the checksum of the npz file; predictions without it do not count. If the run had no
single checkpoints any more, the file holds predictions of the soup only, and ``probability`` has no member.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json, write_json
from xraytransfer.study.data.predictions import Predictions, read_predictions, write_predictions

__all__ = [
    "ExternalPredictions",
    "check_name",
    "comparable_names",
    "external_folder",
    "external_names",
    "films_sha256",
    "labels_sha256",
    "origin_record",
    "read_external",
    "write_external",
]

ENDING = r"\.(png|jpe?g|dcm|dicom)$"
"""The endings of image names. Anything else after a point belongs to the name, as in the identifiers of DICOM."""
RESERVED = ("validation", "test", "auroc")
"""Names that files of a run and columns of its report have already."""


@dataclass(frozen=True, eq=False)
class ExternalPredictions:
    """One external test of a run.

    Attributes
    ----------
    name : str
        Name of the test.
    record : mapping
        Content of NAME.json: data set, films, patients, what was left out and why, checksums.
    predictions : Predictions
        Content of NAME.npz.
    """

    name: str
    record: Mapping[str, Any]
    predictions: Predictions


def check_name(name: str) -> None:
    """Raise `StudyError` unless a test may have this name, which becomes the name of files and of columns of tables."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in RESERVED:
        raise StudyError(
            f"{name!r} cannot be the name of an external test: up to 64 letters, digits, points, hyphens and "
            f"underscores, and none of {', '.join(RESERVED)}; take another --name"
        )


def external_folder(run: Path) -> Path:
    """Return the folder of the external tests of a run."""
    return run / "predictions" / "external"


def external_names(run: Path) -> list[str]:
    """Return the names of the external tests of a run, sorted."""
    return sorted(path.stem for path in external_folder(run).glob("*.json"))


def read_external(run: Path, name: str) -> ExternalPredictions:
    """Read one external test of a run.

    Raises
    ------
    StudyError
        If it is absent or damaged, the two files do not belong together, or it holds other labels for predictions of
        a test that was repeated since.
    """
    folder = external_folder(run)
    record = read_json(folder / f"{name}.json")
    path = folder / f"{name}.npz"
    if not isinstance(record, dict) or "predictions_sha256" not in record:
        raise StudyError(f"{folder / name}.json: damaged; repeat the test with --again")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != record["predictions_sha256"]:
        raise StudyError(f"{path}: absent, or not what {name}.json describes; repeat the test with --again")
    made_from, source = record.get("source_predictions_sha256"), folder / f"{record.get('source')}.json"
    if made_from and source.is_file() and read_json(source).get("predictions_sha256") != made_from:
        raise StudyError(
            f"{path}: made from an earlier test {source.stem}, which was repeated since; repeat study relabel with "
            "--again"
        )
    return ExternalPredictions(name, record, read_predictions(path))


def origin_record(run: Path, test: ExternalPredictions) -> Mapping[str, Any] | None:
    """Return the record that says whose films a test holds: its own, or that of the test whose labels it replaced.

    Parameters
    ----------
    run : Path
        The run folder.
    test : ExternalPredictions
        One of its external tests.

    Returns
    -------
    mapping or None
        None if the films are the run's own test films.

    Raises
    ------
    StudyError
        If the test whose labels were replaced is absent or damaged, or was replaced by one that was made from this.
    """
    record, names = test.record, [test.name]
    while record.get("kind") == "relabelled":
        source = str(record["source"])
        if source == "test":
            return None
        if source in names:
            raise StudyError(f"{run}: the external tests {', '.join(names)} are made from each other; repeat the first")
        names.append(source)
        record = read_external(run, source).record
    return record


def write_external(run: Path, name: str, predictions: Predictions, record: Mapping[str, Any]) -> None:
    """Write NAME.npz, then NAME.json, each whole or not at all.

    Whenever the process ends, either the new test is complete, or there is no test of this name.

    Parameters
    ----------
    run : Path
        The run folder.
    name : str
        Name of the test.
    predictions : Predictions
        The predictions to store.
    record : mapping
        The entries of NAME.json that only the caller knows; counts, checksums, version and time are added.
    """
    folder = external_folder(run)
    (folder / f"{name}.json").unlink(missing_ok=True)
    write_predictions(folder / f"{name}.npz", predictions)
    members = len(predictions.checkpoint_steps)
    document = {
        "schema": 1,
        "name": name,
        **record,
        "films": len(predictions.image),
        "patients": len(np.unique(predictions.patient)),
        "observations": predictions.observations.tolist(),
        "checkpoints": members,
        "soup": predictions.soup is not None,
        "films_sha256": films_sha256(predictions.image),
        "labels_sha256": labels_sha256(predictions),
        "predictions_sha256": hashlib.sha256((folder / f"{name}.npz").read_bytes()).hexdigest(),
        "writer": f"xraytransfer {version('xraytransfer')}",
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    write_json(folder / f"{name}.json", document)


def films_sha256(images: Iterable[str]) -> str:
    """Return the SHA-256 of names of images, one in each line, in their order."""
    return hashlib.sha256("\n".join(images).encode()).hexdigest()


def labels_sha256(predictions: Predictions) -> str:
    """Return the SHA-256 of the observations and their labels, row by row."""
    codes = np.nan_to_num(predictions.label, nan=-1.0).astype(np.int8)
    names = ",".join(predictions.observations.tolist())
    return hashlib.sha256(names.encode() + b"\n" + codes.tobytes()).hexdigest()


def comparable_names(first: Iterable[str], second: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return two lists of image names in the same form: file names without folder and ending.

    The folders stay if the file names alone are not unique in one of the lists, as in CheXpert.
    """
    one, two = ([re.sub(ENDING, "", name, flags=re.IGNORECASE) for name in names] for names in (first, second))
    files = [[name.rpartition("/")[2] for name in names] for names in (one, two)]
    if all(len(set(names)) == len(names) for names in files):
        return files[0], files[1]
    return one, two
