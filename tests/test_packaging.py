"""The package as users get it: wheel, source distribution and editable installs hold the files of the tree."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("study", "export", "serve")


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


def packages() -> set[str]:
    """Return the dotted name of every package of the tree."""
    return {name.removesuffix("/__init__.py").replace("/", ".") for name in tree() if name.endswith("/__init__.py")}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a copy of what is packaged, so that no file of an earlier build gets in."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("xraytransfer", *PARTS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(source: Path, out: Path, *options: str) -> Path:
    """Build a distribution of a source tree and return its only file."""
    command = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", out, source]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.iterdir()
    return path


def wheel_files(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.startswith("xraytransfer/")}


@pytest.mark.slow
def test_wheel_and_tree_hold_the_same_files(source, tmp_path):
    pytest.importorskip("build")
    assert wheel_files(build(source, tmp_path / "wheel", "--wheel")) == tree()


@pytest.mark.slow
def test_source_distribution_and_its_wheel_hold_the_same_files(source, tmp_path):
    pytest.importorskip("build")
    with tarfile.open(build(source, tmp_path / "sdist", "--sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    assert {name for name in names if name.startswith(("xraytransfer/", *(f"{part}/" for part in PARTS)))} >= {
        path.relative_to(ROOT).as_posix() for part in ("xraytransfer", *PARTS) for path in part_files(part)
    }
    (unpacked,) = tmp_path.glob("xraytransfer-*")
    assert wheel_files(build(unpacked, tmp_path / "wheel", "--wheel")) == tree()


LIST_FILES = """
import importlib.util, json, os, sys
found = []
for package in sys.argv[1:]:
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    found += [package.replace(".", "/") + "/" + entry.name for entry in os.scandir(folder) if entry.is_file()]
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("links", [True, False], ids=["with-links", "without-links"])
def test_editable_install_reaches_every_file(source, tmp_path, links):
    if not links:  # as git checks out where links are not allowed
        for part in PARTS:
            (source / "xraytransfer" / part).unlink()
    venv.create(tmp_path / "venv", with_pip=True)
    (python,) = [path for path in (tmp_path / "venv").glob("*/python*") if path.stem == "python"]
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "-e", source], check=True, capture_output=True)
    command = [python, "-c", LIST_FILES, *sorted(packages())]
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert set(json.loads(out)) == tree()


def test_every_package_is_listed_by_name():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == packages()


@pytest.mark.slow
def test_mypy_sees_every_file_through_the_links():
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert re.findall(r"(\d+) source files", done.stdout) == [str(sum(name.endswith(".py") for name in tree()))], (
        done.stdout
    )


@pytest.mark.slow
def test_pyright_finds_the_parts_through_the_links():
    pyright = ROOT / "tests" / "node_peers" / "node_modules" / "pyright" / "index.js"
    if not pyright.is_file() or shutil.which("node") is None:
        pytest.skip("pyright is not here: npm ci --ignore-scripts in tests/node_peers/")
    files = [ROOT / part / "cli.py" for part in PARTS] + [ROOT / "xraytransfer" / "cli" / "entry.py"]
    command = ["node", pyright, "--pythonpath", sys.executable, "--outputjson", *files]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    document = json.loads(done.stdout)
    assert document["summary"]["filesAnalyzed"] == len(files), done.stdout
    rules = {"reportMissingImports", "reportAttributeAccessIssue"}
    assert [row for row in document["generalDiagnostics"] if row.get("rule") in rules] == []


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
