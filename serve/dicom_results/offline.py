"""Results as files: what the server would send, written into folders by ``xraytransfer predict --sr --sc``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydicom import Dataset, dcmread

from xraytransfer.errors import OutputError, ServeError
from xraytransfer.files import write_with
from xraytransfer.serve.dicom.scp import UNREADABLE
from xraytransfer.serve.dicom_results.results import make_results

if TYPE_CHECKING:
    from xraytransfer.prediction import Prediction

__all__ = ["ResultFolders", "write_results"]


@dataclass(frozen=True)
class ResultFolders:
    """Where results go.

    Attributes
    ----------
    sr, sc : Path or None
        Folder of structured reports, and of secondary captures; None makes none. Made where absent.
    """

    sr: Path | None = None
    sc: Path | None = None


def write_results(
    prediction: Prediction, film: str | os.PathLike[str] | BinaryIO | Dataset, folders: ResultFolders
) -> list[Path]:
    """Write a film's results; return their paths.

    A file is named by its SOP Instance UID, which the film and the model determine. One that is there is left
    as it is: the same film and model have the same result.

    Parameters
    ----------
    prediction : Prediction
        With `Prediction.pixels` kept, if a secondary capture is wanted.
    film : path-like, binary file or pydicom.Dataset
        What it was made from. A file object is read from its beginning.
    folders : ResultFolders

    Raises
    ------
    OutputError
        The film is no DICOM object, its pixels were not kept, or a folder cannot be written.
    ServeError
        The film lacks a UID that results must refer to.
    """
    if folders.sc is not None and prediction.pixels is None:
        raise OutputError("a secondary capture needs the film's pixels: predict with keep_pixels=True")
    if prediction.radiograph.get("format", "dicom") != "dicom":
        raise OutputError(
            f"{prediction.source}: DICOM results can be made for DICOM films only: a picture belongs to no examination"
        )
    header = _header(film, prediction.source)
    wanted = [folder for folder in (folders.sr, folders.sc) if folder is not None]
    results = make_results(
        header,
        prediction.pixels if prediction.pixels is not None else None,  # type: ignore[arg-type]
        prediction,
        datetime.now(timezone.utc),
        report=folders.sr is not None,
        capture=folders.sc is not None,
    )
    return [
        _write(folder, result.sop_instance_uid, result.data) for folder, result in zip(wanted, results, strict=True)
    ]


def _header(film: str | os.PathLike[str] | BinaryIO | Dataset, source: str) -> Dataset:
    if isinstance(film, Dataset):
        return film
    if not isinstance(film, str | os.PathLike):
        film.seek(0)
    try:
        # force: a film without the preamble is read as a film, so its results are made too
        return dcmread(film, stop_before_pixels=True, force=True)
    except UNREADABLE as error:
        raise ServeError(f"{source}: its header cannot be copied into results ({type(error).__name__})") from error


def _write(folder: Path, uid: str, data: bytes) -> Path:
    path = folder / f"{uid}.dcm"
    try:
        if not path.exists():
            write_with(path, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise OutputError(f"{folder}: a DICOM result cannot be written: {error.strerror}") from error
    return path
