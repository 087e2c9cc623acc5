"""A real browser for tests of pages, and what they do in it."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

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


def show(chrome: Any, width: int, height: int, scheme: str = "light") -> None:
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def find(chrome: Any, selector: str) -> Any:
    return chrome.find_element("css selector", selector)


def every(chrome: Any, selector: str) -> list[Any]:
    return chrome.find_elements("css selector", selector)


def centred(chrome: Any, element: Any) -> Any:
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    return element


def pointer(chrome: Any) -> Any:
    from selenium.webdriver import ActionChains

    return ActionChains(chrome, duration=20)


def choose(chrome: Any, selector: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(centred(chrome, find(chrome, selector))).select_by_visible_text(text)


def series(chrome: Any) -> list[str]:
    return [group.get_attribute("data-name") for group in every(chrome, "#rd g.series")]
