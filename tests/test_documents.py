"""The documents: what they name and link to is there."""

from __future__ import annotations

import csv
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from xraytransfer.constants import INTENDED_USE, NOT_INTENDED_USE

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FILE = re.compile(
    r"`((?:xraytransfer|study|export|serve|tests|scripts|benchmarks|examples|docs)/[\w/.-]+\.(?:py|csv|json|c|mjs|html))[:`]"
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_links_of_a_page_exist(page):
    text = page.read_text("utf-8")
    assert not [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    assert not [link for link in LINK.findall(text) if not (page.parent / link).exists()]


def test_the_limits_of_use_are_told_in_the_same_words():
    told = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"{INTENDED_USE} {NOT_INTENDED_USE}" in told


def test_the_readme_shows_every_network_of_the_evidence():
    for package in ("matplotlib", "selenium"):
        pytest.importorskip(package)
    figure = runpy.run_path(str(ROOT / "scripts" / "take_screenshots"))["size_figure"]()
    with (ROOT / "docs/study-nih-sample/under-way/external_rsna-corrected.csv").open(newline="") as file:
        networks = list(csv.DictReader(file))
    assert len(figure.axes[0].containers) == len(networks)
    assert f"of {len(networks)} networks](docs/pictures/size.svg)" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("github-workflows", ".github/workflows/tests.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/fault.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/idea.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_files_for_other_programs_follow_their_schemas(schema, file):
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", ROOT / file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
