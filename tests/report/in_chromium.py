"""What a test does in a browser."""

from typing import Any


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
