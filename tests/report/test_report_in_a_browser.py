"""The page of a report in a real browser: what can be clicked does what it says, nothing fails, and no network is asked."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import one_thread
from made_up_runs import LAMBDAS, PICTURES, find_set, made_up, results_of, write_run, write_runs

from codec.evaluation.results import ImageRow, Point, Results, psnr_at_rate
from codec.report.of_sources import write_report

PROGRAMS = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "chromedriver": ("chromedriver",)}
PAIR = """
const [a, b] = [arguments[0], arguments[1]].map((name) => measured().find((curve) => curve.name === name));
return [pairRows(a, b), b.points.map((point) => [point.rows.bpp, point.rows.psnr])];
"""
BRIGHTEST = """
const map = document.querySelector('canvas.map');
const pixels = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
return Math.max(...pixels.filter((value, k) => k % 4 < 3));
"""
WIDE = """
const free = [...document.querySelectorAll('main *')].filter((node) => !node.closest('.scroll, svg, .stage'));
return free.filter((node) => node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 90));
"""
LINES = """
const scene = scenes()[0], [left, top, height, width] = arguments;
Object.assign(scene.bits[0], { grid: [4, 4], left: -left / 481, top: -top / 321, width: width / 481, height: height / 321 });
look.mode = "bits"; look.scene = 0; look.rate = 0; look.left = scene.bits[0].codec; look.right = "original"; drawLook();
return [["across", "top", 3.21], ["down", "left", 4.81]].map(([name, side, percent]) =>
  [...document.querySelectorAll(`.sheet i.${name}`)].map((line) => parseFloat(line.style[side]) * percent));
"""
ODD = "<script>alert(1)</script>"


def _program(name: str) -> str | None:
    return next((found for program in PROGRAMS[name] if (found := shutil.which(program))), None)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of made-up runs, JPEG and the shipped codec's files."""
    root = tmp_path_factory.mktemp("runs")
    with one_thread():
        write_runs(root)
        return write_report([str(root), str(root / "files")], root / "out", find_set).page


@pytest.fixture(scope="module")
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
def at(chrome, page) -> Iterator[Any]:
    """The page, opened anew in light; nothing may be said in its console or asked of a network by the end of a test."""
    chrome.execute_cdp_cmd("Network.enable", {})
    show(chrome, 1440, 900)
    chrome.get(page.as_uri())
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


def test_hover_tells_of_a_point(at):
    point = every(at, "#rd g.series[data-name='plain'] .point")[1]
    centred(at, find(at, "#rd"))
    pointer(at).move_to_element(point).perform()
    tip = find(at, "#tip")
    assert tip.is_displayed() and "plain · λ 0.0067" in tip.text and "0.360 bpp" in tip.text
    assert "5" in tip.text and "plain/1" in tip.text and "26.00 dB" in tip.text
    pointer(at).move_to_element(find(at, "h1")).perform()
    assert not tip.is_displayed()


def test_codecs_are_switched_and_quantities_chosen(at):
    assert set(series(at)) == {"plain", ODD, "measured", "JPEG"}
    switch = centred(at, find(at, f'.legend [data-name="{ODD}"]'))
    switch.click()
    assert ODD not in series(at) and find(at, f'.legend [data-name="{ODD}"]').get_attribute("aria-checked") == "false"
    assert ODD not in find(at, "#bd").text
    find(at, f'.legend [data-name="{ODD}"]').click()
    assert ODD in series(at) and ODD in find(at, "#bd").text
    centred(at, find(at, "[data-quantity='lpips']")).click()
    assert set(series(at)) == {"plain", ODD} and "LPIPS" in find(at, "#rd").text
    find(at, "#log").click()
    assert "0.2" in find(at, "#rd").text
    choose(at, "#across", "distortion")
    assert "PSNR in dB" in find(at, "#rd").text and "bits per pixel" not in find(at, "#rd").text
    assert "failed: no room <b>left</b>" in find(at, "#legend").text


def test_savings_against_any_anchor(at):
    choose(at, "#anchor", "plain")
    (row,) = [row for row in every(at, "#bd tbody tr") if ODD in row.text]
    assert "−" in row.text and " to " in row.text and "%" in row.text
    choose(at, "#anchor", ODD)
    (row,) = [row for row in every(at, "#bd tbody tr") if row.text.startswith("plain")]
    assert "+" in row.text
    (refused,) = [row for row in every(at, "#bd tbody tr") if row.text.startswith("measured")]
    assert "2 points; expected at least 4" in refused.text
    assert "5 pictures" in find(at, "#bd-note").text and "not seeds" in find(at, "#bd-note").text


def test_without_another_codec_nothing_is_said_of_savings(at, tmp_path):
    for place, lmbda in enumerate(LAMBDAS):
        write_run(tmp_path / "runs" / str(place), "alone", lmbda, made_up("alone", lmbda))
    at.get(write_report([str(tmp_path / "runs")], tmp_path / "out", find_set).page.as_uri())
    told = [one.get_attribute("id") for one in every(at, "main section[id]") if one.is_displayed()]
    assert told == ["rates", "pictures", "compare", "training", "costs", "runs"]
    linked = [one.get_attribute("href").partition("#")[2] for one in every(at, "nav a") if one.is_displayed()]
    assert linked == told
    assert "No other codec here has pictures" in find(at, "#pair-verdict").text


def test_an_anchor_that_stands_alone_says_so(at):
    for name in ("plain", ODD, "measured"):
        centred(at, find(at, f'.legend [data-name="{name}"]')).click()
    assert find(at, "#bd-note").text == "No other codec that is switched on has this quantity here." and not every(at, "#bd *")


def test_the_table_sorts_and_pairs_are_at_equal_rate(at, page):
    choose(at, "#pair-a", "measured")
    choose(at, "#pair-b", "JPEG")
    column = "#rows th[data-key='bpp'] button"
    for direction in (False, True):
        centred(at, find(at, column)).click()
        shown = [float(row.find_elements("css selector", "td")[1].text) for row in every(at, "#rows tbody tr:not(.mean)")]
        assert shown == sorted(shown, reverse=not direction) and len(shown) == len(PICTURES)
    assert find(at, "#rows th[data-key='bpp']").get_attribute("aria-sort") == "ascending"
    for first, second in (("measured", "JPEG"), ("plain", ODD)):
        choose(at, "#pair-a", first)
        choose(at, "#pair-b", second)
        rows, points = at.execute_script(PAIR, first, second)
        for row in rows:
            curve = sorted((bpp[row["place"]], psnr[row["place"]]) for bpp, psnr in points)
            expected = psnr_at_rate(curve, row["bpp"])
            assert row["beside"] == (None if expected is None else pytest.approx(expected, abs=1e-4))
    assert f"plain is better than {ODD} on 0 of 5 pictures" in find(at, "#pair-verdict").text
    pointer(at).move_to_element(centred(at, every(at, ".lollipop rect")[0])).perform()
    assert "difference" in find(at, "#tip").text


def test_pictures_of_one_name_and_other_pixels_are_not_compared(at, tmp_path):
    """As of two folders of pictures that a set's name does not tell apart."""
    results_of(tmp_path / "a", "one", 0.0, {k: {"picture_sha256": sha} for k, sha in enumerate("vwxyz")})
    other = {k: {"picture_sha256": sha} for k, sha in enumerate(["v", "w", "?", None, "z"])}
    results_of(tmp_path / "b", "two", 0.5, other | {2: {"picture_sha256": "?", "width": 999}})
    at.get(write_report([str(tmp_path)], tmp_path / "out", find_set).page.as_uri())
    told = "Not compared: 1 picture of other pixels under the same name."
    assert find(at, "#pair-verdict").text.startswith("one is better than two on 0 of 4 pictures at equal rate")
    assert find(at, "#pair-verdict").text.endswith(told) and "999" not in find(at, "#rows").text
    choose(at, "#pair-a", "two")
    assert "on 4 of 4 pictures" in find(at, "#pair-verdict").text and "999×80" in find(at, "#rows").text


def test_a_mean_is_of_the_pictures_that_have_a_difference(at, tmp_path):
    """And what keeps a picture from having one is told by its reason."""
    results_of(tmp_path / "a", "one", 0.0, {1: {"file_bpp": 9.0}})
    results_of(tmp_path / "b", "two", 0.5, {2: {"name": "another"}, 3: {"psnr": None}})
    at.get(write_report([str(tmp_path)], tmp_path / "out", find_set).page.as_uri())
    told, mean = find(at, "#pair-verdict").text, find(at, "#rows tr.mean").text
    assert "one is better than two on 0 of 2 pictures" in told and "1 picture without figures of two" in told
    assert "1 picture that came back exactly" in told and "1 picture beyond the rates of two" in told
    assert mean.startswith("mean of 5 ") and "28.00 of 2 28.70 of 2 −0.70 of 2" in mean, mean
    results_of(tmp_path / "c", "three", 0.5, {k: {"psnr": None} for k in range(1, 5)} | {0: {"file_bpp": 9.0}})
    at.get(write_report([str(tmp_path / "a"), str(tmp_path / "c")], tmp_path / "out", find_set).page.as_uri())
    told = find(at, "#pair-verdict").text.partition("No picture can be compared: ")[2]
    assert told == "3 pictures that came back exactly, without a PSNR, 2 pictures beyond the rates of three."


def test_the_slider_moves_and_pictures_zoom_together(at):
    handle = centred(at, find(at, ".handle"))
    before = handle.rect["x"]
    pointer(at).click_and_hold(handle).move_by_offset(-120, 0).release().perform()
    assert find(at, ".handle").rect["x"] < before - 80
    assert "inset(0px" in find(at, ".stage .layer").value_of_css_property("clip-path")
    find(at, "#zoom-in").click()
    moved = {image.value_of_css_property("transform") for image in every(at, ".stage img")}
    assert len(moved) == 1 and moved != {"none"} and "matrix(1," not in moved.pop()
    find(at, "#look-mode [data-value='beside']").click()
    images = every(at, ".stage img")
    shown = {at.execute_script("return arguments[0].style.transform", image) for image in images}
    assert len(images) == 3 and len(shown) == 1 and "scale(1.6)" in shown.pop()
    assert all(
        at.execute_script("return arguments[0].decode().then(() => arguments[0].naturalWidth)", image) for image in images
    )


def test_difference_bits_and_latents_are_drawn(at):
    from selenium.webdriver.support.ui import WebDriverWait

    centred(at, find(at, "#look-mode [data-value='difference']")).click()
    WebDriverWait(at, 10).until(lambda chrome: len(every(chrome, "canvas[data-ready]")) == 2)
    assert at.execute_script(BRIGHTEST) > 100
    find(at, "#look-mode [data-value='bits']").click()
    assert every(at, "canvas.cells") and "bits per latent position" in find(at, "#look").text and "z " in find(at, "#look").text
    find(at, "#look-mode [data-value='latents']").click()
    assert len(every(at, "canvas.latent")) == 3 and "varies most" in find(at, "#look").text


def test_lines_of_a_grid_divide_the_padded_picture(at):
    """Of 321 rows and 481 columns, which SegPIC pads to 384 and 512; and of such a part of a larger picture."""
    whole, part = (at.execute_script(LINES, *place) for place in ((0, 0, 384, 512), (100, 200, 640, 1024)))
    assert whole == [pytest.approx([96, 192, 288], abs=0.01), pytest.approx([128, 256, 384], abs=0.01)]
    assert part == [pytest.approx([120, 280], abs=0.01), pytest.approx([156, 412], abs=0.01)]


def test_the_theme_follows_the_system_and_the_switch(at):
    from selenium.webdriver.support.ui import WebDriverWait

    paper = lambda: find(at, "body").value_of_css_property("background-color")  # noqa: E731
    light = paper()
    find(at, "#theme").click()
    dark = paper()
    assert light != dark
    find(at, "#theme").click()
    assert paper() == light
    show(at, 1440, 900, "dark")
    WebDriverWait(at, 10).until(lambda chrome: paper() == dark)


def test_runs_say_their_commands_and_how_they_differ(at):
    choose(at, "#term", "rate and its target, bpp")
    assert len(every(at, "#log-plot g.series")) == 22  # of eleven runs, each with its target
    assert "failed: no room <b>left</b>" in find(at, "#run-table").text
    centred(at, find(at, "#run-table summary")).click()
    assert "codec train " in find(at, "#run-table").text and "hidden" in find(at, "#run-table").text
    assert "model.lmbda" in find(at, "#differences").text
    told = find(at, "#doctor").text
    assert "quantiles far from the tails" in told and "plain hyperprior λ 0.001: 9.0 logits" in told


def test_what_codecs_cost_is_told(at):
    rows = {row.text.split()[0]: row.text for row in every(at, "#cost-table tbody tr")}
    assert "parameters" in find(at, "#cost-table thead").text and "entropy" in find(at, "#cost-table thead").text
    assert "3.75 M 21.7 21.1" in rows["measured"] and "MiB" in rows["measured"] and rows["JPEG"].endswith("–")


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_nothing_is_wider_than_the_screen(at, width):
    show(at, width, 844)
    at.refresh()
    assert at.execute_script("return document.documentElement.scrollWidth") <= width
    assert at.execute_script(WIDE) == []


def test_what_means_leave_out_is_told_and_what_failed_stands_in_its_cell(at, tmp_path):
    points: list[Point] = []
    for place, lmbda in enumerate(LAMBDAS):
        results = made_up("plain", lmbda)
        (point,) = results.points
        white = [replace(point.images[0], psnr=None), *point.images[1:]]
        rows = [replace(row, estimated_bpp=None) for row in (white if place == 4 else point.images)]
        if place == 1:
            rows[3] = ImageRow(rows[3].name, 64, 64, None, None, failed="too wide")
        points.append(Point({"quality": place}, rows))
        results.write(tmp_path / "in" / f"plain{place}")
    Results("Other", "", "scenes", points, {"psnr": "infinite in 1 rows"}).write(tmp_path / "in" / "other")
    at.get(write_report([str(tmp_path / "in")], tmp_path / "out", find_set).page.as_uri())
    note = find(at, "#rd-note").text
    assert "Of measured codecs PSNR and its rate are over 4 of 5 pictures: scene0 came back exactly somewhere." in note
    centred(at, find(at, "#rd-note summary")).click()
    assert "PSNR of Other: infinite in 1 rows" in find(at, "#rd-note").text
    assert "quality 1: no mean, 1 of the pictures failed: too wide" in find(at, "#legend").text
    assert len(every(at, "#rd g.series[data-name='Other'] .point")) == 4
    choose(at, "#pair-a", "Other")
    choose(at, "#pair-point", "quality 1 · – bpp")
    assert "too wide" in find(at, "#rows").text
    centred(at, find(at, "[data-quantity='lpips']")).click()
    assert "Of measured codecs" not in find(at, "#rd-note").text and not find(at, "#across").is_displayed()


def test_an_estimate_below_zero_is_drawn_and_other_networks_are_named(at, tmp_path):
    for place, lmbda in enumerate(LAMBDAS):
        results = made_up("plain", lmbda)
        points = [replace(results.points[0], of_set={"kid": 0.002 - 0.001 * place})]
        replace(results, points=points, measured_with={"kid": "mine.pt"}).write(tmp_path / "in" / str(place))
    at.get(write_report([str(tmp_path / "in")], tmp_path / "out", find_set).page.as_uri())
    assert "mine.pt" not in find(at, "#legend").text
    centred(at, find(at, "[data-quantity='kid']")).click()
    assert "KID by mine.pt, not the network of published curves" in find(at, "#legend").text
    axis = float(find(at, "#rd line.axis").get_attribute("y1"))
    places = [point.get_attribute("transform").split()[1].partition(")")[0] for point in every(at, "#rd path.point")]
    assert len(places) == len(LAMBDAS) and all(float(y) < axis for y in places)
