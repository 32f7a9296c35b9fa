"""The model as equipment: what every DICOM result says of the model and software that made it, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from xraytransfer.serve.dicom_results.uids import IMPLEMENTATION_CLASS_UID, device_uid, package_version

if TYPE_CHECKING:
    from xraytransfer.prediction import ModelIdentity, Prediction
    from xraytransfer.serve.dicom_results.identity import Identity

__all__ = [
    "BANNER",
    "MANUFACTURER",
    "complete",
    "implementation_version",
    "model_parameters",
    "parameters",
    "software_version",
]

MANUFACTURER = "xraytransfer"
BANNER = "Research use, not for diagnosis"
"""Burned into pictures, and part of every result's series description."""


_TIMES_OF_MAKING = {
    "InstanceCreationDate",
    "InstanceCreationTime",
    "DateOfSecondaryCapture",
    "TimeOfSecondaryCapture",
}
"""What highdicom writes of the present moment: all optional, Type 3."""


def software_version() -> str:
    """Return this package's name and version."""
    return f"xraytransfer {package_version()}"


def implementation_version() -> str:
    """Return the implementation version name (0002,0013): at most 16 characters."""
    return software_version().upper().replace(" ", "_")[:16]


def model_parameters(model: ModelIdentity) -> list[str]:
    """Return what determines every answer of a model, as ``name=value`` (TID 4019, Algorithm Parameters)."""
    return [f"model-sha256={model.sha256}", f"software={software_version()}"]


def parameters(prediction: Prediction, position: int | None = None) -> list[str]:
    """Return what determined an answer, as ``name=value`` (TID 4019, Algorithm Parameters).

    Parameters
    ----------
    prediction : Prediction
    position : int, optional
        An observation's place in `xraytransfer.OBSERVATIONS`: adds its threshold and flip width.
    """
    lines = [
        *model_parameters(prediction.model),
        f"members={len(prediction.member_probability)}",
        f"intensity={prediction.radiograph.get('intensity')}",
        f"window={prediction.radiograph.get('window')}",
        f"inverted={str(bool(prediction.radiograph.get('inverted'))).lower()}",
    ]
    if prediction.acceptance is not None:
        lines.append(f"film={'accepted' if prediction.acceptance.accepted else prediction.acceptance.reason}")
    if position is not None and (threshold := prediction.thresholds[position]) is not None:
        lines += [f"operating-point={prediction.operating_point}", f"threshold={threshold:.6g}"]
        width = prediction.flip_widths[position]
        lines += [] if width is None else [f"flip-width={width:.6g}"]
    return lines


def complete(result: Dataset, identity: Identity, model: ModelIdentity, description: str) -> None:
    """Write into a result the attributes that do not depend on its kind.

    Parameters
    ----------
    result : pydicom.Dataset
        Changed in place.
    identity : Identity
        Of the film.
    model : ModelIdentity
    description : str
        What the series holds; the research notice follows it.
    """
    # Text that is not ASCII differs in bytes between character sets, and a template holds bytes.
    identity.stamp(result, utf_8=not f"{model.name}{model.version}".isascii())
    result.file_meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    result.file_meta.ImplementationVersionName = implementation_version()
    del result.file_meta.FileMetaInformationGroupLength
    result.SeriesDescription = f"{description} ({BANNER.lower()})"
    result.ManufacturerModelName = model.name[:64]
    result.SoftwareVersions = [software_version(), f"model {model.version}"[:64]]
    result.DeviceSerialNumber = model.sha256
    # The film's moment and no other: the time of scoring would make every repeat another object of the same UID.
    result.ContentDate, result.ContentTime = identity.moment
    for keyword in _TIMES_OF_MAKING & set(result.dir()):
        delattr(result, keyword)
    result.ContributingEquipmentSequence = [_contributing_equipment(model)]


def _contributing_equipment(model: ModelIdentity) -> Dataset:
    """Return the algorithm as contributing equipment, as IHE AIR requires.

    IHE's own purpose code is not registered; Processing Equipment of CID 7005 means the same.
    """
    item = hd.ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=model.name[:64],
        software_versions=[software_version(), f"model {model.version}"[:64]],
        device_serial_number=model.sha256,
        contribution_description=f"Processing algorithm. {BANNER}.",
    )
    if "ContributionDateTime" in item:
        del item.ContributionDateTime
    item.DeviceUID = device_uid(model)
    return item
