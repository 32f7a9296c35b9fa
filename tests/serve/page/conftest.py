"""Fixtures of the page's tests: a browser, a server, the page of the one in the other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1300,900",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, service = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or service is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    folder = tmp_path_factory.mktemp("browser")
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    saved = folder / "saved"
    saved.mkdir()
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(saved)})
    driver.saved = saved
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def server(serve_http):
    return serve_http()


@pytest.fixture
def page(browser, server):
    from page_driver import text, until

    browser.get_log("browser")
    browser.get(server.url)
    until(browser, lambda: "ready on CPU" in text(browser, "#served"))
    return browser


@pytest.fixture
def gated_page(browser, serve_http, gated_model):
    from page_driver import text, until

    browser.get(serve_http(model=str(gated_model)).url)
    until(browser, lambda: "ready on CPU" in text(browser, "#served"))
    return browser


@pytest.fixture
def film(tmp_path) -> Path:
    from xraytransfer.serve.web.readiness import phantom

    path = tmp_path / "phantom.dcm"
    path.write_bytes(phantom())
    return path
