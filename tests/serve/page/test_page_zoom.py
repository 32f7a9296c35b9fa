"""The page enlarged to 200 % in a window of 1280 x 800: nothing sideways, nothing covered, nothing cut off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("selenium")

from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from page_driver import choose, press, settled, texts, until

pytestmark = pytest.mark.peer
FAULTS = (Path(__file__).parent / "layout_faults.js").read_text("utf-8")


@pytest.fixture
def enlarged(browser):
    """Show the page as a window of 1280 x 800 does at 200 %."""
    metrics = {"width": 640, "height": 400, "deviceScaleFactor": 2, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture(params=["plain", "prefers-contrast", "forced-colors"])
def contrast(request, browser):
    values = {"plain": [], "prefers-contrast": "more", "forced-colors": "active"}
    features = [{"name": request.param, "value": values[request.param]}] if request.param != "plain" else []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    yield request.param
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def faults(page) -> list[str]:
    return page.execute_script(FAULTS)


def seen_of(page, selector: str) -> float:
    """Return how many CSS pixels of an element's height the window shows."""
    return page.execute_script(
        "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return Math.min(innerHeight, box.bottom) - Math.max(0, box.top)",
        selector,
    )


def test_the_empty_page_and_its_dialogs(page, enlarged, contrast):
    assert faults(page) == []
    assert seen_of(page, "#choose") > 40
    press(page, "?")
    until(page, lambda: page.execute_script("return document.querySelector('dialog[open]') !== null"))
    assert faults(page) == []
    press(page, Keys.ESCAPE)


def test_films_with_map_and_menu(page, enlarged, contrast, film, tmp_path):
    letter = tmp_path / "letter.txt"
    letter.write_text("This is no film.")
    choose(page, film, film, letter)
    until(page, lambda: settled(page) and len(texts(page, ".films li")) == 3)
    press(page, "m")
    assert faults(page) == []
    page.execute_script("document.querySelector('.row:last-child').scrollIntoView({ block: 'end' })")
    assert seen_of(page, "#picture") > 250  # beside the last number, too
    page.find_element(By.CSS_SELECTOR, "input[value=beside]").find_element(By.XPATH, "..").click()
    page.find_element(By.ID, "patients").click()
    assert faults(page) == []
    page.execute_script("document.querySelectorAll('#films .open')[2].click()")
    until(page, lambda: "unsupported-format" in page.find_element(By.ID, "message").text)
    assert faults(page) == []


def test_the_menu_lies_on_top_until_it_is_left(page, enlarged, film):
    choose(page, film)
    until(page, lambda: settled(page))
    summary = page.find_element(By.CSS_SELECTOR, "#save-all summary")
    summary.click()
    assert faults(page) == []
    press(page, Keys.ESCAPE)
    assert page.switch_to.active_element == summary
    assert faults(page) == []
    summary.click()
    page.find_element(By.ID, "words").click()
    assert not page.find_element(By.ID, "all-csv").is_displayed()


def test_a_refused_film_changed_and_scored(gated_page, enlarged, contrast, tmp_path):
    grey = np.random.default_rng(1).normal(220, 3, (64, 48)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "bright.png")
    choose(gated_page, tmp_path / "bright.png")
    until(gated_page, lambda: texts(gated_page, "#message button")[-1:] == ["Score it anyway"])
    until(gated_page, lambda: gated_page.find_element(By.ID, "picture").get_property("naturalWidth") == 48)
    assert faults(gated_page) == []
    gated_page.execute_script("document.getElementById('stage').scrollIntoView()")
    assert seen_of(gated_page, "#picture") > 200
    gated_page.execute_script("document.querySelector('#message button:last-of-type').click()")
    until(gated_page, lambda: len(texts(gated_page, ".row")) == 6)
    assert faults(gated_page) == []


def test_the_question_for_a_token(browser, serve_http, enlarged, film):
    browser.get(serve_http(token="correct-horse-battery").url)
    choose(browser, film)
    until(browser, lambda: browser.execute_script("return document.getElementById('token').open"))
    assert faults(browser) == []


def test_the_reference(browser, server, enlarged):
    browser.get(f"{server.url}/reference")
    assert faults(browser) == []


def test_paper_shows_film_warning_and_six_numbers_uncut(gated_page, tmp_path):
    grey = np.random.default_rng(1).normal(220, 3, (64, 48)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "bright.png")
    choose(gated_page, tmp_path / "bright.png")
    until(gated_page, lambda: texts(gated_page, "#message button")[-1:] == ["Score it anyway"])
    gated_page.execute_script("document.querySelector('#message button:last-of-type').click()")
    until(gated_page, lambda: len(texts(gated_page, ".row")) == 6)
    paper = {"width": 718, "height": 1047, "deviceScaleFactor": 1, "mobile": False}  # A4 within margins of 1 cm
    gated_page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    gated_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert faults(gated_page) == []
        for selector in ("#notice", "#warnings", "#picture", ".row:last-child .number"):
            assert seen_of(gated_page, selector) > 10, selector  # on the first page
    finally:
        gated_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
        gated_page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
