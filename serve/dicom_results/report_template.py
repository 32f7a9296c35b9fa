"""Structured reports made from a template: highdicom makes one for each way of answering, and films fill it.

highdicom checks and copies its tree of content items many times over, which costs several times as much as scoring a
film. Of a report, only a few values belong to one film: its UIDs, patient and examination, the numbers and the
decisions. Everything else (model, thresholds, parameters, comment) is the same for every film that was read in the same
way, so a report of that kind is made once, on no patient, kept as a DICOM file's bytes, and read again for each film. A
test holds that the result is what highdicom makes, element by element.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import DS

from xraytransfer.serve.dicom_results.identity import Identity

__all__ = ["GroupValues", "ReportTemplates", "encode", "fill_report"]

_IMAGING_MEASUREMENTS, _MEASUREMENT_GROUP = "126010", "125007"


@dataclass(frozen=True)
class GroupValues:
    """What one observation's group says of one film.

    Attributes
    ----------
    tracking_uid : str
    numbers : dict of str to float
        Code value of a measurement's name -> value.
    decision : tuple or None
        Code value of the evaluation's name, and its answer; None without a threshold.
    """

    tracking_uid: str
    numbers: dict[str, float]
    decision: tuple[str, Code] | None


class ReportTemplates:
    """Reports as DICOM files' bytes, by what they have in common; safe to use from many threads.

    Parameters
    ----------
    capacity : int
        Templates kept; the one not used for longest is dropped. Films of one site are read in a few ways.
    """

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> Dataset:
        """Return a fresh copy of the template of this key, which `make` makes where there is none, on `NO_FILM`."""
        with self._lock:
            data = self._kept.get(key)
            if data is not None:
                self._kept.move_to_end(key)
        if data is None:
            data = make()  # outside the lock: other films go on; made twice at once, it is the same
            with self._lock:
                self._kept[key] = data
                if len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        return dcmread(BytesIO(data))


def encode(dataset: Dataset) -> bytes:
    """Return an object as a DICOM file (PS3.10)."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def fill_report(
    report: Dataset, identity: Identity, series_uid: str, instance_uid: str, groups: list[GroupValues]
) -> None:
    """Write what belongs to one film into a copy of a template, in place.

    Parameters
    ----------
    report : pydicom.Dataset
        From `ReportTemplates.get`.
    identity : Identity
        Of the film.
    series_uid, instance_uid : str
        Of the report.
    groups : list of GroupValues
        One for each observation, in order.
    """
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    del report.file_meta.FileMetaInformationGroupLength  # the template's; written anew
    report.SeriesInstanceUID = series_uid
    report.InstanceNumber = identity.instance_number
    report.ContentDate, report.ContentTime = identity.moment
    identity.stamp(report)
    _refer(report, identity)
    (measurements,) = _named(report, _IMAGING_MEASUREMENTS)
    for group, values in zip(_named(measurements, _MEASUREMENT_GROUP), groups, strict=True):
        _fill_group(group, identity, values)


def _refer(report: Dataset, identity: Identity) -> None:
    """Name the film as the evidence (PS3.3 C.17.2.3)."""
    study = report.CurrentRequestedProcedureEvidenceSequence[0]
    study.StudyInstanceUID = identity.study_uid
    series = study.ReferencedSeriesSequence[0]
    series.SeriesInstanceUID = identity.series_uid
    _name_film(series, identity)


def _name_film(item: Dataset, identity: Identity) -> None:
    film = item.ReferencedSOPSequence[0]
    film.ReferencedSOPClassUID, film.ReferencedSOPInstanceUID = identity.sop_class_uid, identity.sop_instance_uid


def _fill_group(group: Dataset, identity: Identity, values: GroupValues) -> None:
    for item in group.ContentSequence:
        kind = item.ValueType  # asked first: what is not read is written again as it stands, at no cost
        if kind == "UIDREF":
            item.UID = values.tracking_uid
        elif kind == "IMAGE":
            _name_film(item, identity)
        elif kind == "NUM":
            number, value = item.MeasuredValueSequence[0], values.numbers[_code(item)]
            number.NumericValue, number.FloatingPointValue = DS(value, auto_format=True), value
        elif kind == "CODE" and values.decision is not None and _code(item) == values.decision[0]:
            answer = item.ConceptCodeSequence[0]
            answer.CodeValue, answer.CodingSchemeDesignator, answer.CodeMeaning = values.decision[1][:3]


def _named(parent: Dataset, code: str) -> list[Dataset]:
    """Return the content items of this name."""
    return [item for item in parent.ContentSequence if _code(item) == code]


def _code(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)
