"""Score chest radiographs with small, well-measured networks. For research, not a medical device.

Names are loaded on first use, so that ``import xraytransfer`` costs nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# From 1.29 on, ONNX Runtime's packages tell Microsoft about machine and model (file and graph names, hashes) unless
# this is set before they are loaded. Where films are read nothing may leave unasked; a user's own setting is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from xraytransfer.classifier import Classifier, load
    from xraytransfer.errors import XrayTransferError
    from xraytransfer.observations import OBSERVATIONS
    from xraytransfer.prediction import Prediction, Refusal
    from xraytransfer.radiograph import Radiograph, read_radiograph

__all__ = [
    "OBSERVATIONS",
    "Classifier",
    "Prediction",
    "Radiograph",
    "Refusal",
    "XrayTransferError",
    "load",
    "read_radiograph",
]

_HOMES = {
    "OBSERVATIONS": "observations",
    "Classifier": "classifier",
    "Prediction": "prediction",
    "Radiograph": "radiograph",
    "Refusal": "prediction",
    "XrayTransferError": "errors",
    "load": "classifier",
    "read_radiograph": "radiograph",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'xraytransfer' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"xraytransfer.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
