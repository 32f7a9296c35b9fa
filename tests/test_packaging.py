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


@pytest.mark.parametrize(
    "statement",
    [
        "import xraytransfer",
        "import xraytransfer.cli.entry",
        "from xraytransfer import OBSERVATIONS, Classifier, load, read_radiograph",
        "import xraytransfer.cli.predict, xraytransfer.classifier, xraytransfer.cli.results_file, xraytransfer.overlay",
        "import xraytransfer.study.cli, xraytransfer.export.cli, xraytransfer.serve.cli",
    ],
)
def test_light_imports(statement):
    code = f"{statement}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"


def test_import_of_the_package_alone_loads_no_library():
    code = (
        "import sys, xraytransfer\nprint([n for n in ('numpy', 'pydicom', 'onnxruntime', 'PIL') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_imports_point_one_way():
    """The core imports no part, but for its command line, the roof; serve and study know nothing of export."""
    forbidden = {
        "xraytransfer": ("xraytransfer.study", "xraytransfer.export", "xraytransfer.serve", *HEAVY),
        "study": ("xraytransfer.export", "xraytransfer.serve"),
        "export": ("xraytransfer.serve",),
        "serve": ("xraytransfer.study", "xraytransfer.export", "torch", "timm"),
    }
    for folder, banned in forbidden.items():
        for path in part_files(folder):
            if path.suffix != ".py" or path.parent == ROOT / "xraytransfer" / "cli":
                continue
            found = {name for name in imported(path) for part in banned if name == part or name.startswith(part + ".")}
            assert not found, f"{folder}/{path.name} imports {sorted(found)}"
