"""The results of one film: the DICOM objects made for it, sent by the server or written as files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydicom import Dataset

from xraytransfer.errors import OutputError, RadiographError, ServeError
from xraytransfer.files import write_with
from xraytransfer.serve.dicom_results.film_header import read_header
from xraytransfer.serve.dicom_results.identity import UNREADABLE
from xraytransfer.serve.dicom_results.refusal_report import refusal_report
from xraytransfer.serve.dicom_results.report_template import encode
from xraytransfer.serve.dicom_results.secondary_capture import secondary_capture
from xraytransfer.serve.dicom_results.structured_report import structured_report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from xraytransfer.prediction import ModelIdentity, Prediction

__all__ = ["Result", "ResultFolders", "encode", "make_refusal", "make_results", "write_results"]


@dataclass(frozen=True)
class Result:
    """An encoded DICOM object that says what a model answered about a film.

    Attributes
    ----------
    data : bytes
        DICOM file.
    sop_class_uid, sop_instance_uid : str
    """

    data: bytes
    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def of(cls, dataset: Dataset) -> Result:
        """Encode an object."""
        return cls(encode(dataset), str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))


@dataclass(frozen=True)
class ResultFolders:
    """The folders that results are written into.

    Attributes
    ----------
    sr, sc : Path or None
        Folder of structured reports, and of secondary captures; None makes none. Created where absent.
    """

    sr: Path | None = None
    sc: Path | None = None


def make_results(
    film: Dataset,
    pixels: NDArray[np.uint8] | None,
    prediction: Prediction,
    *,
    report: bool = True,
    capture: bool = True,
) -> list[Result]:
    """Return a film's results: the structured report first, then the secondary capture.

    Parameters
    ----------
    film : pydicom.Dataset
        Pixels are not needed.
    pixels : ndarray or None
        uint8, shape (rows, columns), MONOCHROME2 sense. Only the secondary capture needs them.
    prediction : Prediction
    report, capture : bool
        Whether to make the structured report and the secondary capture.

    Raises
    ------
    OutputError
        A secondary capture is to be made without pixels.
    ServeError
        The film lacks a UID that results must refer to.
    """
    results = []
    if report:
        results.append(Result.of(structured_report(film, prediction)))
    if capture:
        if pixels is None:
            raise OutputError("a secondary capture needs the film's pixels: predict with keep_pixels=True")
        results.append(Result.of(secondary_capture(film, pixels, prediction)))
    return results


def make_refusal(film: Path, reason: str, model: ModelIdentity) -> Result:
    """Return the structured report that says of a film that it was not evaluated.

    Parameters
    ----------
    film : Path
        DICOM file.
    reason : str
        A key of `xraytransfer.errors.REASONS`.
    model : ModelIdentity

    Raises
    ------
    ServeError
        The header is damaged, or lacks a UID that results must refer to.
    """
    return Result.of(refusal_report(_read_header(film, "the film"), reason, model))


def write_results(
    prediction: Prediction, film: str | os.PathLike[str] | BinaryIO | Dataset, folders: ResultFolders
) -> list[Path]:
    """Write a film's results as files, as ``xraytransfer predict --sr --sc`` does; return their paths.

    A file is named by its SOP Instance UID, which the film and the model determine: a result of another model stands
    beside it. A file of that very name is replaced, so what is in the folder afterwards is this run's.

    Parameters
    ----------
    prediction : Prediction
        With `Prediction.pixels` kept, if a secondary capture is to be made.
    film : path-like, binary file or pydicom.Dataset
        The film that was scored. A file object is read from its beginning.
    folders : ResultFolders

    Raises
    ------
    OutputError
        The film is no DICOM object, its pixels were not kept, or a folder cannot be written.
    ServeError
        The film lacks a UID that results must refer to.
    """
    if prediction.radiograph.get("format", "dicom") != "dicom":
        raise OutputError(
            f"{prediction.source}: DICOM results can be made for DICOM films only: a picture belongs to no examination"
        )
    results = make_results(
        _read_header(film, prediction.source),
        prediction.pixels,
        prediction,
        report=folders.sr is not None,
        capture=folders.sc is not None,
    )
    chosen = [folder for folder in (folders.sr, folders.sc) if folder is not None]
    paths = [folder / f"{result.sop_instance_uid}.dcm" for folder, result in zip(chosen, results, strict=True)]
    for path, result in zip(paths, results, strict=True):
        _write(path, result.data)
    return paths


def _read_header(film: str | os.PathLike[str] | BinaryIO | Dataset, source: str) -> Dataset:
    try:
        if isinstance(film, str | os.PathLike):
            with Path(film).open("rb") as file:
                return read_header(file)
        if isinstance(film, Dataset):
            return film
        film.seek(0)
        return read_header(film)
    except (RadiographError, *UNREADABLE) as error:
        raise ServeError(f"{source}: its header cannot be copied into results ({type(error).__name__})") from error


def _write(path: Path, data: bytes) -> None:
    try:
        write_with(path, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise OutputError(f"{path.parent}: a DICOM result cannot be written: {error.strerror}") from error
