"""Structured reports made from a template: highdicom makes one for each way of answering, and films fill it.

highdicom checks and copies its tree of content items many times over, which costs several times as much as scoring a
film. Of a report, only a few values belong to one film: its UIDs, patient and examination, the numbers and the
decisions. Everything else (model, thresholds, parameters, comment) is the same for every film that was read in the same
way, so a report of that kind is made once, on no patient. It is kept as the bytes of its content items, of which those
that hold a film's values are read, filled and written again. A test holds that the result is what highdicom makes, byte
by byte.

References
----------
PS3.5 section 7.5, nesting of data sets: a sequence and an item are their tag, their length and what they hold.
"""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pydicom.uid import UID
from pydicom.valuerep import DS

from xraytransfer.serve.dicom_results.identity import Identity

__all__ = ["GroupValues", "ReportTemplate", "ReportTemplates", "encode"]

_IMAGING_MEASUREMENTS = "126010"
_CONTENT = Tag("ContentSequence")
_ITEM = 0xFFFEE000


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
    """Templates by what their reports have in common; safe to use from many threads.

    Parameters
    ----------
    capacity : int
        Templates kept; the one not used for longest is dropped. Films of one site are read in a few ways.
    """

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[Hashable, ReportTemplate] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Dataset]) -> ReportTemplate:
        """Return the template of this key; where there is none, of the report that `make` makes on `NO_FILM`."""
        with self._lock:
            template = self._kept.get(key)
            if template is not None:
                self._kept.move_to_end(key)
        if template is None:
            template = ReportTemplate(make())  # outside the lock: other films go on; made twice at once, it is the same
            with self._lock:
                self._kept[key] = template
                if len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        return template


class ReportTemplate:
    """A report in pieces of encoded bytes; safe to use from many threads.

    Parameters
    ----------
    report : pydicom.Dataset
        In Explicit VR Little Endian. Its measurements must hold groups only.
    """

    def __init__(self, report: Dataset) -> None:
        root = dcmread(BytesIO(encode(report)))
        items = list(root.ContentSequence)
        (at,) = [at for at, item in enumerate(items) if _code(item) == _IMAGING_MEASUREMENTS]
        self._before = b"".join(map(_item, map(_encoded, items[:at])))
        self._after = b"".join(map(_item, map(_encoded, items[at + 1 :])))
        self._groups = [_Group(group) for group in items[at].ContentSequence]
        self._measurements = _without_content(items[at])
        del root.ContentSequence
        # the text of `NO_FILM` needs no UTF-8: where the template has it, the model's name does
        self._utf_8 = root.SpecificCharacterSet == "ISO_IR 192"
        self._root = encode(root)

    def fill(self, identity: Identity, series_uid: str, instance_uid: str, groups: list[GroupValues]) -> Dataset:
        """Return a film's report.

        Parameters
        ----------
        identity : Identity
            Of the film.
        series_uid, instance_uid : str
            Of the report.
        groups : list of GroupValues
            One for each observation, in order.
        """
        report = dcmread(BytesIO(self._root))
        report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = UID(instance_uid)
        del report.file_meta.FileMetaInformationGroupLength  # the template's; written anew
        report.SeriesInstanceUID = series_uid
        report.InstanceNumber = identity.instance_number
        report.ContentDate, report.ContentTime = identity.moment
        identity.stamp(report, utf_8=self._utf_8)
        _refer(report, identity)
        filled = [group.fill(identity, values) for group, values in zip(self._groups, groups, strict=True)]
        measurements = _item(self._measurements + _sequence(_CONTENT, filled))
        content = self._before + measurements + self._after
        report[_CONTENT] = RawDataElement(_CONTENT, "SQ", len(content), content, 0, False, True)
        return report


class _Group:
    """A measurement group (TID 1501): its own elements, and its content items."""

    def __init__(self, group: Dataset) -> None:
        self._items = [(str(item.ValueType), _code(item), _encoded(item)) for item in group.ContentSequence]
        self._elements = _without_content(group)

    def fill(self, identity: Identity, values: GroupValues) -> bytes:
        """Return the group as an item."""
        decided = values.decision[0] if values.decision is not None else ""
        items = []
        for kind, code, data in self._items:
            of_one_film = kind in ("UIDREF", "IMAGE", "NUM") or (kind == "CODE" and code == decided)
            items.append(_item(_filled_item(kind, code, data, identity, values) if of_one_film else data))
        return _item(self._elements + _sequence(_CONTENT, items))


def _filled_item(kind: str, code: str, data: bytes, identity: Identity, values: GroupValues) -> bytes:
    """Return a content item's elements with the values of one film."""
    item = read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)
    if kind == "UIDREF":
        item.UID = values.tracking_uid
    elif kind == "IMAGE":
        _name_film(item, identity)
    elif kind == "NUM":
        number, value = item.MeasuredValueSequence[0], values.numbers[code]
        number.NumericValue, number.FloatingPointValue = DS(value, auto_format=True), value
    elif values.decision is not None:
        answer = item.ConceptCodeSequence[0]
        answer.CodeValue, answer.CodingSchemeDesignator, answer.CodeMeaning = values.decision[1][:3]
    return _encoded(item)


def encode(dataset: Dataset) -> bytes:
    """Return an object as a DICOM file (PS3.10)."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _encoded(dataset: Dataset) -> bytes:
    """Return a data set's elements in Explicit VR Little Endian."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _without_content(item: Dataset) -> bytes:
    """Return the elements of an item of the template besides its content, which is taken away."""
    del item.ContentSequence
    return _encoded(item)


def _sequence(tag: int, items: list[bytes]) -> bytes:
    content = b"".join(items)
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(content)) + content


def _item(elements: bytes) -> bytes:
    return struct.pack("<HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(elements)) + elements


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


def _code(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)
