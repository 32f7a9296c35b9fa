"""The DICOM options of ``xraytransfer serve`` become settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("pynetdicom")

from xraytransfer.serve.dicom_settings import DicomSettings, dicom_settings_from
from xraytransfer.serve.options import add_options


def outcome_of(*arguments: str) -> tuple[Result, list[DicomSettings | None]]:
    seen: list[Any] = []

    @click.command()
    @click.option("--other", default="kept")
    @add_options(DicomSettings)
    def command(other: str, **options: Any) -> None:
        assert other == "kept"
        seen.append(dicom_settings_from(options))

    return CliRunner().invoke(command, arguments, catch_exceptions=False), seen


def settings_of(*arguments: str) -> DicomSettings | None:
    done, seen = outcome_of(*arguments)
    assert done.exit_code == 0, done.output
    return seen[0]


def test_without_a_spool_there_is_no_dicom() -> None:
    assert settings_of() is None


def test_the_defaults_are_those_of_the_settings(tmp_path: Path) -> None:
    found = settings_of("--dicom-spool", str(tmp_path), "--send-to", "PACS@host:104")
    assert found is not None
    assert found == DicomSettings(spool=tmp_path, destinations=found.destinations)


def test_limits_arrive(tmp_path: Path) -> None:
    found = settings_of(
        *("--dicom-spool", str(tmp_path), "--send-to", "PACS@host:104", "--dicom-max-mb", "2"),
        *("--dicom-associations", "3", "--dicom-idle-timeout", "4.5", "--dicom-queue-size", "5"),
        *("--dicom-min-free-mb", "6", "--dicom-answer-timeout", "7", "--retry-after", "8"),
        *("--retry-at-most", "9", "--max-refusals", "10"),
    )
    assert found is not None
    assert (found.max_object_bytes, found.max_associations, found.idle_timeout_s) == (2 * 2**20, 3, 4.5)
    assert (found.capacity, found.min_free_bytes, found.answer_timeout_s) == (5, 6 * 2**20, 7.0)
    assert (found.retry_base_s, found.retry_max_s, found.max_attempts) == (8.0, 9.0, 10)


def test_every_option_arrives(tmp_path: Path) -> None:
    for name in ("token", "certificate", "key", "authorities"):
        (tmp_path / name).write_text("sixteen-letters-or-more\n")
    found = settings_of(
        *("--dicom-spool", str(tmp_path / "spool"), "--send-to", "PACS@[::1]:104"),
        *("--send-to", "https://archive/dicom-web/", "--dicom-host", "0.0.0.0", "--dicom-port", "104"),
        *("--ae-title", "AI", "--allow-ae", "CR1", "--allow-ae", "CR2", "--no-sc", "--no-refusal-sr"),
        *("--confirm-after", "2.5"),
        *("--dicomweb-token-file", str(tmp_path / "token")),
        *("--dicom-tls-certificate", str(tmp_path / "certificate"), "--dicom-tls-key", str(tmp_path / "key")),
        *("--dicom-tls-authorities", str(tmp_path / "authorities")),
    )
    assert found is not None
    node, web = found.destinations
    assert (node.ae_title, node.host, node.port, node.url) == ("PACS", "::1", 104, "")
    assert (web.url, web.name) == ("https://archive/dicom-web", "https://archive/dicom-web")
    assert (found.host, found.port, found.ae_title, found.callers) == ("0.0.0.0", 104, "AI", ("CR1", "CR2"))
    assert (found.structured_report, found.secondary_capture, found.confirm_after_s) == (True, False, 2.5)
    assert not found.refusal_report
    assert found.dicomweb_token == "sixteen-letters-or-more"
    assert "sixteen" not in repr(found)
    assert (found.tls_certificate, found.tls_key) == (tmp_path / "certificate", tmp_path / "key")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--send-to", "PACS@host:104"], "needs --dicom-spool"),
        (["--dicom-spool", "spool"], "nowhere to go"),
        (["--dicom-spool", "spool", "--send-to", "PACS"], "expected AETITLE@host:port"),
        (["--dicom-spool", "spool", "--send-to", "A@b:1", "--dicom-host", "0.0.0.0"], "no caller is named"),
        (["--dicom-spool", "spool", "--send-to", "A@b:1", "--send-to", "A@b:1"], "given twice"),
    ],
)
def test_options_that_cannot_be_meant(arguments: list[str], match: str) -> None:
    done, seen = outcome_of(*arguments)
    assert (done.exit_code, match in done.output, seen) == (2, True, []), done.output
