"""The command ``xraytransfer serve``."""

from __future__ import annotations

from typing import Any

import click

from xraytransfer.headed_help import HeadedCommand
from xraytransfer.serve.dicom_settings import DicomSettings, dicom_settings_from
from xraytransfer.serve.log import start_log
from xraytransfer.serve.options import add_options, settings_from
from xraytransfer.serve.settings import Settings

__all__ = ["serve"]


HEADINGS = {
    "Films and model": ("model", "device", "decode", "unintended_films", "workers", "batch_size"),
    "HTTP and page": (
        "host", "port", "token_file", "max_wrong_tokens", "insecure", "tls_certificate", "tls_key", "allowed_host",
        "cors_origin", "ready_film",
    ),
    "Limits of HTTP": (
        "queue_size", "deadline", "drain", "max_file_mib", "max_request_mib", "max_held_mib", "max_files", "max_pixels",
    ),
    "DICOM, films in": (
        "dicom_spool", "dicom_host", "dicom_port", "ae_title", "allow_ae", "allow_any_ae", "dicom_other",
        "dicom_tls_certificate", "dicom_tls_key", "dicom_tls_authorities",
    ),
    "DICOM, results out": (
        "send_to", "no_sr", "no_sc", "no_refusal_sr", "dicom_answer_timeout", "retry_after", "retry_at_most",
        "max_refusals", "confirm_after", "dicomweb_token_file",
    ),
    "Limits of DICOM": (
        "dicom_max_mb", "dicom_associations", "dicom_idle_timeout", "dicom_queue_size", "dicom_min_free_mb",
    ),
}  # fmt: skip
"""Heading of the help text -> names of options."""


@click.command(
    cls=HeadedCommand,
    headings=HEADINGS,
    epilog="The token may also be given in the environment variable XRAYTRANSFER_TOKEN.",
)
@add_options(Settings)
@click.option("--verbose", is_flag=True, help="Log every request (route, status, time), and DICOM films and results.")
@add_options(DicomSettings)
def serve(verbose: bool, **options: Any) -> None:
    """Score films over HTTP and DICOM, and on a page in the browser.

    One process serves programs, imaging systems and people.
    """
    from xraytransfer.serve.run import run

    start_log(verbose=verbose)
    dicom = dicom_settings_from(options)
    run(settings_from(Settings, options), dicom)
