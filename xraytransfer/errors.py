"""The errors of this package; each message names what was found, what was expected and what to do."""

from __future__ import annotations

import sys
from typing import Any

__all__ = [
    "OVERRULED_BY",
    "PASSING",
    "REASONS",
    "BusyError",
    "DeviceError",
    "ExportError",
    "MissingExtraError",
    "ModelFileError",
    "OutputError",
    "RadiographError",
    "ServeError",
    "StudyError",
    "XrayTransferError",
]

REASONS: dict[str, str] = {
    "not-found": "no such file",
    "unreadable": "the file cannot be opened or read",
    "unavailable": "the store does not give the file",
    "changed": "the file is not the one that was listed",
    "unsupported-format": "neither DICOM, PNG nor JPEG",
    "corrupt": "the file is damaged",
    "no-pixels": "the object holds no picture",
    "truncated-pixels": "the pixel data end too early",
    "unsupported-transfer-syntax": "no decoder for this transfer syntax",
    "decode-failed": "the compressed pixels cannot be decoded",
    "invalid-attribute": "an attribute that the picture depends on is absent or invalid",
    "not-a-radiograph": "not a projection radiograph",
    "unintended-film": "the header says that models are not meant for the patient",
    "not-frontal": "not a frontal view",
    "colour": "a colour picture",
    "multi-frame": "more than one frame",
    "constant": "every pixel has the same value",
    "too-large": "larger than the limit",
    "too-small": "too small to be a radiograph",
    "sideways": "the film lies on its side",
    "upside-down": "the film is upside down",
    "inverted": "the grey levels are inverted",
    "not-accepted": "the model judged the film unfit to be scored",
}
"""Every reason a film may be refused for: the same words in CLI, JSON, HTTP problems and metrics."""


PASSING = frozenset({"not-found", "unreadable", "unavailable", "changed"})
"""Reasons that lie in the store and may pass, so that the film is tried again; all others lie in the film."""

OVERRULED_BY: dict[str, str] = {
    "not-a-radiograph": "any_modality",
    "unintended-film": "unintended_films",
    **dict.fromkeys(("sideways", "upside-down", "inverted", "not-accepted"), "any_film"),
}
"""Reason -> the argument that has such a film scored anyway. Python, the command line and the HTTP interface each
name it in their own form, so no message of a film holds it."""

_IN_PYTHON = {"unintended_films": "unintended_films='note'"}  # of the others: True


class XrayTransferError(Exception):
    """Base of every error that this package raises on purpose."""


class RadiographError(XrayTransferError):
    """A film is refused.

    Parameters
    ----------
    reason : str
        A key of `REASONS`: stable, for programs.
    message : str
        What was found, what was expected and what to do: for people. Holds no patient data. As text the error names
        the Python argument of `OVERRULED_BY`, too.
    radiograph : dict, optional
        What was read of the film and what was done to its pixels, as far as it came; as in a prediction.
    acceptance : dict, optional
        What the model's quality gate found, where it was asked.
    """

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        radiograph: dict[str, Any] | None = None,
        acceptance: dict[str, Any] | None = None,
    ) -> None:
        if reason not in REASONS:
            raise ValueError(f"unknown reason {reason!r}; known: {', '.join(REASONS)}")
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.radiograph = radiograph
        self.acceptance = acceptance

    def __str__(self) -> str:
        argument = OVERRULED_BY.get(self.reason)
        if argument is None:
            return self.message
        return f"{self.message}. To score it anyway: {_IN_PYTHON.get(argument, f'{argument}=True')}"


class ModelFileError(XrayTransferError):
    """A model file does not fulfil the contract, is damaged, or is newer than this version reads."""


class DeviceError(XrayTransferError):
    """The execution provider that the user chose does not run here."""


class OutputError(XrayTransferError):
    """Results cannot be written."""


class StudyError(XrayTransferError):
    """A study's data, configuration or run folder does not allow the operation."""


class BusyError(StudyError):
    """Another process works in the folder; the same command can be tried again later."""


class ExportError(XrayTransferError):
    """A model file cannot be written, or fails one of the checks before it is written."""


class ServeError(XrayTransferError):
    """The server, or one of its DICOM connections, cannot fulfil the request."""


class MissingExtraError(XrayTransferError):
    """A heavy part is not installed.

    Parameters
    ----------
    extra : str
        Name of the extra, such as ``study``.
    missing : str
        The module that could not be imported.
    """

    def __init__(self, extra: str, missing: str) -> None:
        # the pip of this interpreter reads the extras of the package that is installed here, and needs no index for it
        python = sys.executable or "python"
        super().__init__(f"{missing} is not installed; run: {python} -m pip install 'xraytransfer[{extra}]'")
        self.extra = extra
