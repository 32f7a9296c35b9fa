"""Films on the page: folders dropped, many at once, warnings, changes by hand, patients, keys, what is saved of all."""

from __future__ import annotations

import csv
import io
import json
import zipfile

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("selenium")

import pydicom
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from page_driver import choose, drop, press, saved_file, settled, text, texts, until
from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.reading.patient import UNDER_18
from xraytransfer.serve.web.readiness import phantom

pytestmark = pytest.mark.peer


@pytest.fixture
def bright_film(tmp_path, dicom_film):
    """Return a film that the toy quality gate takes for an inverted one."""
    stored = np.full((96, 64), 3300, np.uint16)
    stored[20:60, 10:30] = 2500
    path = tmp_path / "bright.dcm"
    attributes = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096, "PatientID": "P-17"}
    path.write_bytes(
        dicom_film(stored, PatientName="Doe^Jane", AccessionNumber="A-4711", StudyDate="20260102", **attributes)
    )
    return path


def click(page, selector: str, words: str | None = None) -> None:
    """Click a button in one step: the page may draw it anew between finding and clicking it."""
    buttons = "[...document.querySelectorAll(arguments[0])]"
    find = f"{buttons}.find((node) => !arguments[1] || node.textContent === arguments[1])"
    until(
        page, lambda: page.execute_script(f"const node = {find}; node?.click(); return Boolean(node)", selector, words)
    )


def test_two_dropped_folders_are_read_to_the_last_subfolder(page, tmp_path):
    for name in ("left/deep/deeper", "right"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "film.dcm").write_bytes(phantom())
    (tmp_path / "left" / "letter.txt").write_text("This is no film.")
    (tmp_path / "left" / ".DS_Store").write_bytes(b"\0" * 200)
    (tmp_path / "good.dcm").write_bytes(phantom())
    drop(page, tmp_path / "left", tmp_path / "right", tmp_path / "good.dcm")
    until(page, lambda: settled(page) and len(texts(page, ".films li")) == 3)
    titles = page.execute_script("return [...document.querySelectorAll('.open')].map((node) => node.title)")
    assert titles == ["left/deep/deeper/film.dcm", "right/film.dcm", "good.dcm"]
    assert not {"not scored", "not sent"} & set(texts(page, ".films .state"))
    assert "2 files are no film" in text(page, "#toast")
    assert "letter.txt" in text(page, "#toast")


def test_an_empty_folder_is_told(page, tmp_path):
    drop(page, tmp_path)
    until(page, lambda: "Nothing to score" in text(page, "#toast"))
    assert page.find_element(By.ID, "choose").is_displayed()


def test_two_hundred_films_in_a_folder(page, tmp_path):
    rng = np.random.default_rng(5)
    for index in range(200):
        pixels = rng.normal(90, 30, (96, 80)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"IM{index:06d}.png")
    drop(page, tmp_path)
    until(page, lambda: text(page, "#progress") == "200 films")
    rows = texts(page, "#films li")
    assert len(rows) < 40  # the rest is not in the document
    page.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    assert page.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"] < 60e6
    press(page, *[Keys.ARROW_RIGHT] * 30)
    current = page.find_element(By.CSS_SELECTOR, '.open[aria-current="true"]')
    assert current.get_attribute("title").endswith("IM000030.png")
    box, frame = current.rect, page.find_element(By.ID, "scroller").rect
    assert frame["y"] <= box["y"]
    assert box["y"] + box["height"] <= frame["y"] + frame["height"] + 1
    assert page.find_element(By.CSS_SELECTOR, "#films li").get_attribute("aria-setsize") == "200"
    choice = page.find_element(By.CSS_SELECTOR, '#sort option[value="edema"]')
    choice.click()
    click(page, "#save-all summary")
    click(page, "#all-csv")
    table = list(csv.DictReader(io.StringIO(saved_file(page, "xraytransfer.csv").read_text("utf-8"))))
    assert len(table) == 200
    assert {row["notice"] for row in table} == {RESEARCH_NOTICE}
    page.execute_script("document.getElementById('scroller').scrollTop = 0")
    until(page, lambda: page.execute_script("return document.querySelector('#films li[aria-posinset=\"1\"]') !== null"))
    first = page.execute_script("return document.querySelector('#films li[aria-posinset=\"1\"] .open').title")
    assert first == max(table, key=lambda row: float(row["edema"]))["source"]


def test_a_film_of_a_child_says_so_everywhere(page, film):
    child = pydicom.dcmread(film)
    child.PatientAge = "012Y"
    child.save_as(film)
    choose(page, film)
    until(page, lambda: settled(page) and len(texts(page, ".row")) == 6)
    warning = f"Outside the intended use: {UNDER_18}."
    assert text(page, "#warnings") == warning
    click(page, "#save-json")
    assert json.loads(saved_file(page, "phantom.xraytransfer.json").read_text())["warnings"] == [warning]
    page.find_element(By.CSS_SELECTOR, "#filter option[value=warned]").click()
    assert len(texts(page, ".films li")) == 1


def test_a_film_scored_against_advice_says_so_everywhere(gated_page, bright_film):
    choose(gated_page, bright_film)
    until(gated_page, lambda: settled(gated_page))
    shown = gated_page.find_element(By.TAG_NAME, "body").text
    assert "any-film" not in shown
    assert "any_film" not in shown
    until(gated_page, lambda: gated_page.find_element(By.ID, "picture").get_property("naturalWidth") == 64)
    click(gated_page, "#message button", "Score it anyway")
    until(gated_page, lambda: len(texts(gated_page, ".row")) == 6)
    assert "Scored against advice" in text(gated_page, "#warnings")
    assert "against advice" in texts(gated_page, ".films .state")[0]
    click(gated_page, "#save-json")
    document = json.loads(saved_file(gated_page, "bright.xraytransfer.json").read_text())
    assert "quality gate refused" in document["warnings"][0]
    assert document["notice"] == RESEARCH_NOTICE
    click(gated_page, "#save-png")
    saved_file(gated_page, "bright.xraytransfer.png")
    until(gated_page, lambda: saved_file(gated_page, "bright.xraytransfer.png").stat().st_size > 1000)
    picture = np.asarray(Image.open(saved_file(gated_page, "bright.xraytransfer.png")).convert("RGB"))
    colours = {tuple(row) for row in picture[:, 2]}
    assert {(255, 190, 60), (255, 143, 125)} <= colours  # the grounds of the notice and of the warning


def test_a_film_that_is_inverted_by_hand_says_so(gated_page, bright_film):
    child = pydicom.dcmread(bright_film)
    child.PatientAge = "012Y"
    child.save_as(bright_film)
    choose(gated_page, bright_film)
    until(gated_page, lambda: "Invert" in texts(gated_page, "#message button"))
    until(gated_page, lambda: gated_page.find_element(By.ID, "picture").get_property("naturalWidth") == 64)
    until(gated_page, lambda: gated_page.find_element(By.CSS_SELECTOR, "#message button").is_enabled())
    click(gated_page, "#message button", "Turn right")
    click(gated_page, "#message button", "Invert")
    until(gated_page, lambda: gated_page.find_element(By.ID, "picture").get_property("naturalWidth") == 96)
    again = "[...document.querySelectorAll('#message button')].find((node) => node.textContent === 'Score again')"
    until(gated_page, lambda: gated_page.execute_script(f"return {again}.disabled") is False)
    click(gated_page, "#message button", "Score again")
    until(gated_page, lambda: len(texts(gated_page, ".row")) == 6)
    assert text(gated_page, "#warnings").endswith("turned a quarter clockwise, grey levels inverted.")
    assert UNDER_18 in text(gated_page, "#warnings")  # of the film's header; the changed picture has none
    assert "changed by hand" in texts(gated_page, ".films .state")[0]
    assert not gated_page.find_element(By.ID, "save-sr").is_enabled()
    click(gated_page, "#undo-change")
    until(gated_page, lambda: "inverted" in text(gated_page, "#message"))


def test_esc_in_the_token_dialog_can_be_resumed(browser, serve_http, film):
    browser.get(serve_http(token="open-sesame-open").url)
    choose(browser, film)
    field = browser.find_element(By.ID, "token-value")
    until(browser, field.is_displayed)
    press(browser, Keys.ESCAPE)
    until(browser, lambda: "Enter token" in texts(browser, "#message button"))
    click(browser, "#message button", "Enter token")
    until(browser, field.is_displayed)
    click(browser, "#token-cancel")
    until(browser, lambda: not field.is_displayed())
    click(browser, "#message button", "Enter token")
    field.send_keys("open-sesame-open", Keys.ENTER)
    until(browser, lambda: len(texts(browser, ".row")) == 6)


def test_patients_are_hidden_until_asked_for(gated_page, bright_film):
    choose(gated_page, bright_film)
    until(gated_page, lambda: settled(gated_page))
    assert "Doe" not in gated_page.execute_script("return document.body.textContent")
    click(gated_page, "#patients")
    line = "Doe, Jane · ID P-17 · 2026-01-02 · accession A-4711"
    until(gated_page, lambda: texts(gated_page, "#films .patient") == [line])
    click(gated_page, "#patients")
    until(gated_page, lambda: "Doe" not in gated_page.execute_script("return document.body.textContent"))


def test_a_removed_film_comes_back_and_keys_can_be_turned_off(page, film):
    choose(page, film, film)
    until(page, lambda: settled(page) and len(texts(page, ".films li")) == 2)
    press(page, Keys.DELETE)
    assert "was removed" in text(page, "#toast")
    click(page, "#toast-action")
    until(page, lambda: len(texts(page, ".films li")) == 2)
    slider = page.find_element(By.CSS_SELECTOR, "#map-over")
    slider.click()
    page.find_element(By.ID, "opacity").send_keys(Keys.DELETE)
    assert len(texts(page, ".films li")) == 2  # the slider had the focus
    press(page, "?")
    page.find_element(By.ID, "keys-off").click()
    press(page, Keys.ESCAPE)
    page.find_element(By.ID, "stage").click()
    press(page, "m")
    assert page.find_element(By.ID, "map").is_displayed()
    page.execute_script("document.getElementById('keys-off').click()")


def test_all_reports_in_one_archive(page, sample_film, film, tmp_path):
    pytest.importorskip("highdicom")
    path = sample_film("RG1_UNCR")
    letter = tmp_path / "letter.txt"
    letter.write_text("This is no film.")
    choose(page, path, path, letter)
    until(page, lambda: settled(page) and len(texts(page, ".films li")) == 3)
    click(page, "#save-all summary")
    click(page, "#all-sr")
    with zipfile.ZipFile(saved_file(page, "xraytransfer-reports.zip")) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["RG1_UNCR.sr.dcm", "RG1_UNCR-2.sr.dcm", "films-without-a-report.txt"]
        report = pydicom.dcmread(io.BytesIO(archive.read("RG1_UNCR.sr.dcm")))
        assert "letter.txt: not scored" in archive.read("films-without-a-report.txt").decode()
    assert report.Modality == "SR"


def test_screen_readers_hear_of_a_film_and_there_is_one_heading(page, film):
    choose(page, film)
    until(page, lambda: "phantom.dcm" in page.execute_script("return document.getElementById('said').textContent"))
    assert len(page.find_elements(By.TAG_NAME, "h1")) == 1
    outside = page.execute_script("return document.getElementById('notice').closest('header, main, aside') === null")
    assert not outside


def test_numbers_keep_digits_where_they_matter(page):
    script = """
        const done = arguments[arguments.length - 1];
        import("/numbers.js").then(({ apart, percent, place, times }) => done({
            percents: [0, 0.000001, 0.00004, 0.0004, 0.0123, 0.0999, 0.42, 1].map((value) => percent(value)),
            apart: [apart(0.0691, 0.0694), apart(0.42, 0.421)],
            places: [place(0.07, 0.07), place(0.56, 0.07), place(1, 0.01), place(0, 0.01), place(0.3, null)],
            times: [times(0.0691, 0.0694), times(0.5, 0.01), times(0.1, 0.05)],
        }), (error) => done(String(error)));
    """
    assert page.execute_async_script(script) == {
        "percents": ["0.0 %", "< 0.001 %", "0.004 %", "0.04 %", "1.2 %", "10 %", "42 %", "100 %"],
        "apart": [["6.91 %", "6.94 %"], ["42.0 %", "42.1 %"]],
        "places": [50, 100, 100, 0, 30],
        "times": ["0.996", "50", "2.0"],
    }


@pytest.mark.parametrize(
    "case",
    [
        ("ISO_IR 192", "Müller^Änne", "Müller, Änne"),
        ("ISO_IR 100", "Müller^Änne", "Müller, Änne"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "Yamada, Tarou = 山田, 太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞", "Hong, Gildong = 洪, 吉洞"),
        (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东", "Zhang, XiaoDong = 张, 小东"),
        (
            ["ISO 2022 IR 13", "ISO 2022 IR 87"],
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
            "ﾔﾏﾀﾞ, ﾀﾛｳ = 山田, 太郎 = やまだ, たろう",
        ),
        (["ISO 2022 IR 100", "ISO 2022 IR 144"], "Müller^Änne=Иванов^Иван", "Müller, Änne = Иванов, Иван"),
        (["ISO 2022 IR 100", "ISO 2022 IR 126"], "Müller^Änne", "Müller, Änne"),
        ("GB18030", "Wang^XiaoDong=王^小东", "Wang, XiaoDong = 王, 小东"),
        ("ISO_IR 144", "Люкceмбypг", "Люкceмбypг"),
    ],
)
@pytest.mark.parametrize("syntax", [pydicom.uid.ImplicitVRLittleEndian, pydicom.uid.ExplicitVRLittleEndian])
def test_patients_names_in_their_own_letters(page, tmp_path, case, syntax):
    charset, name, spoken = case
    film = pydicom.dcmread(io.BytesIO(phantom()))
    film.SpecificCharacterSet = charset
    film.PatientName = name
    source = pydicom.Dataset()
    source.ReferencedSOPInstanceUID = "1.2.3"
    film.ReferencedStudySequence = [source]  # group 0008: is read over, defined length or not
    film["ReferencedStudySequence"].is_undefined_length = charset == "GB18030"
    film.file_meta.TransferSyntaxUID = syntax
    film.save_as(tmp_path / "named.dcm", implicit_vr=syntax.is_implicit_VR, little_endian=True)
    choose(page, tmp_path / "named.dcm")
    click(page, "#patients")
    until(page, lambda: texts(page, "#films .patient") == [spoken])


def test_a_file_that_is_gone_hangs_nothing(browser, serve_http, film, tmp_path):
    server = serve_http(token="open-sesame-open")
    gone = tmp_path / "gone.dcm"
    gone.write_bytes(phantom())
    browser.get(server.url)
    choose(browser, film, gone)
    field = browser.find_element(By.ID, "token-value")
    until(browser, field.is_displayed)
    gone.unlink()
    field.send_keys("open-sesame-open", Keys.ENTER)
    until(browser, lambda: settled(browser) and len(texts(browser, ".row")) == 6)
    assert texts(browser, ".films .state")[1] == "not scored"
    press(browser, Keys.ARROW_RIGHT)
    assert "cannot be read" in text(browser, "#message")
