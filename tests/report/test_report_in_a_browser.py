"""The page of a report in a real browser: what can be clicked does what it says, nothing fails, and no network is asked."""

from pathlib import Path
from typing import Any

import pytest
from conftest import one_thread
from in_chromium import centred, choose, every, find, pointer, series, show
from made_up_runs import PICTURES, find_set, write_runs

from codec.evaluation.results import psnr_at_rate
from codec.report.of_sources import write_report

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
pytest_plugins = ["chromium"]
ODD = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of made-up runs, JPEG and the shipped codec's files."""
    root = tmp_path_factory.mktemp("runs")
    with one_thread():
        write_runs(root)
        return write_report([str(root), str(root / "files")], root / "out", find_set).page


@pytest.fixture
def at(browser, page) -> Any:
    """The browser, with the page opened anew."""
    browser.get(page.as_uri())
    return browser


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
