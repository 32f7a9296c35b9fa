"""The examples refuse pictures that they would read otherwise than `predict`, and model files that ask for more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xraytransfer
from example_programs import EXAMPLES, assert_refused, compiled_c, node
from gallery import run
from xraytransfer import model_file

SMALL = Path(xraytransfer.__file__).parent / "models" / "default-small.onnx"
TURNED = 6  # EXIF 2.3, tag 0x0112: the first row is the film's right side
PYTHON = ["embed_python.py", "embed_openvino.py"]


@pytest.fixture(scope="module")
def film(sample_film):
    """Return a real film of 8 bits, a third of its size."""
    picture = Image.fromarray(xraytransfer.read_radiograph(sample_film("RG1_UNCR")).pixels)
    return picture.resize((picture.width // 3, picture.height // 3))


def program(example):
    if "openvino" in example:
        pytest.importorskip("openvino")
    return [node() if example.endswith(".mjs") else sys.executable, EXAMPLES / example]


def exif():
    tags = Image.Exif()
    tags[0x0112] = TURNED
    return tags


def picture_files(film, folder):
    """Write pictures that a decoder reads otherwise than `predict`; return the words with which each is refused."""
    grey = np.asarray(film)
    veil = np.full_like(grey, 255)
    veil[:, : grey.shape[1] // 3] = 128
    Image.merge("LA", [film, Image.fromarray(veil)]).save(folder / "transparent.png")
    Image.fromarray(np.stack([grey, grey // 2, 255 - grey], axis=-1)).save(folder / "coloured.png")
    film.save(folder / "animated.png", save_all=True, append_images=[film.transpose(Image.Transpose.ROTATE_90)])
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = np.stack([grey.astype(np.uint16) * 16] * 3, axis=-1)
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    film.save(folder / "other.tif")
    (folder / "cut.png").write_bytes((folder / "coloured.png").read_bytes()[:2000])
    return {
        "transparent.png": "coloured or transparent",
        "coloured.png": "coloured or transparent",
        "animated.png": "more than one picture",
        "deep.png": "more than 8 bits",
        "other.tif": "no PNG",
        "cut.png": "PNG",
    }


@pytest.mark.parametrize("example", ["embed_python.py", "embed_node.mjs"])
def test_pictures_that_a_decoder_reads_otherwise_are_refused(example, film, tmp_path):
    for name, reason in picture_files(film, tmp_path).items():
        assert_refused(*program(example), SMALL, tmp_path / name, reason=reason)


def test_openvino_reads_films_as_the_example_in_python():
    def reading(example):
        text = (EXAMPLES / example).read_text("utf-8")
        return text[text.index("def read_film") :].split("\n\n\n")[0]

    assert reading("embed_openvino.py") == reading("embed_python.py")


def test_exif_orientation_is_undone_or_refused(film, tmp_path):
    lying = film.transpose(Image.Transpose.ROTATE_90)
    for name in ("film.jpg", "film.png"):
        lying.save(tmp_path / name, exif=exif())
    upright = xraytransfer.read_radiograph(tmp_path / "film.jpg").pixels
    Image.fromarray(upright).save(tmp_path / "upright.png")
    command = [*program("embed_python.py"), SMALL]
    assert run(*command, tmp_path / "film.jpg") == run(*command, tmp_path / "upright.png")
    assert_refused(*program("embed_node.mjs"), SMALL, tmp_path / "film.png", reason="Exif")


def test_a_film_that_may_be_mirrored_is_said_to_be(film, tmp_path):
    film.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "film.png")
    film.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "film.pgm")
    commands = [program(example) for example in ("embed_xraytransfer.py", "embed_python.py", "embed_node.mjs")]
    for command in (*commands, [compiled_c(tmp_path)]):
        path = tmp_path / ("film.pgm" if len(command) == 1 else "film.png")
        parts = [str(part) for part in (*command, SMALL, path)]
        done = subprocess.run(parts, capture_output=True, text=True, check=True)
        assert "left and right may be exchanged" in done.stderr.lower()
        assert len(done.stdout.splitlines()) == 6


def model_files(folder):
    """Write files that are no models of this version, or ask for another preparation; return the reasons."""
    onnx = pytest.importorskip("onnx")
    known = model_file.describe(SMALL).document
    graph = onnx.load(SMALL)
    del graph.metadata_props[:]
    onnx.save(graph, folder / "stripped.onnx")
    entry = graph.metadata_props.add()
    entry.key = "xraytransfer"
    for name, changed in (
        ("newer", {**known, "schema_version": 4}),
        ("minmax", {**known, "input": {**known["input"], "intensity": "minmax"}}),
        ("fixed", {**known, "input": {**known["input"], "size": "fixed"}}),
    ):
        entry.value = json.dumps(changed)
        onnx.save(graph, folder / f"{name}.onnx")
    (folder / "text.onnx").write_text("<html>not found</html>" * 50)
    reasons = {"stripped": "removed its description", "newer": "description", "minmax": "recipe"}
    return {**reasons, "fixed": "own resolution alone", "text": "text.onnx"}


@pytest.mark.parametrize("example", [*PYTHON, "embed_node.mjs"])
def test_model_files_that_ask_for_more_are_refused(example, film, tmp_path):
    film.save(tmp_path / "film.png")
    check_model_files(program(example), tmp_path / "film.png", tmp_path, 3 if example.endswith(".mjs") else 1)


def test_c_refuses_model_files_that_ask_for_more(film, tmp_path):
    film.save(tmp_path / "film.pgm")
    check_model_files([compiled_c(tmp_path)], tmp_path / "film.pgm", tmp_path, 3)


def check_model_files(command, film, folder, code):
    for name, reason in model_files(folder).items():
        assert_refused(*command, folder / f"{name}.onnx", film, reason=reason, code=code)


def test_c_reads_comments_and_refuses_other_headers(film, tmp_path):
    program = compiled_c(tmp_path)
    film.save(tmp_path / "film.pgm")
    plain = (tmp_path / "film.pgm").read_bytes()
    (tmp_path / "comment.pgm").write_bytes(plain.replace(b"P5\n", b"P5\n# written by another program\n", 1))
    answers = [run(program, SMALL, tmp_path / name) for name in ("film.pgm", "comment.pgm")]
    assert answers[0] == answers[1]
    for header, reason in (
        (b"P5\n100 100\n65535\n", "8 bits"),
        (b"P5\n-1 100\n255\n", "not a binary PGM"),
        (b"P5\n20000 20000\n255\n", "100 million"),
        (b"P5 #", "not a binary PGM"),
        (b"", "not a binary PGM"),
    ):
        (tmp_path / "wrong.pgm").write_bytes(header)
        assert_refused(program, SMALL, tmp_path / "wrong.pgm", reason=reason)


def test_telemetry_is_off_before_onnx_runtime_is_loaded(tmp_path):
    (tmp_path / "onnxruntime.py").write_text("import os\nraise SystemExit(os.environ['ORT_DISABLE_TELEMETRY'])\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, EXAMPLES / "embed_python.py", SMALL, "film.png"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "1"
    for example, loads in (("embed_node.mjs", 'import("onnxruntime-node")'), ("embed_c.c", "CreateEnv(")):
        text = (EXAMPLES / example).read_text("utf-8")
        assert text.index("ORT_DISABLE_TELEMETRY") < text.index(loads)
