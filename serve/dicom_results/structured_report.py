"""The structured report: a prediction as Comprehensive 3D SR, TID 1500, one flat TID 1501 group per observation.

Conventions
-----------
The root template, the qualitative evaluations and the algorithm's identification follow IHE AIR (AI Results):
*Procedure reported* is the imaging procedure, not the algorithm. Groups hold nothing nested, because readers drop
nested modifiers. A decision below the operating point is written as Absent in the sense of
PS3.16 CID 241; the report's comment says that it rules nothing out. No Finding is told as Yes or No to the question
whether a report would name a finding.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from xraytransfer.constants import INTENDED_USE, NOT_INTENDED_USE, RESEARCH_NOTICE
from xraytransfer.observations import OBSERVATIONS, Observation
from xraytransfer.serve.dicom_results.equipment import MANUFACTURER, complete, parameters, software_version
from xraytransfer.serve.dicom_results.identity import NO_FILM, Identity, identify
from xraytransfer.serve.dicom_results.report_template import GroupValues, ReportTemplates
from xraytransfer.serve.dicom_results.uids import device_uid, instance_uid, kind_of_result, series_uid, tracking_uid

if TYPE_CHECKING:
    from xraytransfer.prediction import ModelIdentity, Prediction

__all__ = [
    "CHEST_RADIOGRAPHY",
    "COMMENT",
    "MEMBER_SPREAD",
    "SERIES_NUMBER",
    "algorithm",
    "report_of",
    "structured_report",
]

CHEST_RADIOGRAPHY = CodedConcept("399208008", "SCT", "Plain X-ray of chest")
"""The procedure reported."""
MEMBER_SPREAD = CodedConcept("MEMBER-SPREAD", "99XRAYTRANSFER", "Standard deviation over ensemble members")
"""The spread of the ensemble's members; no public scheme has a code for it."""
REPORT_NAMES_A_FINDING = CodedConcept("NAMES-FINDING", "99XRAYTRANSFER", "A report would name a finding")
"""The decision on No Finding, Yes or No (PS3.16 CID 230): "No abnormality: Absent" would be a double negative."""
SERIES_NUMBER = 9801
COMMENT = (
    f"{RESEARCH_NOTICE} Not verified by anybody. Absent means below the operating point: it rules nothing out. "
    "The probability of No Finding is that of a report which names nothing; it is not a diagnosis of health. "
    f"Probabilities and the spread of the ensemble's members are calibrated in the same way. "
    f"{INTENDED_USE} {NOT_INTENDED_USE}"
)


_TEMPLATES = ReportTemplates()


def structured_report(dataset: Dataset, prediction: Prediction) -> Dataset:
    """Return a prediction as a DICOM structured report in the film's examination.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The film; pixels are not needed. Patient and examination are copied from it.
    prediction : Prediction
        The model's prediction for it.

    Returns
    -------
    pydicom.Dataset
        A Comprehensive 3D SR with file meta information, Explicit VR Little Endian, complete, preliminary,
        UNVERIFIED. The same film and model give the same object, byte for byte.

    Raises
    ------
    ServeError
        The film lacks a valid UID of its own, its class, its series or its examination.

    References
    ----------
    PS3.3 A.35.13; PS3.16 TID 1500, 1501, 4019; IHE RAD AI Results.
    """
    identity = identify(dataset)
    template = _TEMPLATES.get(_shared_by(prediction), lambda: built_report(NO_FILM, prediction))
    return template.fill(
        identity,
        series_uid(identity.study_uid, "SR", prediction.model),
        _instance_uid(identity, prediction),
        [_values(observation, i, prediction, identity) for i, observation in enumerate(OBSERVATIONS)],
    )


def _shared_by(prediction: Prediction) -> Hashable:
    """Return all that a report holds besides what is filled into its template: what reports of one key share."""
    positions = range(len(OBSERVATIONS))
    told = tuple(tuple(parameters(prediction, i)) for i in positions)
    return prediction.model, told, prediction.cautions, tuple(value is None for value in prediction.decision)


def _instance_uid(identity: Identity, prediction: Prediction) -> str:
    kind = kind_of_result("SR", prediction)
    return instance_uid(identity.study_uid, identity.sop_instance_uid, kind, prediction.model)


def _values(observation: Observation, position: int, prediction: Prediction, identity: Identity) -> GroupValues:
    """Return what one observation's group says of this film."""
    decision = prediction.decision[position]
    evaluation = None if decision is None else _evaluation(observation, decision)
    return GroupValues(
        tracking_uid=tracking_uid(identity.sop_instance_uid, observation.identifier, prediction.model),
        numbers={concept.value: value for concept, value in _numbers(prediction, position)},
        decision=evaluation and (evaluation[0].value, evaluation[1]),
    )


def _numbers(prediction: Prediction, position: int) -> list[tuple[CodedConcept | Code, float]]:
    """Return an observation's measurements, with four decimals."""
    probability, spread = prediction.probability[position], prediction.spread[position]
    return [(codes.DCM.Probability, round(float(probability), 4)), (MEMBER_SPREAD, round(float(spread), 4))]


def built_report(identity: Identity, prediction: Prediction) -> Dataset:
    """Return the report as highdicom builds it, without a template; equal to `structured_report`, and slow."""
    groups = [_group(observation, i, prediction, identity) for i, observation in enumerate(OBSERVATIONS)]
    text = " ".join((*prediction.cautions, COMMENT))
    return report_of(groups, text, identity, prediction.model, _instance_uid(identity, prediction))


def report_of(
    groups: Sequence[MeasurementsAndQualitativeEvaluations],
    text: str,
    identity: Identity,
    model: ModelIdentity,
    instance_uid: str,
) -> Dataset:
    """Return a report in the film's examination that holds measurement groups (TID 1501) and a comment."""
    content = MeasurementReport(
        observation_context=_observer(model),
        procedure_reported=CHEST_RADIOGRAPHY,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    comment = TextContentItem(codes.DCM.Comment, text, RelationshipTypeValues.CONTAINS)
    content[0].ContentSequence.append(comment)
    report = Comprehensive3DSR(
        evidence=[identity.evidence()],
        content=content,
        series_instance_uid=series_uid(identity.study_uid, "SR", model),
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance_uid,
        instance_number=identity.instance_number,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                designator=MEMBER_SPREAD.scheme_designator, name="Private codes of xraytransfer"
            )
        ],
    )
    complete(report, identity, model, "Chest observations")
    return report


def _observer(model: ModelIdentity) -> ObservationContext:
    """Return the model as the device that observed (TID 1002, 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(model),
        name=model.name,
        manufacturer_name=MANUFACTURER,
        model_name=f"{model.name} {model.version}, {software_version()}",
        serial_number=model.sha256,
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def algorithm(model: ModelIdentity, parameters: list[str]) -> AlgorithmIdentification:
    """Return the model as the algorithm of a measurement group (TID 4019)."""
    return AlgorithmIdentification(
        name=model.name,
        version=model.version,
        parameters=parameters,
        family=codes.DCM.ArtificialIntelligence,
        manufacturer=MANUFACTURER,
    )


def _evaluation(observation: Observation, decision: bool) -> tuple[CodedConcept | Code, Code]:
    """Return a decision: Present or Absent for what a report may name, the plain opposite for No Finding."""
    if observation.identifier == "no_finding":
        return REPORT_NAMES_A_FINDING, codes.SCT.No if decision else codes.SCT.Yes
    return codes.DCM.PresenceOfProperty, codes.SCT.Present if decision else codes.SCT.Absent


def _group(
    observation: Observation, position: int, prediction: Prediction, identity: Identity
) -> MeasurementsAndQualitativeEvaluations:
    """Return one observation's TID 1501 group: probability, members' spread, and the decision if there is one."""
    code, model = observation.code, prediction.model
    decision = prediction.decision[position]
    evaluations = None if decision is None else [QualitativeEvaluation(*_evaluation(observation, decision))]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(identity.sop_instance_uid, observation.identifier, model),
            identifier=observation.name,
        ),
        finding_type=CodedConcept(code.value, code.scheme, code.meaning),
        algorithm_id=algorithm(model, parameters(prediction, position)),
        measurements=[Measurement(name, value, codes.UCUM.NoUnits) for name, value in _numbers(prediction, position)],
        qualitative_evaluations=evaluations,
        source_images=[SourceImageForMeasurementGroup(identity.sop_class_uid, identity.sop_instance_uid)],
    )
