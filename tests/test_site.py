"""The site: it is built without a warning, loads nothing from elsewhere, and shows each command and public name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest

import xraytransfer
from xraytransfer.cli.entry import cli

for package in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(package, reason="the site's programs are not installed: pip install -e '.[docs]'")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
CSS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s;]+)""")
NO_RESOURCE = {"canonical", "next", "prev", "alternate"}  # links that a browser loads nothing for


class Resources(HTMLParser):
    """Collects the addresses that a browser loads by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "link" and found.get("rel") not in NO_RESOURCE:
            self.addresses.append(found.get("href", ""))
        self.addresses += [found[name] for name in ("src", "srcset", "data", "poster") if name in found]
        self.addresses += CSS.findall(found.get("style", ""))


def resources(page: Path) -> list[str]:
    found = Resources()
    found.feed(page.read_text("utf-8"))
    return found.addresses


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement of a version that we do not take
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site):
    pages, sheets = sorted(site.rglob("*.html")), sorted(site.rglob("*.css"))
    pages = [path for path in pages if path.is_file()]  # a page that shows index.html is a folder of that name
    loaded = {page: resources(page) for page in pages}
    assert loaded[site / "index.html"]
    foreign = [(page, name) for page in pages for name in loaded[page] if re.match(r"(https?:)?//", name)]
    assert not foreign + [(sheet, name) for sheet in sheets for name in CSS.findall(sheet.read_text("utf-8"))]


def test_each_command_and_public_name_is_shown(site):
    for name in cli.list_commands(click.Context(cli)):
        assert f"Usage: xraytransfer {name}" in (site / "commands" / name / "index.html").read_text("utf-8")
    shown = "".join(path.read_text("utf-8") for path in (site / "python").rglob("index.html"))
    assert [name for name in xraytransfer.__all__ if f".{name}" not in shown] == []


def test_links_out_of_docs_lead_to_a_page_that_shows_the_file(site):
    page = (site / "examples" / "index.html").read_text("utf-8")
    assert 'href="../files/examples/embed_c.c/"' in page
    assert "OrtApi" in (site / "files" / "examples" / "embed_c.c" / "index.html").read_text("utf-8")
