"""Drives the page in a real browser: waits, reads, drops, presses keys."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 20


def until(browser, condition):
    return WebDriverWait(browser, PATIENCE, 0.05).until(lambda _: condition())


def text(browser, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def texts(browser, selector: str) -> list[str]:
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((node) => node.textContent.trim())", selector
    )


def choose(browser, *films: Path) -> None:
    browser.find_element(By.ID, "files").send_keys("\n".join(str(film) for film in films))


def drop(browser, *films: Path) -> None:
    """Drop files from outside the browser, by its own input events."""
    data = {"items": [], "files": [str(film) for film in films], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})


def press(browser, *keys: str) -> None:
    for key in keys:
        webdriver.ActionChains(browser).send_keys(key).perform()


def settled(browser) -> bool:
    states = texts(browser, ".films .state")
    return bool(states) and not {"waiting", "scoring…"} & set(states)


def saved_file(browser, suffix: str) -> Path:
    def found() -> Path | None:
        return next((path for path in browser.saved.iterdir() if path.name.endswith(suffix)), None)

    return until(browser, found)
