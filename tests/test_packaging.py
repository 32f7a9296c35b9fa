"""The package as users get it: the wheel holds the tree, the core is light, imports point one way."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("study", "export", "serve")
HEAVY = ("torch", "timm", "torchvision", "scipy", "matplotlib", "onnx", "starlette", "pynetdicom", "highdicom")


def part_files(part: str) -> list[Path]:
    """Return the files of one of the four top folders, links to the other three left out."""
    return [
        path
        for path in (ROOT / part).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not any(parent.is_symlink() for parent in path.parents)
        and path.suffix != ".part"
    ]


def tree() -> set[str]:
    """Return every file of the package by its place in an installation."""
    names = {path.relative_to(ROOT).as_posix() for path in part_files("xraytransfer")}
    for part in PARTS:
        names |= {f"xraytransfer/{path.relative_to(ROOT).as_posix()}" for path in part_files(part)}
    return names


@pytest.mark.slow
def test_wheel_and_tree_hold_the_same_files(tmp_path):
    pytest.importorskip("build")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("xraytransfer/")}
    assert held == tree()


def test_links_show_the_parts_to_editors():
    for part in PARTS:
        link = ROOT / "xraytransfer" / part
        assert link.is_symlink()
        assert link.resolve() == ROOT / part


def test_every_folder_says_what_it_is_for():
    for part in ("xraytransfer", *PARTS):
        for path in part_files(part):
            if path.name == "__init__.py":
                assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path
            else:
                assert (path.parent / "__init__.py").is_file(), path
