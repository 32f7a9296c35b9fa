"""The oldest ONNX Runtime, and a graph tool: what a model file must also work with."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

import xraytransfer  # noqa: E402
from xraytransfer.errors import ModelFileError  # noqa: E402
from xraytransfer.export.file_copies import fixed_copy, renewed_copy, seal  # noqa: E402
from xraytransfer.model_file import describe  # noqa: E402
from xraytransfer.self_test import made_picture  # noqa: E402

pytestmark = pytest.mark.peer

OLDEST = {(3, 10): "1.15.1", (3, 11): "1.15.1"}
"""The oldest ONNX Runtime with a wheel for each Python; 1.15 knows IR 9 and opset 19 at most."""
PATIENCE = 300
SCRIPT = """
import json, sys
import numpy, onnxruntime
answers = []
for path, film in zip(sys.argv[2::2], sys.argv[3::2]):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers.append(session.run(["probability"], {"image": numpy.load(film)})[0][0].tolist())
print(json.dumps([onnxruntime.__version__, answers]))
"""


def packages_in(folder, *packages):
    """Install packages beside ours, and return the environment of a Python that finds them first."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
    done = subprocess.run([*install, *packages], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode != 0:
        pytest.skip(f"pip finds no {packages[0]} here: {done.stderr.strip().splitlines()[-1]}")
    return {**os.environ, "PYTHONPATH": str(folder)}


def test_the_oldest_onnx_runtime_answers_the_same(tmp_path):
    oldest = OLDEST.get(sys.version_info[:2]) or pytest.skip("no ONNX Runtime of this age has a wheel for this Python")
    environment = packages_in(tmp_path / "packages", f"onnxruntime=={oldest}", "numpy<2")
    command, expected, tolerances = [sys.executable, "-c", SCRIPT, "-"], [], []
    for name in ("default", "default-small"):
        for path in (
            renewed_copy(name, tmp_path / f"{name}.onnx"),
            fixed_copy(name, tmp_path / f"{name}-fixed.onnx"),
        ):
            test = describe(path).self_test
            film = path.with_suffix(".npy")
            np.save(film, made_picture(test.rows, test.columns, test.detail)[None, None])
            command += [path, film]
            expected.append(test.probability)
            tolerances.append(test.tolerance)
    command = [str(part) for part in command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE)
    version, answers = json.loads(done.stdout)
    assert version == oldest
    differences = np.abs(np.array(answers) - np.array(expected)).max(axis=1)
    assert (differences <= tolerances).all()
    assert differences[:2].max() <= 1e-6  # float32 arithmetic


def test_what_onnxslim_rewrote_can_be_sealed(tmp_path, sample_film):
    environment = packages_in(tmp_path / "packages", "onnxslim")
    renewed = renewed_copy("default-small", tmp_path / "renewed.onnx")
    slim = tmp_path / "slim.onnx"
    command = [sys.executable, "-m", "onnxslim", str(renewed), str(slim)]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=PATIENCE)
    with pytest.raises(ModelFileError, match="rewritten by another program"):
        xraytransfer.load(slim, device="cpu")
    seal(slim, original=renewed)
    film = sample_film("RG1_UNCR")
    found, expected = (xraytransfer.load(each, device="cpu").predict(film) for each in (slim, renewed))
    np.testing.assert_allclose(found.probability, expected.probability, atol=0.01)
