"""Each example gives the six numbers of `xraytransfer predict` on the same film, and docs/examples.md shows them."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

import xraytransfer
from example_programs import EXAMPLES, MODULES, assert_refused, compiled_c, need_modules
from gallery import GALLERY, SHOWN, assert_same, assert_shown, numbers, run, shown
from xraytransfer import model_file

PATIENCE = 60


@pytest.fixture(scope="module")
def film(sample_film, tmp_path_factory):
    """Return a real film as PNG, what programs without a DICOM reader take; beside it lie the other sample pictures."""
    sample_film("RG1_UNCR")  # skips the test where there is none
    folder = tmp_path_factory.mktemp("film")
    run(sys.executable, EXAMPLES / "sample_pictures.py", cwd=folder)
    return folder / "film.png"


def renewed(name, folder):
    """Return a shipped model in today's form; one that has it already is only copied."""
    pytest.importorskip("onnx")
    from xraytransfer.export.file_copies import renewed_copy

    return renewed_copy(name, folder / f"{name}.onnx")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the model that ships."""
    return renewed("default", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def fixed_model(tmp_path_factory):
    """Return the model that ships, for films of its own resolution alone."""
    pytest.importorskip("onnx")
    from xraytransfer.export.file_copies import fixed_copy

    return fixed_copy("default", tmp_path_factory.mktemp("fixed") / "fixed.onnx")


@pytest.fixture(scope="module")
def wrong_model(model):
    """Return the model with a self-test that no runtime passes: as a runtime sees it that computes something else."""
    onnx = pytest.importorskip("onnx")
    from xraytransfer.export.graph.model_writer import serialise

    document = model_file.describe(model).document
    test = {**document["self_test"], "probability": [value + 0.01 for value in document["self_test"]["probability"]]}
    path = model.with_name("wrong.onnx")
    path.write_bytes(serialise(onnx.load(model), {**document, "self_test": test}))
    return path


@pytest.fixture(scope="module")
def expected(film, model):
    """Return what the command line answers."""
    command = [sys.executable, "-m", "xraytransfer", "predict", str(film), "--model", str(model)]
    done = subprocess.run(
        [*command, "--format", "jsonl", "--device", "cpu"], capture_output=True, text=True, check=True
    )
    rows = json.loads(done.stdout.splitlines()[0])["observations"]
    return {row["identifier"]: row["probability"] for row in rows}


@pytest.fixture(scope="module")
def wrong_film(film):
    """Return the film turned by a quarter, which the shipped model's judge refuses."""
    return film.with_name("turned.png")


@pytest.mark.parametrize("example", ["embed_xraytransfer.py", "embed_python.py", "embed_openvino.py"])
def test_python(example, film, model, expected):
    if "openvino" in example:
        pytest.importorskip("openvino")
    printed = run(sys.executable, EXAMPLES / example, model, film)
    assert_same(printed, expected)
    assert_shown(f"python examples/{example} model.onnx film.png", printed)


def test_the_gallery_shows_a_refusal(model, wrong_film):
    command = [sys.executable, EXAMPLES / "embed_python.py", model, "turned.png"]
    done = subprocess.run(command, cwd=wrong_film.parent, capture_output=True, text=True, check=False)
    assert done.stderr == shown(GALLERY, "$ python examples/embed_python.py model.onnx turned.png")


@pytest.mark.parametrize("example", ["embed_python.py", "embed_openvino.py"])
def test_python_obeys_the_judge_and_refuses_more_than_8_bits(example, film, wrong_film, model, tmp_path):
    if "openvino" in example:
        pytest.importorskip("openvino")
    assert_refused(sys.executable, EXAMPLES / example, model, wrong_film)
    assert_refused(sys.executable, EXAMPLES / example, model, sixteen_bits(film, tmp_path), reason="more than 8 bits")


def test_openvino_rounds_int8_otherwise(film, tmp_path):
    pytest.importorskip("openvino")
    small = renewed("default-small", tmp_path)
    text = run(sys.executable, EXAMPLES / "embed_openvino.py", small, film)
    found = [float(line.split()[1]) for line in text.strip().splitlines()]
    expected = xraytransfer.load(small, device="cpu").predict(film).probability
    np.testing.assert_allclose(found, expected, atol=0.005)


@pytest.mark.parametrize("example", ["embed_python.py", "embed_openvino.py"])
def test_python_stops_where_the_runtime_computes_something_else(example, film, wrong_model):
    if "openvino" in example:
        pytest.importorskip("openvino")
    assert_refused(sys.executable, EXAMPLES / example, wrong_model, film, reason="self-test differs by 0.010")


def test_openvino_in_bfloat16_is_stopped(film, model):
    openvino = pytest.importorskip("openvino")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    assert_refused(sys.executable, EXAMPLES / "embed_openvino.py", model, film, "bf16", reason="self-test differs by")


def test_openvino_refuses_files_of_version_0_1(film, model, tmp_path):
    pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    from xraytransfer.export.graph.model_writer import serialise

    document = {key: value for key, value in model_file.describe(model).document.items() if key != "self_test"}
    (tmp_path / "old.onnx").write_bytes(serialise(onnx.load(model), document))
    command = (sys.executable, EXAMPLES / "embed_openvino.py", tmp_path / "old.onnx", film)
    assert_refused(*command, reason="xraytransfer models renew")


def test_a_file_of_a_fixed_input_is_refused(film, fixed_model):
    assert_refused(sys.executable, EXAMPLES / "embed_python.py", fixed_model, film, reason="own resolution alone")


def assert_wrong_calls_are_explained(command, model, film, folder):
    """Nothing named, a missing film, a missing model, and a file that is no picture: one line each, no traceback."""
    (folder / "film.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
    missing = folder / "missing"
    for arguments, reason in (
        ([], "usage: "),
        ([model, missing], str(missing)),
        ([missing, film], str(missing)),
        ([model, folder / "film.dcm"], "film.dcm"),
    ):
        done = subprocess.run(
            [str(part) for part in (*command, *arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode in (1, 2, 3), done.stderr
        assert done.stdout == ""
        assert reason in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize("example", ["embed_xraytransfer.py", "embed_python.py", "embed_openvino.py"])
def test_python_explains_wrong_calls(example, model, film, tmp_path):
    if "openvino" in example:
        pytest.importorskip("openvino")
    assert_wrong_calls_are_explained([sys.executable, EXAMPLES / example], model, film, tmp_path)


def sixteen_bits(film, folder):
    Image.fromarray(np.asarray(Image.open(film)).astype(np.uint16) * 16).save(folder / "deep.png")
    return folder / "deep.png"


def test_python_example_imports_nothing_of_ours():
    assert "import xraytransfer" not in (EXAMPLES / "embed_python.py").read_text()


def test_node(film, model, expected):
    need_modules()
    node = shutil.which("node") or pytest.skip("node is not installed")
    printed = run(node, EXAMPLES / "embed_node.mjs", model, film)
    assert_same(printed, expected)
    assert_shown("node examples/embed_node.mjs model.onnx film.png", printed)


def test_node_obeys_the_judge_and_refuses_more_than_8_bits(film, wrong_film, model, tmp_path):
    need_modules()
    node = shutil.which("node") or pytest.skip("node is not installed")
    assert_refused(node, EXAMPLES / "embed_node.mjs", model, wrong_film)
    deep = sixteen_bits(film, tmp_path)
    assert_refused(node, EXAMPLES / "embed_node.mjs", model, deep, reason="more than 8 bits")


def test_node_explains_wrong_calls_and_names_its_one_format(film, model, tmp_path):
    need_modules()
    node = shutil.which("node") or pytest.skip("node is not installed")
    assert_wrong_calls_are_explained([node, EXAMPLES / "embed_node.mjs"], model, film, tmp_path)
    Image.open(film).save(tmp_path / "film.jpg")
    assert_refused(node, EXAMPLES / "embed_node.mjs", model, tmp_path / "film.jpg", reason="neither JPEG nor DICOM")


def test_node_stops_where_the_runtime_computes_something_else(film, wrong_model, fixed_model):
    need_modules()
    node = shutil.which("node") or pytest.skip("node is not installed")
    for path, reason in ((wrong_model, "self-test differs by 0.010"), (fixed_model, "own resolution alone")):
        assert_refused(node, EXAMPLES / "embed_node.mjs", path, film, reason=reason, code=3)


@pytest.fixture(scope="module")
def embed_c(tmp_path_factory):
    """Return the C example, compiled."""
    return compiled_c(tmp_path_factory.mktemp("c"))


def test_c(embed_c, film, model, expected, tmp_path):
    printed = run(embed_c, model, film.with_suffix(".pgm"))
    assert_same(printed, expected)
    assert_shown("./embed_c model.onnx film.pgm", printed)
    (tmp_path / "cut.pgm").write_bytes(film.with_suffix(".pgm").read_bytes()[:5000])
    assert_refused(embed_c, model, tmp_path / "cut.pgm", reason="cut short")


def test_c_explains_wrong_calls(embed_c, film, model, tmp_path):
    assert_wrong_calls_are_explained([embed_c], model, film.with_suffix(".pgm"), tmp_path)


def test_c_obeys_the_judge(embed_c, wrong_film, model, tmp_path):
    Image.open(wrong_film).save(tmp_path / "turned.pgm")
    assert_refused(embed_c, model, tmp_path / "turned.pgm")


def test_c_stops_where_the_runtime_computes_something_else(embed_c, film, wrong_model):
    assert_refused(embed_c, wrong_model, film.with_suffix(".pgm"), reason="self-test differs", code=3)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def static_site(model, tmp_path):
    """Serve the examples as plain files, with the model beside the page: a site without any program."""
    need_modules()
    site = tmp_path / "site"
    shutil.copytree(EXAMPLES / "web", site / "web")
    shutil.copy(EXAMPLES / "description.mjs", site)
    (site / "node_modules").symlink_to(MODULES)
    shutil.copyfile(model, site / "web" / "model.onnx")
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/web/"
        server.shutdown()
        thread.join()


def open_page(static_site, profile):
    pytest.importorskip("selenium")
    from selenium import webdriver

    binary, service = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or service is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    driver.get(static_site)
    return driver


def wait_for_state(driver, holds):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    state = driver.find_element(By.ID, "state")
    WebDriverWait(driver, PATIENCE).until(lambda _: holds(state.text))
    return state


@pytest.mark.peer
def test_the_web_page_stops_where_the_runtime_computes_something_else(static_site, wrong_model, tmp_path):
    shutil.copyfile(wrong_model, tmp_path / "site" / "web" / "wrong.onnx")
    driver = open_page(f"{static_site}?model=wrong.onnx", tmp_path / "profile")
    try:
        state = wait_for_state(driver, lambda text: "Loading" not in text)
        assert "self-test differs by 0.010" in state.text
    finally:
        driver.quit()


@pytest.mark.peer
def test_the_web_page_never_shows_numbers_of_another_film(static_site, film, wrong_film, tmp_path):
    driver = open_page(static_site, tmp_path / "profile")
    from selenium.webdriver.common.by import By

    try:
        state = wait_for_state(driver, lambda text: "Loading" not in text)
        for chosen in (film, wrong_film):  # the second while the first is being scored
            driver.find_element(By.ID, "film").send_keys(str(chosen))
        wait_for_state(driver, lambda text: "turned.png cannot" in text)
        time.sleep(2)  # longer than a film takes: what comes late would have come
        assert "turned.png cannot be scored" in state.text
        assert driver.find_elements(By.TAG_NAME, "td") == []
    finally:
        driver.quit()


@pytest.mark.peer
def test_the_web_page_says_that_its_runtime_is_missing(static_site, tmp_path):
    (tmp_path / "site" / "node_modules").unlink()
    driver = open_page(static_site, tmp_path / "profile")
    try:
        assert "cannot be loaded" in wait_for_state(driver, lambda text: "Loading" not in text).text
    finally:
        driver.quit()


@pytest.mark.peer
def test_web_page_in_a_real_browser(static_site, film, wrong_film, expected, tmp_path):
    driver = open_page(static_site, tmp_path / "profile")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    try:
        state = wait_for_state(driver, lambda text: "Loading" not in text)
        assert state.text == "Choose a film."
        driver.find_element(By.ID, "film").send_keys(str(film))
        WebDriverWait(driver, PATIENCE).until(lambda _: "Scored " in state.text or "cannot" in state.text)
        assert state.text == "Scored film.png."
        cells = [cell.text for cell in driver.find_elements(By.CSS_SELECTOR, "th, td")]
        (tmp_path / "film.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
        for wrong, reason in (
            (wrong_film, "no upright film of a chest"),
            (sixteen_bits(film, tmp_path), "8 bits"),
            (tmp_path / "film.dcm", "no PNG or JPEG"),
        ):
            driver.find_element(By.ID, "film").send_keys(str(wrong))
            WebDriverWait(driver, PATIENCE).until(lambda _, reason=reason: reason in state.text)
            assert f"{wrong.name} cannot be scored" in state.text
            assert driver.find_elements(By.TAG_NAME, "td") == []
    finally:
        driver.quit()
    printed = "\n".join(f"{name} {value}" for name, value in zip(cells[::2], cells[1::2], strict=True))
    assert_same(printed, expected)
    assert_same(printed, numbers(shown(GALLERY, "Scored film.png.")), SHOWN)
