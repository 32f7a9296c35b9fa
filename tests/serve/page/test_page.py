"""The page in a real browser: films dropped and chosen, results read off the screen, files saved."""

from __future__ import annotations

import json
import threading
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("selenium")

import pydicom
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from page_driver import PATIENCE, choose, drop, press, saved_file, settled, text, texts, until
from xraytransfer import load
from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.serve.web.readiness import phantom

pytestmark = pytest.mark.peer


def test_a_dropped_film_is_shown_and_scored(page, server, sample_film, toy_model):
    path = sample_film("RG1_UNCR")
    drop(page, path)
    until(page, lambda: settled(page))
    expected = load(toy_model, device="cpu").predict(path)
    rows = dict(zip(texts(page, ".row .name"), texts(page, ".row .number"), strict=True))
    assert list(rows) == [
        "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion", "No Finding",
    ]  # fmt: skip
    for row in expected.to_dict()["observations"]:
        assert float(rows[row["name"]].removesuffix(" %")) == pytest.approx(100 * row["probability"], abs=0.51)
    above = {row["name"] for row in expected.to_dict()["observations"] if row["decision"]}
    assert set(texts(page, ".row.above .name")) == above
    assert len(texts(page, ".row .mark")) == 6
    assert len(texts(page, ".row .dot")) == expected.member_probability.size
    picture = page.find_element(By.ID, "picture")
    until(page, lambda: picture.get_property("naturalWidth"))
    assert picture.get_property("naturalHeight") == 1600
    assert "1841 × 1955" in text(page, "#caption")
    details = dict(zip(texts(page, "#pixels dt"), texts(page, "#pixels dd"), strict=True))
    assert details["Inverted"] == "yes, air is dark now"
    assert details["Photometric"] == "MONOCHROME1"
    assert not page.find_element(By.ID, "map").is_displayed()  # not until it is asked for


def test_nothing_from_elsewhere_nothing_refused_by_the_policy_one_notice(page, server, film):
    choose(page, film)
    until(page, lambda: settled(page))
    addresses = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert addresses
    assert all(address.startswith((server.url, "data:", "blob:")) for address in addresses)
    assert [entry["message"] for entry in page.get_log("browser")] == []
    assert page.find_element(By.TAG_NAME, "body").text.count(RESEARCH_NOTICE) == 1
    assert page.execute_script("return localStorage.length + sessionStorage.length + document.cookie.length") == 0


def test_several_films_by_keys(page, film, tmp_path):
    wrong = tmp_path / "letter.txt"
    wrong.write_text("This is no film.")
    other = tmp_path / "other.dcm"
    other.write_bytes(phantom())
    choose(page, film, wrong, other)
    until(page, lambda: settled(page) and len(texts(page, ".films li")) == 3)
    assert texts(page, ".films .name") == ["phantom.dcm", "letter.txt", "other.dcm"]
    assert texts(page, ".films .state")[1] == "not scored"
    press(page, Keys.ARROW_RIGHT)
    assert "unsupported-format" in text(page, "#message")
    assert not page.find_element(By.ID, "bars").is_displayed()
    press(page, Keys.ARROW_RIGHT)
    assert "other.dcm" in text(page, "#caption")
    press(page, Keys.ARROW_RIGHT, Keys.DELETE)
    assert texts(page, ".films .name") == ["phantom.dcm", "letter.txt"]
    page.find_elements(By.CSS_SELECTOR, ".films button.open")[0].click()
    assert "phantom.dcm" in text(page, "#caption")
    press(page, Keys.DELETE, Keys.DELETE)
    assert page.find_element(By.ID, "choose").is_displayed()


def test_the_map_follows_the_choice_and_the_slider(page, film):
    choose(page, film)
    until(page, lambda: settled(page))
    canvas = page.find_element(By.ID, "map")
    press(page, "m")
    drawings = set()
    for row in page.find_elements(By.CSS_SELECTOR, ".row"):
        row.click()
        name = row.find_element(By.CLASS_NAME, "name").text
        assert name in text(page, "#map-note")
        drawings.add(page.execute_script("return arguments[0].toDataURL()", canvas))
    assert len(drawings) > 1
    press(page, "1")
    assert "Atelectasis" in text(page, "#map-note")
    press(page, "m")
    assert not canvas.is_displayed()
    press(page, "m", "[")
    assert canvas.value_of_css_property("opacity") == "0.35"
    assert text(page, "#opacity-value") == "35 %"
    slider = page.find_element(By.ID, "opacity")
    slider.send_keys(Keys.END)
    assert canvas.value_of_css_property("opacity") == "1"
    press(page, "+")
    assert "scale" in page.find_element(By.ID, "film").get_attribute("style")
    press(page, "0")
    assert "scale" not in page.find_element(By.ID, "film").get_attribute("style")


def test_the_networks_view_of_one_film_never_stands_beside_the_numbers_of_another(page, tmp_path):
    """While the view is drawn, and where that fails, the picture is that of the film whose numbers are shown."""
    shapes = {"wide.png": (300, 200), "tall.png": (200, 300)}
    for name, size in shapes.items():
        Image.linear_gradient("L").resize(size).save(tmp_path / name)
    choose(page, *(tmp_path / name for name in shapes))
    until(page, lambda: settled(page))
    shape = "const {naturalWidth: w, naturalHeight: h} = document.querySelector('#picture'); return Math.sign(w - h)"
    page.execute_script("document.querySelector('#network').click()")
    until(page, lambda: "network sees" in page.find_element(By.ID, "picture").get_attribute("alt"))
    until(page, lambda: page.execute_script(shape) == 1)
    page.execute_script(
        "OffscreenCanvas.prototype.convertToBlob = () => new Promise((_, fail) => { window.fail = fail; })"
    )
    press(page, Keys.ARROW_RIGHT)
    assert "tall.png" in text(page, "#caption")
    until(page, lambda: page.execute_script("return Boolean(window.fail)"))
    until(page, lambda: page.execute_script(shape) == -1)
    page.execute_script("window.fail(new Error('out of memory'))")
    until(page, lambda: not page.find_element(By.ID, "network").is_selected())
    assert page.execute_script(shape) == -1
    assert "as the server read it" in page.find_element(By.ID, "picture").get_attribute("alt")


def test_results_are_saved(page, sample_film):
    pytest.importorskip("highdicom")
    path = sample_film("RG1_UNCR")
    choose(page, path)
    until(page, lambda: settled(page))
    for button in ("save-json", "save-png", "save-sr"):
        page.find_element(By.ID, button).click()
    document = json.loads(saved_file(page, ".xraytransfer.json").read_text())
    assert len(document["observations"]) == 6
    assert "picture" not in document
    assert saved_file(page, ".xraytransfer.png").read_bytes().startswith(b"\x89PNG")
    report = pydicom.dcmread(saved_file(page, ".sr.dcm"))
    assert (report.Modality, report.StudyInstanceUID) == ("SR", pydicom.dcmread(path).StudyInstanceUID)


def test_pictures_have_no_dicom_report(page, shared_data):
    choose(page, next((shared_data / "nih-sample" / "full").glob("*.png")))
    until(page, lambda: settled(page))
    assert not page.find_element(By.ID, "save-sr").is_enabled()
    assert page.find_element(By.ID, "save-json").is_enabled()


def test_a_film_that_its_header_calls_none_can_be_scored_anyway(page, shared_data):
    choose(page, shared_data / "dicom" / "nih-3-modality-ct-header.dcm")
    until(page, lambda: settled(page))
    assert "not-a-radiograph" in text(page, "#message")
    page.find_element(By.CSS_SELECTOR, "#message button").click()
    until(page, lambda: len(texts(page, ".row")) == 6 and not text(page, "#message"))
    assert "its header does not describe" in text(page, "#warnings")
    assert "against advice" in texts(page, ".films .state")[0]


def test_a_busy_server_is_waited_for(browser, serve_http, film):
    server = serve_http(queue_size=2)
    browser.get(server.url)
    until(browser, lambda: "ready" in text(browser, "#served"))
    opened = threading.Event()
    held = [server.engine.submit(phantom(), lambda *_: opened.wait(PATIENCE)) for _ in range(2)]
    choose(browser, film)
    until(browser, lambda: texts(browser, ".films .state") == ["server busy"])
    assert "The server is busy" in text(browser, "#message")
    opened.set()
    assert all(future.result(PATIENCE) for future in held)
    while server.engine.depth:
        time.sleep(0.01)
    # in one step: the page may send the film by itself between finding the button and clicking it
    browser.execute_script("document.querySelector('#message button')?.click()")
    until(browser, lambda: len(texts(browser, ".row")) == 6)


def test_a_token_is_asked_for(browser, serve_http, film):
    server = serve_http(token="open-sesame-open")
    browser.get(server.url)
    choose(browser, film)
    for token in ("wrong", "open-sesame-open"):
        field = browser.find_element(By.ID, "token-value")
        until(browser, field.is_displayed)
        field.send_keys(token, Keys.ENTER)
        until(browser, lambda: "not it" in text(browser, "#token-note") or texts(browser, ".row"))
    until(browser, lambda: len(texts(browser, ".row")) == 6)


def test_a_server_that_is_gone(browser, serve_http, film):
    server = serve_http()
    browser.get(server.url)
    until(browser, lambda: "ready" in text(browser, "#served"))
    server.http.should_exit = True
    until(browser, lambda: not server.http.servers[0].is_serving())
    choose(browser, film)
    until(browser, lambda: texts(browser, ".films .state") == ["not sent"])
    assert "cannot be reached" in text(browser, "#message")


def test_a_phone_scrolls_one_way_only(page, film):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        choose(page, film, film)
        until(page, lambda: settled(page) and len(texts(page, ".films li")) == 2)
        press(page, "m")
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        for selector in ("#picture", "#bars", "#save-json", "#opacity", "#notice"):
            box = page.find_element(By.CSS_SELECTOR, selector).rect
            assert box["width"] > 0
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_what_assistive_technology_is_told(page, film):
    choose(page, film)
    until(page, lambda: settled(page))
    unnamed = page.execute_script(
        "return [...document.querySelectorAll('button, input, img, a, [role]')]"
        ".filter((node) => node.offsetParent && !(node.textContent.trim() || node.labels?.length || node.ariaLabel"
        " || node.hasAttribute('alt') || node.getAttribute('role') === 'status')).map((node) => node.outerHTML)"
    )
    assert unnamed == []
    assert page.find_element(By.ID, "picture").get_attribute("alt").startswith("Radiograph phantom.dcm")
    radios = page.find_elements(By.CSS_SELECTOR, ".row input")
    radios[0].send_keys(Keys.ARROW_DOWN)
    assert radios[1].is_selected()
    press(page, "?")
    assert page.find_element(By.ID, "keys").is_displayed()
