"""The DICOM side's settings: every option in one frozen dataclass, and the destinations of results."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from xraytransfer.errors import ServeError

__all__ = ["Destination", "DicomSettings"]

# PS3.5 table 6.2-1: 16 characters of the default repertoire, no backslash, no control characters
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_NODE = re.compile(r"(?P<ae>[^@]+)@(?P<host>[^@]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Destination:
    """Where results go: a DICOM node (C-STORE) or a DICOMweb service (STOW-RS).

    Attributes
    ----------
    name : str
        What was given, ``AETITLE@host:port`` or ``https://...``: for people, logs and the spool.
    ae_title, host, port : str, str, int
        The node's; empty and 0 for a DICOMweb service.
    url : str
        The DICOMweb service's root; empty for a node.
    """

    name: str
    ae_title: str = ""
    host: str = ""
    port: int = 0
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Return the destination that a text names.

        Raises
        ------
        ServeError
            It is neither ``AETITLE@host:port`` nor an http(s) URL, or it holds a password.
        """
        if re.match(r"https?://", text, re.IGNORECASE):
            parts = urlsplit(text)
            if parts.username or parts.password:
                raise ServeError("a DICOMweb URL must not hold a password: use --dicomweb-token-file")
            if not parts.hostname:
                raise ServeError(f"{text}: a URL without a host")
            return cls(name=text.rstrip("/"), url=text.rstrip("/"))
        found = _NODE.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536:
            raise ServeError(f"{text}: expected AETITLE@host:port, or the URL of a DICOMweb service")
        check_ae_title(found["ae"])
        return cls(name=text, ae_title=found["ae"], host=found["host"].strip("[]"), port=int(found["port"]))


def check_ae_title(text: str) -> None:
    """Raise `ServeError` unless the text is an AE title: 1 to 16 printable ASCII characters, no backslash."""
    if not _AE_TITLE.fullmatch(text) or not text.strip():
        raise ServeError(f"{text!r} is no AE title: expected 1 to 16 printable ASCII characters, no backslash")


@dataclass(frozen=True)
class DicomSettings:
    """How to receive films by DICOM and where to send results.

    Attributes
    ----------
    spool : Path
        Folder of the durable queue. Made if it does not exist; one server only.
    destinations : tuple of Destination
        At least one.
    host, port : str, int
        Where to listen. Port 0 takes a free one.
    ae_title : str
        Our own; associations that call another title are rejected.
    callers : tuple of str
        Calling AE titles that are let in. Empty: any, allowed on loopback only (or with `any_caller`).
    any_caller : bool
        Let anybody in on an address other than loopback.
    structured_report, secondary_capture : bool
        Which results to make; at least one.
    max_object_bytes : int
        Largest object; an association that sends more is ended before the rest is held in memory.
    max_associations : int
        At once; more are rejected.
    idle_timeout_s : float
        An association on which nothing arrives is ended.
    capacity : int
        Films received and not yet sent; more are refused with status A700 (out of resources).
    min_free_bytes : int
        Room that must stay free on the spool's disk.
    answer_timeout_s : float
        Longest wait for a destination to connect, to accept an association or to answer.
    retry_base_s, retry_max_s : float
        First and longest wait before something is tried again; it doubles in between.
    max_attempts : int
        Refusals of one object by a destination before it is put into the folder ``dead``. Connections
        that fail do not count: they are tried for ever.
    confirm_after_s : float or None
        Ask the destination, this long after it accepted a result, whether it has it (C-FIND, QIDO-RS), and
        send it again if not. None: believe it.
    dicomweb_token : str or None
        Sent to DICOMweb destinations as ``Authorization: Bearer <token>``.
    tls_certificate, tls_key, tls_authorities : Path or None
        PEM files. With certificate and key the server speaks TLS; with authorities, callers must show a
        certificate of theirs, and nodes are sent to by TLS (PS3.15 B.9, B.12).
    """

    spool: Path
    destinations: tuple[Destination, ...]
    host: str = "127.0.0.1"
    port: int = 11112
    ae_title: str = "XRAYTRANSFER"
    callers: tuple[str, ...] = ()
    any_caller: bool = False
    structured_report: bool = True
    secondary_capture: bool = True
    max_object_bytes: int = 128 * 2**20
    max_associations: int = 16
    idle_timeout_s: float = 30.0
    capacity: int = 10_000
    min_free_bytes: int = 512 * 2**20
    answer_timeout_s: float = 30.0
    retry_base_s: float = 5.0
    retry_max_s: float = 600.0
    max_attempts: int = 8
    confirm_after_s: float | None = None
    dicomweb_token: str | None = field(default=None, repr=False)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_authorities: Path | None = None

    def __post_init__(self) -> None:
        check_ae_title(self.ae_title)
        for caller in self.callers:
            check_ae_title(caller)
        if not self.destinations:
            raise ServeError("results have nowhere to go: give --send-to AETITLE@host:port or a DICOMweb URL")
        if len({destination.name for destination in self.destinations}) != len(self.destinations):
            raise ServeError("the same destination is given twice")
        if not (self.structured_report or self.secondary_capture):
            raise ServeError("nothing to send: both the structured report and the secondary capture are off")
        if not 0 <= self.port <= 65535:
            raise ServeError(f"DICOM port {self.port}: expected 0 to 65535")
        for name in ("max_object_bytes", "max_associations", "capacity", "max_attempts"):
            if getattr(self, name) < 1:
                raise ServeError(f"{name} is {getattr(self, name)}: expected at least 1")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ServeError("TLS needs both a certificate and a key")
        if not (self.callers or self.any_caller or self.on_loopback):
            raise ServeError(
                f"{self.host} can be reached from other machines and no caller is named: give --allow-ae "
                "for each AE title that may send films, or --allow-any-ae"
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

    def back_off(self, failures: int) -> float:
        """Return how long to wait after this many failures in a row, in seconds."""
        return float(min(self.retry_max_s, self.retry_base_s * 2 ** min(max(failures - 1, 0), 30)))
