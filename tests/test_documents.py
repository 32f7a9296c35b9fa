"""The documents: what they name and link to is there."""

from __future__ import annotations

import re
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
