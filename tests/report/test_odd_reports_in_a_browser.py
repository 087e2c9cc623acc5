"""Pages of sources that are odd, in a real browser: what cannot be shown or compared is told, with its reason."""

from dataclasses import replace

from in_chromium import centred, choose, every, find
from made_up_runs import LAMBDAS, find_set, made_up, results_of, write_run

from codec.evaluation.results import ImageRow, Point, Results
from codec.report.of_sources import write_report

pytest_plugins = ["chromium"]


def test_without_another_codec_nothing_is_said_of_savings(browser, tmp_path):
    for place, lmbda in enumerate(LAMBDAS):
        write_run(tmp_path / "runs" / str(place), "alone", lmbda, made_up("alone", lmbda))
    browser.get(write_report([str(tmp_path / "runs")], tmp_path / "out", find_set).page.as_uri())
    told = [one.get_attribute("id") for one in every(browser, "main section[id]") if one.is_displayed()]
    assert told == ["rates", "pictures", "compare", "training", "costs", "runs"]
    linked = [one.get_attribute("href").partition("#")[2] for one in every(browser, "nav a") if one.is_displayed()]
    assert linked == told
    assert "No other codec here has pictures" in find(browser, "#pair-verdict").text


def test_pictures_of_one_name_and_other_pixels_are_not_compared(browser, tmp_path):
    """As of two folders of pictures that a set's name does not tell apart."""
    results_of(tmp_path / "a", "one", 0.0, {k: {"picture_sha256": sha} for k, sha in enumerate("vwxyz")})
    other = {k: {"picture_sha256": sha} for k, sha in enumerate(["v", "w", "?", None, "z"])}
    results_of(tmp_path / "b", "two", 0.5, other | {2: {"picture_sha256": "?", "width": 999}})
    browser.get(write_report([str(tmp_path)], tmp_path / "out", find_set).page.as_uri())
    told = "Not compared: 1 picture of other pixels under the same name."
    assert find(browser, "#pair-verdict").text.startswith("one is better than two on 0 of 4 pictures at equal rate")
    assert find(browser, "#pair-verdict").text.endswith(told) and "999" not in find(browser, "#rows").text
    choose(browser, "#pair-a", "two")
    assert "on 4 of 4 pictures" in find(browser, "#pair-verdict").text and "999×80" in find(browser, "#rows").text


def test_a_mean_is_of_the_pictures_that_have_a_difference(browser, tmp_path):
    """And what keeps a picture from having one is told by its reason."""
    results_of(tmp_path / "a", "one", 0.0, {1: {"file_bpp": 9.0}})
    results_of(tmp_path / "b", "two", 0.5, {2: {"name": "another"}, 3: {"psnr": None}})
    browser.get(write_report([str(tmp_path)], tmp_path / "out", find_set).page.as_uri())
    told, mean = find(browser, "#pair-verdict").text, find(browser, "#rows tr.mean").text
    assert "one is better than two on 0 of 2 pictures" in told and "1 picture without figures of two" in told
    assert "1 picture that came back exactly" in told and "1 picture beyond the rates of two" in told
    assert mean.startswith("mean of 5 ") and "28.00 of 2 28.70 of 2 −0.70 of 2" in mean, mean
    results_of(tmp_path / "c", "three", 0.5, {k: {"psnr": None} for k in range(1, 5)} | {0: {"file_bpp": 9.0}})
    browser.get(write_report([str(tmp_path / "a"), str(tmp_path / "c")], tmp_path / "out", find_set).page.as_uri())
    told = find(browser, "#pair-verdict").text.partition("No picture can be compared: ")[2]
    assert told == "3 pictures that came back exactly, without a PSNR, 2 pictures beyond the rates of three."


def test_what_means_leave_out_is_told_and_what_failed_stands_in_its_cell(browser, tmp_path):
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
    browser.get(write_report([str(tmp_path / "in")], tmp_path / "out", find_set).page.as_uri())
    note = find(browser, "#rd-note").text
    assert "Of measured codecs PSNR and its rate are over 4 of 5 pictures: scene0 came back exactly somewhere." in note
    centred(browser, find(browser, "#rd-note summary")).click()
    assert "PSNR of Other: infinite in 1 rows" in find(browser, "#rd-note").text
    assert "quality 1: no mean, 1 of the pictures failed: too wide" in find(browser, "#legend").text
    assert len(every(browser, "#rd g.series[data-name='Other'] .point")) == 4
    choose(browser, "#pair-a", "Other")
    choose(browser, "#pair-point", "quality 1 · – bpp")
    assert "too wide" in find(browser, "#rows").text
    centred(browser, find(browser, "[data-quantity='lpips']")).click()
    assert "Of measured codecs" not in find(browser, "#rd-note").text and not find(browser, "#across").is_displayed()


def test_an_estimate_below_zero_is_drawn_and_other_networks_are_named(browser, tmp_path):
    for place, lmbda in enumerate(LAMBDAS):
        results = made_up("plain", lmbda)
        points = [replace(results.points[0], of_set={"kid": 0.002 - 0.001 * place})]
        replace(results, points=points, measured_with={"kid": "mine.pt"}).write(tmp_path / "in" / str(place))
    browser.get(write_report([str(tmp_path / "in")], tmp_path / "out", find_set).page.as_uri())
    assert "mine.pt" not in find(browser, "#legend").text
    centred(browser, find(browser, "[data-quantity='kid']")).click()
    assert "KID by mine.pt, not the network of published curves" in find(browser, "#legend").text
    axis = float(find(browser, "#rd line.axis").get_attribute("y1"))
    places = [point.get_attribute("transform").split()[1].partition(")")[0] for point in every(browser, "#rd path.point")]
    assert len(places) == len(LAMBDAS) and all(float(y) < axis for y in places)
