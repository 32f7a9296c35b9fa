"""The page for people who see, hear or move otherwise: axe-core finds no violation in any of the page's states."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("selenium")

import numpy as np
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from page_driver import choose, press, settled, text, texts, until

pytestmark = pytest.mark.peer
AXE = Path(__file__).parents[2] / "node_peers" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture
def violations():
    """Return a function that examines what the browser shows and returns what is wrong with it, by given rules."""
    if not AXE.is_file():
        pytest.skip("axe-core is not here: npm ci --ignore-scripts in tests/node_peers/")

    def examine(page, *rules: str) -> list[str]:
        # outside the page's policy, which rightly refuses scripts from elsewhere
        page.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text("utf-8")})
        found = page.execute_async_script(
            "axe.run(arguments[0]).then(arguments[1], (error) => arguments[1]({ error: `${error}` }))",
            {"runOnly": list(rules)} if rules else {},
        )
        assert "error" not in found, found
        assert len(found["passes"]) > (0 if rules else 10)  # it has looked
        return [f"{rule['id']}: {node['html'][:200]}" for rule in found["violations"] for node in rule["nodes"]]

    return examine


@pytest.fixture(params=["light", "dark"])
def scheme(request, browser):
    feature = {"name": "prefers-color-scheme", "value": request.param}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    yield request.param
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_empty_page_and_the_keys(page, scheme, violations):
    assert violations(page) == []
    press(page, "?")
    until(page, lambda: page.execute_script("return document.querySelector('dialog[open]') !== null"))
    assert violations(page) == []
    press(page, Keys.ESCAPE)


def test_a_film_with_its_map_beside_a_refused_one(page, scheme, violations, film, tmp_path):
    letter = tmp_path / "letter.txt"
    letter.write_text("This is no film.")
    choose(page, film, letter)
    until(page, lambda: settled(page) and len(texts(page, ".films li")) == 2)
    assert violations(page) == []
    press(page, "m")
    assert page.find_element(By.ID, "map").is_displayed()
    assert violations(page) == []
    press(page, Keys.ARROW_RIGHT)
    assert "unsupported-format" in text(page, "#message")
    assert violations(page) == []


def test_a_film_that_can_be_changed_and_scored_against_advice(gated_page, scheme, violations, tmp_path):
    grey = np.random.default_rng(1).normal(220, 3, (64, 48)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "bright.png")
    choose(gated_page, tmp_path / "bright.png")
    until(gated_page, lambda: texts(gated_page, "#message button")[-1:] == ["Score it anyway"])
    until(gated_page, lambda: gated_page.find_element(By.ID, "picture").get_property("naturalWidth") == 48)
    assert violations(gated_page) == []
    gated_page.execute_script("document.querySelector('#message button:last-of-type').click()")
    until(gated_page, lambda: len(texts(gated_page, ".row")) == 6)
    assert violations(gated_page) == []


def test_the_question_for_a_token(browser, serve_http, scheme, violations, film):
    browser.get(serve_http(token="correct-horse-battery").url)
    choose(browser, film)
    until(browser, lambda: browser.execute_script("return document.getElementById('token').open"))
    assert violations(browser) == []


def test_the_reference(browser, server, scheme, violations):
    browser.get(f"{server.url}/reference")
    assert violations(browser) == []


def test_more_contrast_where_the_system_asks_for_it(gated_page, violations, scheme, tmp_path):
    features = [{"name": "prefers-contrast", "value": "more"}, {"name": "prefers-color-scheme", "value": scheme}]
    gated_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    grey = np.random.default_rng(1).normal(220, 3, (64, 48)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "bright.png")
    choose(gated_page, tmp_path / "bright.png")
    until(gated_page, lambda: texts(gated_page, "#message button")[-1:] == ["Score it anyway"])
    assert violations(gated_page, "color-contrast-enhanced") == []
    gated_page.execute_script("document.querySelector('#message button:last-of-type').click()")
    until(gated_page, lambda: len(texts(gated_page, ".row")) == 6)
    assert violations(gated_page, "color-contrast-enhanced") == []


def test_high_contrast_keeps_bars_and_marks(page, film):
    choose(page, film)
    until(page, lambda: settled(page))
    feature = {"name": "forced-colors", "value": "active"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        assert page.execute_script("return matchMedia('(forced-colors: active)').matches")
        colours = {part: style(page, f".row {part}", "backgroundColor") for part in (".track", ".fill", ".mark")}
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(set(colours.values())) == 3, colours


def test_what_is_printed_is_the_film_and_its_result_on_white(page, scheme, violations, film):
    choose(page, film)
    until(page, lambda: settled(page))
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    try:
        assert style(page, ".viewer", "backgroundColor") == "rgb(255, 255, 255)"
        assert style(page, ".dot", "backgroundColor") == "rgb(0, 0, 0)"
        assert style(page, ".films", "display") == "none"
        assert style(page, ".row", "display") != "none"
        assert page.find_element(By.CSS_SELECTOR, ".row .name").is_displayed()
        assert violations(page, "color-contrast") == []
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def style(page, selector: str, name: str) -> str:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return page.execute_script(script, selector, name)
