"""The six observations: their order, names and codes. No other module defines them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OBSERVATIONS", "Code", "Observation"]


@dataclass(frozen=True)
class Code:
    """A coded concept, as in DICOM PS3.3 section 8.1.

    Attributes
    ----------
    value : str
        Code Value (0008,0100).
    scheme : str
        Coding Scheme Designator (0008,0102); ``SCT`` is SNOMED CT, ``DCM`` DICOM PS3.16 annex D.
    meaning : str
        Code Meaning (0008,0104).
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class Observation:
    """One of the findings whose probability a model gives for a radiograph.

    Attributes
    ----------
    identifier : str
        Lower snake case, for data and programs: ``pleural_effusion``.
    name : str
        CheXpert's printed name: ``Pleural Effusion``.
    code : Code
        The concept written into DICOM results.
    """

    identifier: str
    name: str
    code: Code


OBSERVATIONS: tuple[Observation, ...] = (
    Observation("atelectasis", "Atelectasis", Code("46621007", "SCT", "Atelectasis")),
    Observation("cardiomegaly", "Cardiomegaly", Code("8186001", "SCT", "Cardiomegaly")),
    Observation("consolidation", "Consolidation", Code("95436008", "SCT", "Lung consolidation")),
    Observation("edema", "Edema", Code("19242006", "SCT", "Pulmonary edema")),
    Observation("no_finding", "No Finding", Code("111286", "DCM", "No abnormality")),
    Observation("pleural_effusion", "Pleural Effusion", Code("60046008", "SCT", "Pleural effusion")),
)
"""The order of every vector in this project. ``No Finding`` means that the report names nothing; it is no disease."""
