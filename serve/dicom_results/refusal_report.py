"""The refusal report: a structured report which says, beside a film that was refused, that it was not evaluated.

Without it a film that was refused looks like one that never arrived, and like one on which nothing was found.

Conventions
-----------
The report belongs to the same series as those of films that were scored. Its only group holds no measurement. It holds
one evaluation, *Summary of Analyses: Not Attempted* (PS3.16 CID 6042), and the comment says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from highdicom.sr import (
    MeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import REASONS
from xraytransfer.serve.dicom_results.equipment import model_parameters
from xraytransfer.serve.dicom_results.identity import Identity, identify
from xraytransfer.serve.dicom_results.structured_report import algorithm, report_of
from xraytransfer.serve.dicom_results.uids import instance_uid, tracking_uid

if TYPE_CHECKING:
    from xraytransfer.prediction import ModelIdentity

__all__ = ["refusal_report"]


def refusal_report(film: Dataset, reason: str, model: ModelIdentity) -> Dataset:
    """Return the report that a film was not evaluated.

    Parameters
    ----------
    film : pydicom.Dataset
        The film; pixels are not needed. Patient and examination are copied from it.
    reason : str
        A key of `xraytransfer.errors.REASONS`.
    model : ModelIdentity
        The model that was to score the film.

    Returns
    -------
    pydicom.Dataset
        As `structured_report` returns it. The same film, reason and model give the same object, byte for byte.

    Raises
    ------
    ServeError
        The film lacks a valid UID of its own, its class, its series or its examination.
    """
    identity = identify(film)
    kind = f"SR, not evaluated: {reason}"
    text = (
        f"Not evaluated: {REASONS[reason]}. This report says nothing about the presence or absence of any finding. "
        f"{RESEARCH_NOTICE}"
    )
    uid = instance_uid(identity.study_uid, identity.sop_instance_uid, kind, model)
    return report_of([_group(identity, model)], text, identity, model, uid)


def _group(identity: Identity, model: ModelIdentity) -> MeasurementsAndQualitativeEvaluations:
    """Return the film's TID 1501 group: no measurement, one evaluation."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(identity.sop_instance_uid, "film", model), identifier="Film"
        ),
        algorithm_id=algorithm(model, model_parameters(model)),
        qualitative_evaluations=[QualitativeEvaluation(codes.DCM.SummaryOfAnalyses, codes.DCM.NotAttempted)],
        source_images=[SourceImageForMeasurementGroup(identity.sop_class_uid, identity.sop_instance_uid)],
    )
