"""The documents: what they name and link to is there."""

from __future__ import annotations

import csv
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from gallery import run, shown
from xraytransfer.cli.entry import cli
from xraytransfer.constants import INTENDED_USE, NOT_INTENDED_USE

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FILE = re.compile(
    r"`((?:xraytransfer|study|export|serve|tests|scripts|benchmarks|examples|docs)/[\w/.-]+\.(?:py|csv|json|c|mjs|html))[:`]"
)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
COMMAND = re.compile(r"(?:\$ |    )?(?:.* (?:--|&&) )?(?:\.venv/bin/)?xraytransfer ([a-z].*)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_links_of_a_page_exist(page):
    text = page.read_text("utf-8")
    assert not [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    assert not [link for link in LINK.findall(text) if not (page.parent / link).exists()]


def command_lines(page: Path) -> list[str]:
    """Return the calls of the command line in a page's examples, without those that leave something out (...)."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    fenced = "\n".join(text.split("\n```")[1::2]).splitlines()
    indented = [line for line in text.splitlines() if line.startswith("    ")]
    found = [match[1] for line in fenced + indented if (match := COMMAND.fullmatch(line))]
    return [line.removesuffix(" &") for line in dict.fromkeys(found) if "..." not in line]


@pytest.mark.parametrize("page", [page for page in PAGES if command_lines(page)], ids=lambda page: page.stem)
def test_commands_of_a_page_lack_no_option_and_name_none_that_is_not_there(page, monkeypatch):
    monkeypatch.setattr(click.Path, "convert", lambda self, value, parameter, context: value)  # no such files here
    for line in command_lines(page):
        command, words = cli, shlex.split(line, comments=True)
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        command.make_context("xraytransfer", words)


def test_the_limits_of_use_are_told_in_the_same_words():
    told = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"{INTENDED_USE} {NOT_INTENDED_USE}" in told


def test_the_readme_shows_what_its_first_command_prints(sample_film):
    sample_film("RG1_UNCR")
    printed = run(sys.executable, "-m", "xraytransfer", "predict", "--sample", "--device", "cpu")
    page = shown(ROOT / "README.md", "```text")
    number = re.compile(r"0\.\d+")
    words = [re.sub(r"\S*RG1_UNCR", "RG1_UNCR", number.sub("", text)) for text in (printed, page)]
    assert words[0] == words[1]
    found, there = ([float(value) for value in number.findall(text)] for text in (printed, page))
    np.testing.assert_allclose(found, there, rtol=0, atol=0.0011)  # three decimals


def test_the_readme_shows_every_network_of_the_evidence():
    for package in ("matplotlib", "selenium"):
        pytest.importorskip(package)
    figure = runpy.run_path(str(ROOT / "scripts" / "take_screenshots"))["size_figure"]()
    with (ROOT / "docs/study-nih-sample/tables/external_rsna-corrected.csv").open(newline="") as file:
        networks = list(csv.DictReader(file))
    assert len(figure.axes[0].containers) == len(networks)
    assert f"of {len(networks)} networks](docs/pictures/size.svg)" in (ROOT / "README.md").read_text("utf-8")


def test_the_tables_of_the_evidence_are_those_of_its_files(tmp_path: Path):
    program, folder = ROOT / "scripts" / "evidence_readme", ROOT / "docs" / "study-nih-sample"
    run(sys.executable, str(program), str(folder), "--check")
    copy = shutil.copytree(folder, tmp_path / "copy")
    page = copy / "README.md"
    page.write_text(page.read_text("utf-8").replace("| random | ", "| random | 1"), "utf-8")
    done = subprocess.run([sys.executable, program, copy, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run scripts/evidence_readme" in done.stderr
    run(sys.executable, str(program), str(copy))
    assert page.read_bytes() == (folder / "README.md").read_bytes()


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
