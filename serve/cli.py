"""The command ``xraytransfer serve``."""

from __future__ import annotations

from typing import Any

import click

from xraytransfer.serve.dicom_settings import DicomSettings, dicom_settings_from
from xraytransfer.serve.log import start_log
from xraytransfer.serve.options import add_options, settings_from
from xraytransfer.serve.settings import Settings

__all__ = ["serve"]


@click.command(epilog="A token may also stand in the environment: XRAYTRANSFER_TOKEN.")
@add_options(Settings)
@click.option("--verbose", is_flag=True, help="Log every request (route, status, time), and DICOM films and results.")
@add_options(DicomSettings)
def serve(verbose: bool, **options: Any) -> None:
    """Score films over HTTP and DICOM, and on a page.

    For programs, imaging systems and people; one process holds the model for all three.
    """
    from xraytransfer.serve.run import run

    start_log(verbose=verbose)
    dicom = dicom_settings_from(options)
    run(settings_from(Settings, options), dicom)
