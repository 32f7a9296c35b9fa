"""The DICOM options of ``xraytransfer serve``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xraytransfer.usage_errors import as_usage_error

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import DicomSettings

__all__ = ["add_dicom_options"]

_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)

_OPTIONS = (
    click.option(
        "--dicom-spool",
        type=click.Path(path_type=Path, file_okay=False),
        help="Receive films by DICOM and keep them in this folder until their results are sent.",
    ),
    click.option(
        "--send-to",
        "send_to",
        multiple=True,
        metavar="NODE",
        help="Send results here: AETITLE@host:port, or the URL of a DICOMweb service. May be repeated.",
    ),
    click.option("--dicom-host", default="127.0.0.1", show_default=True, help="Address to receive films on."),
    click.option("--dicom-port", type=click.IntRange(0, 65535), default=11112, show_default=True, help="Its port."),
    click.option("--ae-title", default="XRAYTRANSFER", show_default=True, help="Our AE title."),
    click.option("--allow-ae", multiple=True, metavar="AETITLE", help="AE title that may send films. May be repeated."),
    click.option("--allow-any-ae", is_flag=True, help="Let every AE title send films, from any machine."),
    click.option("--no-sr", is_flag=True, help="Send no structured reports."),
    click.option("--no-sc", is_flag=True, help="Send no secondary captures."),
    click.option(
        "--confirm-after",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="Ask destinations, this long after they took a result, whether they have it.",
    ),
    click.option("--dicomweb-token-file", type=_FILE, help="File with a bearer token for DICOMweb services."),
    click.option("--dicom-tls-certificate", type=_FILE, help="PEM file: speak DICOM over TLS only."),
    click.option("--dicom-tls-key", type=_FILE, help="PEM file: its key."),
    click.option("--dicom-tls-authorities", type=_FILE, help="PEM file: who must have signed the peers' certificates."),
)

_NAMES = (
    "dicom_spool",
    "send_to",
    "dicom_host",
    "dicom_port",
    "ae_title",
    "allow_ae",
    "allow_any_ae",
    "no_sr",
    "no_sc",
    "confirm_after",
    "dicomweb_token_file",
    "dicom_tls_certificate",
    "dicom_tls_key",
    "dicom_tls_authorities",
)


def add_dicom_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a Click command the DICOM options; its function gets them as ``dicom``, DicomSettings or None."""

    @functools.wraps(command)
    def with_settings(*arguments: Any, **options: Any) -> Any:
        dicom = _settings({name: options.pop(name) for name in _NAMES})
        return command(*arguments, dicom=dicom, **options)

    decorated: Callable[..., Any] = with_settings
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _settings(taken: dict[str, Any]) -> DicomSettings | None:
    """Return the settings that the options say, None without ``--dicom-spool``."""
    from xraytransfer.serve.cli import read_token
    from xraytransfer.serve.dicom_settings import Destination, DicomSettings

    if taken["dicom_spool"] is None:
        if taken["send_to"]:
            raise click.UsageError("--send-to needs --dicom-spool: the folder where films and results wait")
        return None
    token_file = taken["dicomweb_token_file"]
    token = read_token(token_file) if token_file else None
    with as_usage_error():
        return DicomSettings(
            spool=taken["dicom_spool"],
            destinations=tuple(Destination.parse(text) for text in taken["send_to"]),
            host=taken["dicom_host"],
            port=taken["dicom_port"],
            ae_title=taken["ae_title"],
            callers=taken["allow_ae"],
            any_caller=taken["allow_any_ae"],
            structured_report=not taken["no_sr"],
            secondary_capture=not taken["no_sc"],
            confirm_after_s=taken["confirm_after"],
            dicomweb_token=token,
            tls_certificate=taken["dicom_tls_certificate"],
            tls_key=taken["dicom_tls_key"],
            tls_authorities=taken["dicom_tls_authorities"],
        )
