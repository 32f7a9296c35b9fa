"""The list of films on the page: found by name, filtered, sorted, also while a film's state changes."""

from __future__ import annotations

import pytest

pytest.importorskip("starlette")
pytest.importorskip("selenium")

import numpy as np
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from page_driver import choose, press, settled, texts, until
from xraytransfer import load
from xraytransfer.observations import OBSERVATIONS

pytestmark = pytest.mark.peer


@pytest.fixture
def pictures(tmp_path):
    """Return pictures that the toy model answers differently; the names' order is another than that of the numbers."""
    rng = np.random.default_rng(3)
    paths = [tmp_path / f"{name}.png" for name in ("Lung 10", "lung 9", "heart 2", "heart 1")]
    for level, path in zip((40, 120, 80, 200), paths, strict=True):
        Image.fromarray(rng.normal(level, 25, (96, 80)).clip(0, 255).astype(np.uint8)).save(path)
    return paths


@pytest.fixture
def listed(page, pictures, tmp_path):
    """Show the pictures and a letter, which is refused; return a function that tells what the list holds."""
    letter = tmp_path / "lung letter.txt"
    letter.write_text("This is no film.")
    choose(page, *pictures, letter)
    until(page, lambda: settled(page) and len(texts(page, ".films li")) == 5)
    names = "return [...document.querySelectorAll('.open')].map((node) => node.title)"
    return lambda: page.execute_script(names)


def select(page, menu: str, value: str) -> None:
    page.find_element(By.CSS_SELECTOR, f'#{menu} option[value="{value}"]').click()


def test_films_are_found_by_their_name(page, listed):
    field = page.find_element(By.ID, "words")
    field.send_keys("LUNG")
    until(page, lambda: listed() == ["Lung 10.png", "lung 9.png", "lung letter.txt"])
    field.send_keys(" 9")
    until(page, lambda: listed() == ["lung 9.png"])
    field.send_keys("9")
    until(page, lambda: listed() == [])
    field.send_keys(Keys.BACKSPACE * 10)
    until(page, lambda: len(listed()) == 5)


def test_films_are_filtered_by_what_came_of_them(page, listed, pictures, toy_model):
    answers = {path.name: load(toy_model, device="cpu").predict(path) for path in pictures}
    findings = [i for i, observation in enumerate(OBSERVATIONS) if observation.identifier != "no_finding"]
    above = [name for name, answer in answers.items() if any(answer.decision[i] for i in findings)]
    for value, expected in {
        "above": above,
        "below": [name for name in answers if name not in above],
        "refused": ["lung letter.txt"],
        "warned": [],
        "open": [],
        "all": [*answers, "lung letter.txt"],
    }.items():
        select(page, "filter", value)
        until(page, lambda expected=expected: listed() == expected)
    select(page, "filter", "refused")
    page.find_element(By.ID, "words").send_keys("heart")  # both at once
    until(page, lambda: listed() == [])


def test_films_are_sorted_by_name_and_by_every_observation(page, listed, pictures, toy_model):
    answers = {path.name: load(toy_model, device="cpu").predict(path) for path in pictures}
    for i, observation in enumerate(OBSERVATIONS):
        select(page, "sort", observation.identifier)
        expected = sorted(answers, key=lambda name, i=i: -answers[name].probability[i])
        until(page, lambda expected=expected: listed() == [*expected, "lung letter.txt"])
    select(page, "sort", "name")
    until(page, lambda: listed() == ["heart 1.png", "heart 2.png", "lung 9.png", "Lung 10.png", "lung letter.txt"])
    select(page, "sort", "added")
    until(page, lambda: listed() == [*(path.name for path in pictures), "lung letter.txt"])


def test_keys_walk_through_what_is_listed(page, listed):
    select(page, "sort", "name")
    page.find_element(By.ID, "words").send_keys("heart")
    until(page, lambda: listed() == ["heart 1.png", "heart 2.png"])
    page.execute_script("document.activeElement.blur()")
    current = "return document.querySelector('.open[aria-current=\"true\"]')?.title"
    press(page, Keys.ARROW_RIGHT)  # the film on the screen is not listed: the first one
    assert page.execute_script(current) == "heart 1.png"
    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.execute_script(current) == "heart 2.png"
