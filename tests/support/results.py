"""A prediction and the film that it belongs to, for tests of DICOM results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from xraytransfer.prediction import ModelIdentity, Prediction

MODEL = ModelIdentity("toy", "1", "ab" * 32)


def make_prediction(**changes: Any) -> Prediction:
    """Return a prediction of three members; `changes` replace its fields."""
    members = np.random.default_rng(3).random((3, 6)).astype(np.float32)
    prediction = Prediction(
        source="film.dcm",
        probability=members.mean(axis=0),
        member_probability=members,
        activation_map=np.random.default_rng(4).normal(size=(6, 4, 4)).astype(np.float32),
        thresholds=(0.0, 1.0, 0.5, 0.5, None, 0.5),
        operating_point="youden",
        radiograph={"intensity": "voi", "window": "window", "inverted": True},
        model=MODEL,
        provider="CPUExecutionProvider",
        raw_member_probability=members,
    )
    return replace(prediction, **changes)


def make_film(**changes: Any) -> Dataset:
    """Return the header of a film; `changes` set attributes by keyword."""
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3.4"
    film.StudyInstanceUID, film.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    film.PatientName, film.PatientID, film.InstanceNumber = "Muster^Erika", "4711", 7
    for keyword, value in changes.items():
        setattr(film, keyword, value)
    return film
