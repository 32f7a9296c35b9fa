"""Builds and runs the programs of examples/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gallery import run

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
MODULES = EXAMPLES / "node_modules"
HEADERS = ROOT / "tests" / "node_peers" / "node_modules" / "com.github.asus4.onnxruntime"


def assert_refused(*command: object, reason: str = "not scored", code: int = 1) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def need_modules() -> None:
    if not (MODULES / "onnxruntime-node").is_dir():
        pytest.skip("the examples' npm packages are not installed: run npm ci --ignore-scripts in examples/")


def node() -> str:
    need_modules()
    return shutil.which("node") or pytest.skip("node is not installed")


def c_include() -> Path:
    """Return the folder of ONNX Runtime's C headers, wherever this machine has them."""
    packaged = next(HEADERS.glob("**/*simulator/onnxruntime.framework/Headers"), None)
    places = [os.environ.get("ONNXRUNTIME_INCLUDE"), packaged, "/usr/include/onnxruntime"]
    found = [Path(place) for place in places if place and (Path(place) / "onnxruntime_c_api.h").is_file()]
    return found[0] if found else pytest.skip("ONNX Runtime's C headers are not here: npm ci in tests/node_peers/")


def compiled_c(folder: Path) -> Path:
    """Return the C example, compiled into a folder."""
    need_modules()
    compiler = shutil.which("cc") or pytest.skip("no C compiler is installed")
    library = MODULES / "onnxruntime-node" / "bin" / "napi-v6" / "linux" / "x64"
    if sys.platform != "linux" or not (library / "libonnxruntime.so.1").is_file():
        pytest.skip("no ONNX Runtime library for this platform in the npm package")
    flags = ["-Wall", "-Wextra", "-Werror", "-L", library, "-l:libonnxruntime.so.1", f"-Wl,-rpath,{library}"]
    run(compiler, EXAMPLES / "embed_c.c", "-isystem", c_include(), *flags, "-o", folder / "embed_c")
    return folder / "embed_c"
