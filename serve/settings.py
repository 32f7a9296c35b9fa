"""Settings: every option of the HTTP server and its engine, in one frozen dataclass."""

# ruff: noqa: RUF009 - `option` makes a field, not a default

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

import click

from xraytransfer.constants import DECODING, DEVICES, UNINTENDED_FILMS
from xraytransfer.errors import ServeError
from xraytransfer.serve.options import FILE, option

__all__ = ["MIB", "Settings", "check_at_least_one", "is_loopback", "read_token"]

MIB = 1024 * 1024
_COUNT = click.IntRange(1)
_HOST_NAME = re.compile(r"\*|[^\s@/?#\\:\[\]]+|\[[0-9A-Fa-f:.]+\]")  # as in the Host header, without its port
_ORIGIN = re.compile(r"null|(?!https:.*:443$|http:.*:80$)[a-z][a-z0-9+.-]*://[^\s@/?#\\A-Z*]*")  # RFC 6454, section 6.2


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str | None:
    """Return the token in a file, else in the environment, else None; never from the command line.

    Raises
    ------
    ServeError
        The file cannot be read, is no ASCII text, or is empty.
    """
    if file is None:
        return os.environ.get("XRAYTRANSFER_TOKEN", "").strip() or None
    try:
        token = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServeError(f"{file}: the token cannot be read as ASCII text") from error
    if not token:
        raise ServeError(f"{file}: no token in it; write one line of at least 16 characters")
    return token


def check_at_least_one(settings: object, *names: str) -> None:
    """Raise `ServeError` if one of these numbers is below one; None is accepted."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ServeError(f"{name} is {value}: expected at least 1")


@dataclass(frozen=True)
class Settings:
    """How to serve one model over HTTP.

    Most fields are options of ``xraytransfer serve`` and say in their help what they mean; sizes are in bytes. A field
    that is None where the option is absent has the default that the help names.

    Attributes
    ----------
    token : str or None
        Requests below ``/v1/`` and for ``/metrics`` must carry ``Authorization: Bearer <token>``; the page's own
        files, ``/reference``, ``/openapi.json``, ``/healthz`` and ``/readyz`` need none. None: no token is required.
    allowed_hosts : tuple of str
        Names that the ``Host`` header may carry. Empty: on loopback only loopback's names (so that no web page can
        reach the server by rebinding its own name), else any.
    cors_origins : tuple of str
        Origins whose scripts may call. Empty: none but the server's own page.
    batch_wait_s : float
        Longest wait for a batch to fill, in seconds, while more films are being decoded.
    max_requests : int
        Requests answered at once; more are answered 503, but for the probes.
    max_connections : int
        Open connections. Beyond it those are ended on which no request is being answered, the oldest first.
    idle_timeout_s : float
        A connection on which nothing arrives (in the head or in the body of a request) is ended after this time.
    min_upload_rate : int
        Bytes a second that an upload must reach on average, after a start of `idle_timeout_s`.

    Raises
    ------
    ServeError
        The values are out of range or contradict each other.
    """

    model: str = option("--model", "default", help="Model file, or the name of a shipped model.")
    device: str = option(
        "--device",
        "auto",
        type=click.Choice(DEVICES),
        help="Where to score. A named device that does not run is an error.",
    )
    host: str = option("--host", "127.0.0.1", help="Address to listen on.")
    port: int = option("--port", 8760, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
    token: str | None = option(
        "--token-file",
        None,
        type=FILE,
        convert=read_token,
        secret=True,
        help="File with the token that callers must send.",
    )
    max_wrong_tokens: int = option(
        "--max-wrong-tokens",
        20,
        type=click.IntRange(0),
        help="After so many wrong tokens within a minute, an address is refused until its end; 0: no limit.",
    )
    insecure: bool = option("--insecure", False, help="Let other machines reach the server without a token.")
    tls_certificate: Path | None = option(
        "--tls-certificate", None, type=FILE, help="PEM certificate chain; with --tls-key."
    )
    tls_key: Path | None = option("--tls-key", None, type=FILE, help="PEM private key.")
    allowed_hosts: tuple[str, ...] = option("--allowed-host", (), help="Host name of this server; may be repeated.")
    cors_origins: tuple[str, ...] = option(
        "--cors-origin", (), help="Origin of web pages that may call; may be repeated."
    )
    workers: int | None = option(
        "--workers", None, type=_COUNT, help="Films read at the same time. [default: the cores]"
    )
    batch_size: int | None = option(
        "--batch-size", None, type=_COUNT, help="Films scored together, at most. [default: 1 on the CPU, else 32]"
    )
    batch_wait_s: float = 0.01
    queue_size: int = option(
        "--queue-size", 64, type=_COUNT, help="Films accepted and not yet answered; more are refused at once."
    )
    deadline_s: float = option(
        "--deadline",
        60.0,
        type=click.FloatRange(0.1),
        help="Longest time from a film's acceptance to its answer, in seconds.",
    )
    drain_s: int = option(
        "--drain", 60, type=click.IntRange(0), help="Longest time for accepted films after SIGTERM, in seconds."
    )
    max_file_bytes: int = option("--max-file-mib", 128 * MIB, scale=MIB, type=_COUNT, help="Largest film, in MiB.")
    max_request_bytes: int = option(
        "--max-request-mib", 1024 * MIB, scale=MIB, type=_COUNT, help="Largest request, in MiB."
    )
    max_held_bytes: int = option(
        "--max-held-mib",
        2048 * MIB,
        scale=MIB,
        type=_COUNT,
        help="Largest size of all request bodies in memory, in MiB.",
    )
    max_files: int = option("--max-files", 256, type=_COUNT, help="Films in one request, at most.")
    max_pixels: int = option(
        "--max-pixels", 50_000_000, type=_COUNT, help="Pixels of one film, at most; checked before decoding."
    )
    decode: str = option(
        "--decode",
        "full",
        type=click.Choice(DECODING),
        help="Resolution at which compressed films are decoded; reduced is faster and changes probabilities slightly.",
    )
    max_requests: int = 512
    max_connections: int = 8192
    unintended_films: str = option(
        "--unintended-films",
        "note",
        type=click.Choice(UNINTENDED_FILMS),
        help="What to do with films of patients under 18 and of animals: score them with a note, or refuse them.",
    )
    idle_timeout_s: float = 10.0
    min_upload_rate: int = 16 * 1024
    ready_film: Path | None = option(
        "--ready-film", None, type=FILE, help="Film that /readyz scores. [default: a drawn phantom]"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ServeError(f"port {self.port}: expected 0 to 65535")
        check_at_least_one(
            self, "queue_size", "max_files", "max_pixels", "max_requests", "max_connections", "min_upload_rate"
        )
        check_at_least_one(self, "workers", "batch_size")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ServeError("TLS needs both a certificate and a key: --tls-certificate and --tls-key")
        if self.token is not None and (len(self.token) < 16 or not self.token.isascii()):
            raise ServeError("the token is too weak: expected at least 16 ASCII characters")
        if not self.on_loopback and self.token is None and not self.insecure:
            raise ServeError(
                f"{self.host} can be reached from other machines and no token is set: "
                "give --token-file, or --insecure if something in front of the server checks who calls"
            )
        self._check_names()

    def _check_names(self) -> None:
        """Refuse names that no request can carry: they would refuse everybody without a word."""
        for name in self.allowed_hosts:
            if not _HOST_NAME.fullmatch(name):
                raise ServeError(
                    f"--allowed-host {name!r}: expected a name without scheme, port and path, such as "
                    "films.example.org or [2001:db8::1], or * for any"
                )
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ServeError(
                    f"--cors-origin {origin!r}: expected scheme and host as browsers send them, in lower case, "
                    "without a slash at the end and without the scheme's usual port, such as "
                    "https://viewer.example.org or http://localhost:8000"
                )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names that the ``Host`` header may carry; ``*`` is any."""
        if self.allowed_hosts:
            return self.allowed_hosts
        return ("localhost", "127.0.0.1", "[::1]", self.host) if self.on_loopback else ("*",)
