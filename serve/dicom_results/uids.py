"""UIDs of results: derived from film and model, so that scoring a film again makes the same object.

Conventions
-----------
A derived UID is ``2.25.`` and the decimal form of a version 5 UUID (PS3.5 section B.2, RFC 9562). The UUID is a hash
of a list of names, so a film's own UIDs cannot be read back from it. One film in one examination, scored by one model,
has one result of each kind, however often and in whichever transfer syntaxes it was received.
"""

from __future__ import annotations

import functools
import json
import uuid
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xraytransfer.prediction import ModelIdentity, Prediction

__all__ = [
    "IMPLEMENTATION_CLASS_UID",
    "derived_uid",
    "device_uid",
    "instance_uid",
    "kind_of_result",
    "package_version",
    "series_uid",
    "tracking_uid",
]

_NAMESPACE = uuid.UUID("5b0f1d52-0c5e-4c43-9d5e-2b7f3f6a7c11")  # this project's own; never to be changed
_LAYOUT = "3"  # raised when a result of the same package version and model changes; 1 was that of version 0.1


@functools.cache  # read from the installed package's files, once
def package_version() -> str:
    """Return this package's version."""
    return version("xraytransfer")


def derived_uid(*parts: str) -> str:
    """Return the UID derived from these names, always the same; at most 44 characters."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


IMPLEMENTATION_CLASS_UID = derived_uid("implementation")
"""(0002,0012) of the files written, and of every association: PS3.7 section D.3.3.2."""


def device_uid(model: ModelIdentity) -> str:
    """Return the device UID (IHE AIR) of a model.

    It changes with the model's name, version and checksum, which covers all that a result depends on, and with this
    package's version, because another version may read films differently.
    """
    return derived_uid("device", model.name, model.version, model.sha256, package_version())


def series_uid(study_uid: str, kind: str, model: ModelIdentity) -> str:
    """Return the series UID of a model's results of one kind (``SR``, ``SC``) in an examination."""
    return derived_uid("series", _LAYOUT, kind, study_uid, device_uid(model))


def instance_uid(study_uid: str, sop_instance_uid: str, kind: str, model: ModelIdentity) -> str:
    """Return the SOP Instance UID of a film's result of one kind (``SR``, ``SC``)."""
    return derived_uid("instance", _LAYOUT, kind, study_uid, sop_instance_uid, device_uid(model))


def kind_of_result(kind: str, prediction: Prediction) -> str:
    """Return the kind of a result, with the resolution at which the film was decoded where that was not the full one.

    Reduced decoding changes the numbers, so results of both ways have UIDs of their own.
    """
    reduction = prediction.radiograph.get("reduction", 1)
    return kind if reduction == 1 else f"{kind}, decoded at 1/{reduction}"


def tracking_uid(sop_instance_uid: str, observation: str, model: ModelIdentity) -> str:
    """Return the tracking UID of one observation on one film by one model (TID 1501, row 3)."""
    return derived_uid("tracking", sop_instance_uid, observation, device_uid(model))
