"""UIDs of results: derived from what a result is about, so that a repeat makes the same object again.

Conventions
-----------
A derived UID is ``2.25.`` and the decimal form of a version 5 UUID (PS3.5 section B.2, RFC 9562). The
name that the UUID is made from is a list of parts, so a film's own UIDs cannot be read back from it.
One film, in one examination, scored by one model has one result of each kind, whatever was received
in which transfer syntax and how often.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xraytransfer.prediction import ModelIdentity

__all__ = ["IMPLEMENTATION_CLASS_UID", "derived_uid", "device_uid", "instance_uid", "series_uid", "tracking_uid"]

_NAMESPACE = uuid.UUID("5b0f1d52-0c5e-4c43-9d5e-2b7f3f6a7c11")  # this project's own, for ever
_LAYOUT = "1"  # raised when results change so much that old and new must stand side by side


def derived_uid(*parts: str) -> str:
    """Return the UID that these parts always give; at most 44 characters."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


IMPLEMENTATION_CLASS_UID = derived_uid("implementation")
"""(0002,0012) of the files written, and of every association: PS3.7 section D.3.3.2."""


def device_uid(model: ModelIdentity) -> str:
    """Return the device UID (IHE AIR) of a model: another one whenever its weights, name or version change."""
    return derived_uid("device", model.name, model.version, model.sha256)


def series_uid(study_uid: str, kind: str, model: ModelIdentity) -> str:
    """Return the series that a model's results of one kind (``SR``, ``SC``) form in an examination."""
    return derived_uid("series", _LAYOUT, kind, study_uid, device_uid(model))


def instance_uid(study_uid: str, sop_instance_uid: str, kind: str, model: ModelIdentity) -> str:
    """Return the SOP Instance UID of a film's result of one kind (``SR``, ``SC``)."""
    return derived_uid("instance", _LAYOUT, kind, study_uid, sop_instance_uid, device_uid(model))


def tracking_uid(sop_instance_uid: str, observation: str, model: ModelIdentity) -> str:
    """Return the UID that names one observation on one film by one model (TID 1501, row 3)."""
    return derived_uid("tracking", sop_instance_uid, observation, device_uid(model))
