"""The command ``xraytransfer serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xraytransfer.constants import DEVICES
from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom.options import add_dicom_options
from xraytransfer.serve.log import start_log
from xraytransfer.serve.settings import MIB, Settings
from xraytransfer.usage_errors import as_usage_error

__all__ = ["serve"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DEFAULT = Settings()


@click.command(epilog="A token may also stand in the environment: XRAYTRANSFER_TOKEN.")
@click.option("--model", default=_DEFAULT.model, show_default=True, help="A model that ships, or a model file.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to score.")
@click.option("--host", default=_DEFAULT.host, show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=_DEFAULT.port, show_default=True, help="Port.")
@click.option("--token-file", type=_FILE, help="File with the token that callers must send.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without a token.")
@click.option("--tls-certificate", type=_FILE, help="PEM certificate chain; with --tls-key.")
@click.option("--tls-key", type=_FILE, help="PEM private key.")
@click.option("--allowed-host", "allowed_hosts", multiple=True, help="Host name of this server. Repeatable.")
@click.option("--cors-origin", "cors_origins", multiple=True, help="Origin whose pages may call. Repeatable.")
@click.option("--workers", type=click.IntRange(1), help="Films read side by side. [default: the cores]")
@click.option("--batch-size", type=click.IntRange(1), help="Films in one run. [default: 1 on the CPU, else 32]")
@click.option("--queue-size", type=click.IntRange(1), default=_DEFAULT.queue_size, show_default=True,
              help="Films accepted and not yet answered; more are refused at once.")  # fmt: skip
@click.option("--deadline", "deadline_s", type=click.FloatRange(0.1), default=_DEFAULT.deadline_s,
              show_default=True, help="Seconds until a film's answer.")  # fmt: skip
@click.option("--drain", "drain_s", type=click.IntRange(0), default=_DEFAULT.drain_s, show_default=True,
              help="Seconds for accepted films after SIGTERM.")  # fmt: skip
@click.option("--max-file-mib", type=click.IntRange(1), default=_DEFAULT.max_file_bytes // MIB,
              show_default=True, help="Largest film.")  # fmt: skip
@click.option("--max-request-mib", type=click.IntRange(1), default=_DEFAULT.max_request_bytes // MIB,
              show_default=True, help="Largest request.")  # fmt: skip
@click.option("--max-held-mib", type=click.IntRange(1), default=_DEFAULT.max_held_bytes // MIB,
              show_default=True, help="All requests' bodies in memory.")  # fmt: skip
@click.option("--max-files", type=click.IntRange(1), default=_DEFAULT.max_files, show_default=True,
              help="Films in one request.")  # fmt: skip
@click.option("--max-pixels", type=click.IntRange(1), default=_DEFAULT.max_pixels, show_default=True,
              help="Pixels of one film.")  # fmt: skip
@click.option("--ready-film", type=_FILE, help="Film that /readyz scores. [default: a drawn phantom]")
@click.option("--verbose", is_flag=True, help="Log every request (route, status, time), and DICOM films and results.")
@add_dicom_options
def serve(
    token_file: Path | None,
    max_file_mib: int,
    max_request_mib: int,
    max_held_mib: int,
    verbose: bool,
    **options: Any,
) -> None:
    """Score films over HTTP and DICOM, and on a page.

    For programs, imaging systems and people; one process holds the model for all three.
    """
    from xraytransfer.serve.run import run

    start_log(verbose=verbose)
    token = read_token(token_file)
    with as_usage_error():
        settings = Settings(
            token=token,
            max_file_bytes=max_file_mib * MIB,
            max_request_bytes=max_request_mib * MIB,
            max_held_bytes=max_held_mib * MIB,
            **options,
        )
    run(settings)


def read_token(file: Path | None) -> str | None:
    """Return the token in a file, else in the environment, else None; never from the command line."""
    import os

    if file is None:
        return os.environ.get("XRAYTRANSFER_TOKEN") or None
    try:
        token = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"{file}: the token cannot be read as ASCII text") from error
    if not token:
        raise ServeError(f"{file}: no token in it; write one line of at least 16 characters")
    return token
