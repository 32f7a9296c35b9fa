"""Who may import whom: one table over every file, no circle of files, and a core that stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("study", "export", "serve")
HEAVY = ("torch", "timm", "torchvision", "scipy", "matplotlib", "onnx", "starlette", "pynetdicom", "highdicom")

CORE = {"xraytransfer", "xraytransfer/reading"}
PLACES = {"xraytransfer/archives", "xraytransfer/clusters"}
DATA = {"study/data"}
NETWORKS = {"study/networks"}
PHANTOMS = {"study/phantoms"}
STATS = {"study/stats"}
TRAINING = {"study/training"} | DATA | NETWORKS | STATS
RUNS = {"study/runs"} | TRAINING
FINISHED_RUNS = {"study/finished_runs"} | RUNS
ANALYSIS = {"study/analysis"} | TRAINING | PHANTOMS
REPORT = {"study/report"} | ANALYSIS
QUALITY_GATE = {"study/quality_gate"} | RUNS | PHANTOMS
STUDY = {"study"} | QUALITY_GATE | FINISHED_RUNS | REPORT | {"study/demo"}
EXPORT = {"export", "export/graph", "export/checks", "export/card"}
RESULTS = {"serve/dicom_results"}
SERVE = {"serve", "serve/web", "serve/page", "serve/dicom", "serve/spool"} | RESULTS
SERVE_GROUND = {"serve/engine", "serve/log", "serve/metrics", "serve/settings"}

# What a room may import besides itself: rooms, or single files of rooms.
MAY_IMPORT: dict[str, set[str]] = {
    "xraytransfer": {"xraytransfer/reading", "xraytransfer/models"},
    "xraytransfer/reading": {"xraytransfer/errors"},
    "xraytransfer/models": set(),
    "xraytransfer/archives": CORE,
    "xraytransfer/clusters": {"xraytransfer/errors"},
    "xraytransfer/cli": CORE | PLACES | STUDY | EXPORT | SERVE,  # the roof: inside function bodies, see below
    "xraytransfer/__main__": {"xraytransfer/cli"},  # the door under the roof: python -m xraytransfer
    "study/stats": {"xraytransfer/errors"},
    "study/data": CORE,
    "study/networks": CORE,
    "study/phantoms": CORE,
    "study/training": CORE | TRAINING,
    "study/runs": CORE | RUNS | {"xraytransfer/clusters"},
    "study/finished_runs": CORE | FINISHED_RUNS,
    "study/analysis": CORE | ANALYSIS,
    "study/report": CORE | REPORT,
    "study/quality_gate": CORE | QUALITY_GATE,
    "study/demo": CORE | STUDY - {"study"},
    "study": CORE | STUDY | {"xraytransfer/clusters"},
    "export/graph": CORE | {"export/options"} | DATA | {"study/quality_gate"},
    "export/checks": CORE | {"export/reader_counts"} | DATA | STATS | {"study/quality_gate"},
    "export/card": CORE | {"export/options", "export/reader_counts", "study/analysis/published"},
    "export": CORE
    | EXPORT
    | TRAINING
    | {
        "study/quality_gate",
        "study/analysis/cost",
        "study/finished_runs/known_films",
        "study/finished_runs/relabelling",
    },
    "serve/dicom_results": CORE,
    "serve/spool": CORE | RESULTS,
    "serve/page": set(),
    "serve/web": CORE | RESULTS | SERVE_GROUND | {"serve/page"},
    "serve/dicom": CORE | RESULTS | SERVE_GROUND | {"serve/dicom_settings", "serve/spool"},
    "serve": CORE | SERVE,
}
# Libraries that a part never imports, not even inside a function.
NEVER = dict.fromkeys(
    ("xraytransfer", "xraytransfer/reading", "xraytransfer/archives", "xraytransfer/clusters"), HEAVY
) | dict.fromkeys(SERVE, ("torch", "timm"))


def module_files() -> dict[str, Path]:
    """Return every Python file of the package by its place without suffix, such as ``study/stats/auroc``."""
    return {
        path.relative_to(ROOT).with_suffix("").as_posix().removesuffix("/__init__"): path
        for top in ("xraytransfer", *PARTS)
        for path in sorted((ROOT / top).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    }


FILES = module_files()


def room(place: str) -> str:
    """Return the row of the table that a file belongs to."""
    return place if place in MAY_IMPORT else place.rpartition("/")[0]


def place_of(module: str) -> str | None:
    """Return the file that a dotted name stands for, None where it is none of ours."""
    top, _, rest = module.partition(".")
    if top != "xraytransfer":
        return None
    place = rest.replace(".", "/") if rest.partition(".")[0] in PARTS else module.replace(".", "/")
    return place if place in FILES else None


def imports(tree: ast.AST) -> Iterator[tuple[str, ...]]:
    """Yield the names of each import, the most exact one first; a module that is named as text counts as imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((f"{node.module}.{alias.name}", str(node.module)) for alias in node.names)
        elif isinstance(node, ast.Constant) and "." in str(node.value) and place_of(str(node.value)):
            yield (str(node.value),)


def imported_files(tree: ast.AST) -> set[str]:
    """Return our files that a module, or a piece of one, imports."""
    found = (next(filter(None, map(place_of, names)), None) for names in imports(tree))
    return {place for place in found if place}


TREES = {place: ast.parse(path.read_text("utf-8")) for place, path in FILES.items()}


def test_the_table_names_every_folder():
    folders = {path.relative_to(ROOT).parent.as_posix() for path in FILES.values()}
    assert folders == set(MAY_IMPORT) - {"xraytransfer/__main__"}


@pytest.mark.parametrize("row", MAY_IMPORT)
def test_a_room_imports_what_the_table_allows(row):
    allowed = MAY_IMPORT[row] | {row}
    arrows = [
        f"{place} -> {target}"
        for place in FILES
        if room(place) == row
        for target in sorted(imported_files(TREES[place]) - {place})
        if target not in allowed and room(target) not in allowed
    ]
    assert not arrows


@pytest.mark.parametrize("row", NEVER)
def test_a_room_never_imports_what_is_too_heavy_for_it(row):
    arrows = [
        f"{place} -> {names[0]}"
        for place in FILES
        if room(place) == row
        for names in imports(TREES[place])
        if names[0].partition(".")[0] in NEVER[row]
    ]
    assert not arrows


def test_the_roof_imports_parts_inside_functions_only():
    for place in FILES:
        if room(place) == "xraytransfer/cli":
            at_once = [node for node in TREES[place].body if isinstance(node, (ast.Import, ast.ImportFrom))]
            targets = imported_files(ast.Module(at_once, []))
            assert not [target for target in targets if target.partition("/")[0] in PARTS], place


def test_no_circle_of_files():
    """Imports inside functions and under TYPE_CHECKING count as well."""
    graph = {place: imported_files(tree) - {place} for place, tree in TREES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


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


def test_the_picture_and_the_map_show_the_table():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "draw_rooms", "--check"], check=False)
    assert done.returncode == 0, "run scripts/draw_rooms"
