"""Settings: every option of the server, in one frozen dataclass."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xraytransfer.errors import ServeError

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import DicomSettings

__all__ = ["MIB", "Settings"]

MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """How to serve one model.

    Attributes
    ----------
    model : str
        Name of a model that ships, or path of a model file.
    device : str
        ``auto``, ``cpu`` or ``cuda``; what was asked for and does not run is an error.
    host, port : str, int
        Where to listen. Loopback unless told; another address needs a token or `insecure`.
    token : str or None
        Every request but the page's own files, ``/healthz`` and ``/readyz`` must carry
        ``Authorization: Bearer <token>``. None: no token is asked for.
    insecure : bool
        Allow an address other than loopback without a token.
    tls_certificate, tls_key : Path or None
        PEM files. Both or none; none means plain HTTP.
    allowed_hosts : tuple of str
        Names that the ``Host`` header may carry. Empty: on loopback only loopback's names (so that
        no web page can reach the server by rebinding its own name), else any.
    cors_origins : tuple of str
        Origins whose scripts may call. Empty: none but the server's own page.
    workers : int or None
        Films decoded side by side. None: as many as this process has cores.
    batch_size : int or None
        Most films in one run of the model. None: 1 on the CPU, where batches do not pay, else 32.
    batch_wait_s : float
        Longest wait for a batch to fill, in seconds, while more films are being decoded.
    queue_size : int
        Films accepted and not yet answered; one more is refused at once.
    deadline_s : float
        Longest time from a film's acceptance to its answer, in seconds.
    drain_s : int
        After SIGTERM: longest wait for accepted work, in seconds.
    max_file_bytes, max_request_bytes, max_held_bytes : int
        Limits of one film, of one request, and of all bodies in memory at once.
    max_files : int
        Films in one request.
    max_pixels : int
        Pixels of one film, checked before it is decoded.
    max_connections : int
        Open connections; more are told 503.
    idle_timeout_s : float
        A connection on which nothing arrives (in the head or in the body of a request) is ended.
    min_upload_rate : int
        Bytes a second that an upload must keep up on average, after a start of `idle_timeout_s`.
    ready_film : Path or None
        Film that ``/readyz`` scores. None: a drawn chest phantom, written as DICOM and read like any film.
    dicom : DicomSettings or None
        The DICOM side. None: HTTP only.
    """

    model: str = "default"
    device: str = "auto"
    host: str = "127.0.0.1"
    port: int = 8760
    token: str | None = field(default=None, repr=False)
    insecure: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    workers: int | None = None
    batch_size: int | None = None
    batch_wait_s: float = 0.01
    queue_size: int = 64
    deadline_s: float = 60.0
    drain_s: int = 60
    max_file_bytes: int = 128 * MIB
    max_request_bytes: int = 1024 * MIB
    max_held_bytes: int = 2048 * MIB
    max_files: int = 256
    max_pixels: int = 50_000_000
    max_connections: int = 512
    idle_timeout_s: float = 10.0
    min_upload_rate: int = 16 * 1024
    ready_film: Path | None = None
    dicom: DicomSettings | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ServeError(f"port {self.port}: expected 0 to 65535")
        for name in ("queue_size", "max_files", "max_pixels", "max_connections", "min_upload_rate"):
            if getattr(self, name) < 1:
                raise ServeError(f"{name} is {getattr(self, name)}: expected at least 1")
        for name in ("workers", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ServeError(f"{name} is {value}: expected at least 1")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ServeError("TLS needs both a certificate and a key: --tls-certificate and --tls-key")
        if self.token is not None and (len(self.token) < 16 or not self.token.isascii()):
            raise ServeError("the token is too weak: expected at least 16 ASCII characters")
        if not self.on_loopback and self.token is None and not self.insecure:
            raise ServeError(
                f"{self.host} can be reached from other machines and no token is set: "
                "give --token-file, or --insecure if something in front of the server checks who calls"
            )

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names that the ``Host`` header may carry; ``*`` is any."""
        if self.allowed_hosts:
            return self.allowed_hosts
        return ("localhost", "127.0.0.1", "[::1]", self.host) if self.on_loopback else ("*",)
