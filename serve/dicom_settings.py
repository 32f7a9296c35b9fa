"""The DICOM side's settings: every option in one frozen dataclass, and the destinations of results.

The file is over 300 lines long because each option stands here once, with its documentation, default and limits.
"""

# ruff: noqa: RUF009 - `option` makes a field, not a default

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from xraytransfer.errors import ServeError
from xraytransfer.serve.options import FILE, option, settings_from
from xraytransfer.serve.settings import check_at_least_one, is_loopback, read_token
from xraytransfer.usage_errors import as_usage_error

__all__ = ["Destination", "DicomSettings", "dicom_settings_from"]

# PS3.5 table 6.2-1: 16 characters of the default repertoire, no backslash, no control characters
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_NODE = re.compile(r"(?:(?P<scheme>dicoms?)://)?(?P<ae>[^@]+)@(?P<host>[^@]+):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Destination:
    """Where results go: a DICOM node (C-STORE) or a DICOMweb service (STOW-RS).

    Attributes
    ----------
    name : str
        The text given, ``AETITLE@host:port`` or ``https://...``: for people, logs and the spool.
    ae_title, host, port : str, str, int
        The node's; empty and 0 for a DICOMweb service.
    url : str
        The DICOMweb service's root; empty for a node.
    tls : bool or None
        Whether the node is sent to by TLS: ``dicoms://`` before it, or ``dicom://``. None: by TLS where authorities
        are given.
    """

    name: str
    ae_title: str = ""
    host: str = ""
    port: int = 0
    url: str = ""
    tls: bool | None = None

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Return the destination that a text names.

        Raises
        ------
        ServeError
            It is neither ``AETITLE@host:port`` nor an http(s) URL, or it holds a password.
        """
        if re.match(r"https?://", text, re.IGNORECASE):
            try:
                parts = urlsplit(text)
                _ = parts.port
            except ValueError as error:
                raise ServeError(f"a DICOMweb URL cannot be read: {error}") from error
            if parts.username or parts.password:
                raise ServeError("a DICOMweb URL must not hold a password: use --dicomweb-token-file")
            if not parts.hostname:
                raise ServeError(f"{text}: a URL without a host")
            _check_host(parts.hostname)
            return cls(name=text.rstrip("/"), url=text.rstrip("/"))
        node = _NODE.fullmatch(text)
        if node is None or not 0 < int(node["port"]) < 65536:
            raise ServeError(f"{text}: expected AETITLE@host:port, or the URL of a DICOMweb service")
        _check_ae_title(node["ae"])
        _check_host(node["host"])
        tls = None if node["scheme"] is None else node["scheme"] == "dicoms"
        return cls(name=text, ae_title=node["ae"], host=node["host"].strip("[]"), port=int(node["port"]), tls=tls)


def _check_host(text: str) -> None:
    """Raise `ServeError` for a host that cannot be looked up: a label that is empty or of over 63 bytes (RFC 5890)."""
    try:
        text.encode("idna")
    except UnicodeError as error:
        raise ServeError(f"{text!r} is no host name: expected labels of 1 to 63 characters between dots") from error


def _check_ae_title(text: str) -> None:
    """Raise `ServeError` unless the text is an AE title: 1 to 16 printable ASCII characters, no backslash."""
    if not _AE_TITLE.fullmatch(text) or not text.strip():
        raise ServeError(f"{text!r} is no AE title: expected 1 to 16 printable ASCII characters, no backslash")


def _parse_destinations(texts: tuple[str, ...]) -> tuple[Destination, ...]:
    with as_usage_error():
        return tuple(Destination.parse(text) for text in texts)


def _read_given_token(file: Path | None) -> str | None:
    return None if file is None else read_token(file)


@dataclass(frozen=True)
class DicomSettings:
    """How to receive films by DICOM and where to send results.

    Most fields are options of ``xraytransfer serve`` and say in their help what they mean.

    Attributes
    ----------
    spool : Path
        Folder of the durable queue. Created if it does not exist; one server only.
    destinations : tuple of Destination
        At least one.
    callers : tuple of str
        Calling AE titles that are let in. Empty: any, allowed on loopback only (or with `any_caller`).
    max_object_bytes : int
        Largest object; an association that sends more is ended before the rest is held in memory.
    max_associations : int
        Associations at once; more are rejected.
    idle_timeout_s : float
        An association on which nothing arrives is ended after this time.
    capacity : int
        Films received and not yet sent; more are refused with status A700 (out of resources).
    min_free_bytes : int
        Room that must stay free on the spool's disk.
    answer_timeout_s : float
        Longest wait for a destination to connect, to accept an association or to answer.
    retry_base_s, retry_max_s : float
        First and longest wait before something is tried again; the wait doubles in between.
    max_attempts : int
        Refusals of one object by a destination before it is put into the folder ``dead``. Connections
        that fail do not count: they are tried for ever.
    confirm_after_s : float or None
        Ask the destination, this long after it accepted a result, whether it has it (C-FIND, QIDO-RS), and
        send it again if not. None: trust its answer.
    dicomweb_token : str or None
        Sent to DICOMweb destinations as ``Authorization: Bearer <token>``.
    tls_certificate, tls_key, tls_authorities : Path or None
        PEM files. With certificate and key the server speaks TLS; with authorities, callers must show a
        certificate of theirs, and nodes are sent to by TLS unless ``dicom://``
        stands before them (PS3.15 B.9, B.12).

    Raises
    ------
    ServeError
        The values are out of range or contradict each other.
    """

    spool: Path = option(
        "--dicom-spool",
        type=click.Path(path_type=Path, file_okay=False),
        help="Receive films by DICOM and keep them in this folder until their results are sent.",
    )
    destinations: tuple[Destination, ...] = option(
        "--send-to",
        multiple=True,
        metavar="NODE",
        convert=_parse_destinations,
        help="Send results here: AETITLE@host:port, or the URL of a DICOMweb service; may be repeated. "
        "dicom:// before a node: without TLS; dicoms://: with TLS.",
    )
    host: str = option("--dicom-host", "127.0.0.1", help="Address to receive films on.")
    port: int = option(
        "--dicom-port", 11112, type=click.IntRange(0, 65535), help="Port to receive films on; 0 takes a free one."
    )
    ae_title: str = option(
        "--ae-title", "XRAYTRANSFER", help="AE title of this server; associations that call another title are rejected."
    )
    callers: tuple[str, ...] = option(
        "--allow-ae", (), metavar="AETITLE", help="AE title that may send films; may be repeated."
    )
    any_caller: bool = option("--allow-any-ae", False, help="Let every AE title send films, from any machine.")
    other_objects: str = option(
        "--dicom-other",
        "refuse",
        type=click.Choice(["refuse", "drop"]),
        help="What to do with objects that are no films: refuse them in negotiation, or accept and drop them.",
    )
    structured_report: bool = option(
        "--no-sr", True, is_flag=True, convert=operator.not_, help="Send no structured reports."
    )
    secondary_capture: bool = option(
        "--no-sc", True, is_flag=True, convert=operator.not_, help="Send no secondary captures."
    )
    refusal_report: bool = option(
        "--no-refusal-sr",
        True,
        is_flag=True,
        convert=operator.not_,
        help="Send no structured reports that say of a refused film that it was not evaluated.",
    )
    max_object_bytes: int = option(
        "--dicom-max-mb",
        128 * 2**20,
        type=click.IntRange(1),
        scale=2**20,
        help="Largest object received, in MiB.",
    )
    max_associations: int = option(
        "--dicom-associations", 16, type=click.IntRange(1), help="Associations at the same time; more are rejected."
    )
    idle_timeout_s: float = option(
        "--dicom-idle-timeout",
        30.0,
        type=click.FloatRange(0, min_open=True),
        help="Seconds without data after which an association is ended.",
    )
    capacity: int = option(
        "--dicom-queue-size", 10_000, type=click.IntRange(1), help="Films received and not yet sent; more are refused."
    )
    min_free_bytes: int = option(
        "--dicom-min-free-mb",
        512 * 2**20,
        type=click.IntRange(0),
        scale=2**20,
        help="MiB that must stay free on the spool's disk.",
    )
    answer_timeout_s: float = option(
        "--dicom-answer-timeout",
        30.0,
        type=click.FloatRange(0, min_open=True),
        help="Seconds to wait for a destination's answer.",
    )
    retry_base_s: float = option(
        "--retry-after",
        5.0,
        type=click.FloatRange(0, min_open=True),
        help="Seconds until a destination is tried again; the wait doubles each time.",
    )
    retry_max_s: float = option(
        "--retry-at-most", 600.0, type=click.FloatRange(0, min_open=True), help="Longest such wait, in seconds."
    )
    max_attempts: int = option(
        "--max-refusals",
        8,
        type=click.IntRange(1),
        help="Refusals of one result by a destination before it is put into the folder dead.",
    )
    confirm_after_s: float | None = option(
        "--confirm-after",
        None,
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="Ask destinations, this long after they accepted a result, whether they have it.",
    )
    dicomweb_token: str | None = option(
        "--dicomweb-token-file",
        None,
        type=FILE,
        convert=_read_given_token,
        secret=True,
        help="File with a bearer token for DICOMweb services.",
    )
    tls_certificate: Path | None = option(
        "--dicom-tls-certificate", None, type=FILE, help="PEM file: speak DICOM over TLS only."
    )
    tls_key: Path | None = option("--dicom-tls-key", None, type=FILE, help="PEM file: its key.")
    tls_authorities: Path | None = option(
        "--dicom-tls-authorities", None, type=FILE, help="PEM file: who must have signed the peers' certificates."
    )

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.callers):
            _check_ae_title(title)
        if not self.destinations:
            raise ServeError("results have nowhere to go: give --send-to AETITLE@host:port or a DICOMweb URL")
        if len({destination.name for destination in self.destinations}) != len(self.destinations):
            raise ServeError("the same destination is given twice")
        if not (self.structured_report or self.secondary_capture):
            raise ServeError("nothing to send: both the structured report and the secondary capture are off")
        if self.other_objects not in ("refuse", "drop"):
            raise ServeError(f"objects of other SOP classes: {self.other_objects!r}; expected refuse or drop")
        if not 0 <= self.port <= 65535:
            raise ServeError(f"DICOM port {self.port}: expected 0 to 65535")
        check_at_least_one(self, "max_object_bytes", "max_associations", "capacity", "max_attempts")
        if self.tls_authorities is None and any(destination.tls for destination in self.destinations):
            raise ServeError("dicoms:// needs --dicom-tls-authorities: who must have signed the node's certificate")
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
        return is_loopback(self.host)

    @property
    def longest_wait_s(self) -> float:
        """The longest time that a film or a result is put off for, in seconds; waits vary by a fifth."""
        return 1.2 * max(self.retry_max_s, self.confirm_after_s or 0.0) + 1.0

    def back_off(self, failures: int) -> float:
        """Return how long to wait after this many failures in a row, in seconds."""
        return float(min(self.retry_max_s, self.retry_base_s * 2 ** min(max(failures - 1, 0), 30)))


def dicom_settings_from(values: dict[str, Any]) -> DicomSettings | None:
    """Return settings made from the values of a command's options; None without ``--dicom-spool``."""
    if values["dicom_spool"] is None:
        if values["send_to"]:
            raise click.UsageError("--send-to needs --dicom-spool: the folder where films and results wait")
        return None
    return settings_from(DicomSettings, values)
