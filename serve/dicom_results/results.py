"""The results of one film: the objects that are sent or written for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from xraytransfer.serve.dicom_results.identity import identify
from xraytransfer.serve.dicom_results.secondary_capture import secondary_capture
from xraytransfer.serve.dicom_results.structured_report import structured_report
from xraytransfer.serve.dicom_results.uids import instance_uid
from xraytransfer.serve.spool.items import Result

if TYPE_CHECKING:
    from xraytransfer.prediction import Prediction

__all__ = ["encode", "film_uid", "make_results"]


def encode(dataset: Dataset) -> bytes:
    """Return an object as a DICOM file (PS3.10)."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def film_uid(film: Dataset, prediction: Prediction) -> str:
    """Return the UID that stands for a film and a model, whatever is made of them."""
    identity = identify(film)
    return instance_uid(identity.study_uid, identity.sop_instance_uid, "film", prediction.model)


def make_results(
    film: Dataset,
    pixels: NDArray[np.uint8],
    prediction: Prediction,
    created: datetime,
    *,
    report: bool = True,
    capture: bool = True,
) -> list[Result]:
    """Return a film's results, encoded.

    Parameters
    ----------
    film : pydicom.Dataset
        Pixels are not needed.
    pixels : ndarray
        uint8, shape (rows, columns), MONOCHROME2 sense.
    prediction : Prediction
    created : datetime
        When the film was first scored, with a time zone.
    report, capture : bool
        Whether to make the structured report and the secondary capture.

    Raises
    ------
    ServeError
        The film lacks a UID that results must refer to.
    """
    made: list[Callable[[], Dataset]] = []
    if report:
        made.append(lambda: structured_report(film, prediction, created))
    if capture:
        made.append(lambda: secondary_capture(film, pixels, prediction, created))
    return [
        Result(encode(dataset), str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
        for dataset in (make() for make in made)
    ]
