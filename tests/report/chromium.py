"""A real browser, for tests of pages: a plugin of the files that have them."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from in_chromium import show

PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromedriver": ("chromedriver",)}


def _program(name: str) -> str | None:
    return next((found for program in PROGRAMS[name] if (found := shutil.which(program))), None)


@pytest.fixture(scope="session")
def chrome() -> Iterator[Any]:
    """A browser that skips where there is none, and fails where CI is set."""
    missing = [name for name in PROGRAMS if _program(name) is None]
    if missing:
        assert "CI" not in os.environ, f"no {' and no '.join(missing)}"
        pytest.skip(f"no {' and no '.join(missing)}: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(_program("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chrome) -> Iterator[Any]:
    """The browser in light; nothing may be said in its console or asked of a network by the end of a test."""
    chrome.execute_cdp_cmd("Network.enable", {})
    show(chrome, 1440, 900)
    yield chrome
    assert [entry for entry in chrome.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    asked = [entry["message"] for entry in chrome.get_log("performance") if "Network.requestWillBeSent" in entry["message"]]
    addresses = [message.partition('"url":"')[2].partition('"')[0] for message in asked]
    assert all(address.startswith(("file:", "data:")) for address in addresses), addresses
