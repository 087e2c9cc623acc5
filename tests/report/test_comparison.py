"""The pictures of a report: whose they are, which bundle makes them, and how many a page holds."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from conftest import one_thread, picture
from made_up_runs import LAMBDAS, PICTURES, SET, find_set, jpeg, made_up, of_shipped

from codec.cli import main
from codec.files.bundle import SHIPPED
from codec.report import bundles, comparison
from codec.report.of_sources import Written, write_report
from data.testsets import TestImage, TestSet


def scenes_of(written: Written) -> list[dict]:
    text = written.page.read_text()
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])["comparison"]["scenes"]


def num_bytes(scenes: list[dict]) -> int:
    return sum(len(one["data"]) for scene in scenes for one in scene["shown"])


def showing(pictures: list[TestImage]) -> Callable[[str], TestSet]:
    return lambda name: TestSet(name, pictures)


def other(k: int, height: int, width: int) -> TestImage:
    return TestImage(f"scene{k}", lambda: picture(height, width, 77))


def test_pictures_of_another_folder_are_not_shown_as_the_originals(tmp_path):
    """One of other pixels, one of another size where results say no SHA-256; the third is as it was measured."""
    jpeg().write(tmp_path / "jpeg")
    written = write_report([str(tmp_path / "jpeg.json")], tmp_path / "out", showing([other(k, 80, 80) for k in range(5)]))
    assert scenes_of(written) == []
    (line,) = written.left_out
    pictures, _, told = line.partition(" by ")
    assert told == f"JPEG: {comparison.OTHER}" and set(pictures.split(", ")) < {one.name for one in PICTURES}
    rows = [replace(p, images=[replace(row, picture_sha256=None) for row in p.images]) for p in jpeg().points]
    replace(jpeg(), points=rows).write(tmp_path / "jpeg")
    same_size = [one if k % 2 else other(k, 32, 32) for k, one in enumerate(PICTURES)]
    written = write_report([str(tmp_path / "jpeg.json")], tmp_path / "out", showing(same_size))
    assert {scene["picture"] for scene in scenes_of(written)} <= {"scene1", "scene3"}


def test_a_codec_that_was_measured_on_other_pixels_is_missing_alone(tmp_path):
    jpeg().write(tmp_path / "jpeg")
    for place, lmbda in enumerate(LAMBDAS):
        results = made_up("plain", lmbda)
        point = results.points[0]
        rows = [replace(row, picture_sha256="0" * 64) for row in point.images]
        replace(results, points=[replace(point, images=rows)]).write(tmp_path / str(place))
    written = write_report([str(tmp_path)], tmp_path / "out", find_set)
    assert {tuple(one["codec"] for one in scene["shown"]) for scene in scenes_of(written)} == {("original", "JPEG")}
    assert len(written.left_out) == 1 and written.left_out[0].endswith(f" by plain: {comparison.OTHER}")


def test_results_of_codec_eval_have_the_pictures_of_a_bundle_that_is_given(tmp_path, monkeypatch, capsys):
    """Results lie anywhere; what made them is neither beside a run nor the shipped codec: here, there is none shipped."""
    with one_thread():
        of_shipped(tmp_path / "results" / SET.name).write(tmp_path / "results" / SET.name)
        monkeypatch.setattr(bundles, "SHIPPED", tmp_path / "nothing")
        written = write_report([str(tmp_path / "results")], tmp_path / "out", find_set)
        assert len(written.left_out) == 1 and "say --codec BUNDLE" in written.left_out[0] and scenes_of(written) == []
        written = write_report([str(tmp_path / "results")], tmp_path / "out", find_set, [SHIPPED])
    assert written.left_out == [] and all(scene["bits"] and scene["latents"] for scene in scenes_of(written))
    assert f"--codec {SHIPPED}" in written.page.read_text()
    jpeg().write(tmp_path / "jpeg")
    written = write_report([str(tmp_path / "jpeg.json")], tmp_path / "out", find_set, [SHIPPED])
    assert written.left_out == [f"--codec {SHIPPED}: no results here were written by it"]
    (tmp_path / "none.safetensors").write_text("{}")
    words = ["report", str(tmp_path / "results"), "--out", str(tmp_path / "no"), "--codec", str(SHIPPED)]
    assert main([*words, "--codec", str(tmp_path / "none.safetensors")]) == 2 and not (tmp_path / "no").exists()
    assert "none.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_page_holds_no_more_than_its_budget(tmp_path, monkeypatch, share):
    """As it lies in the page, base64 and all; what does not fit is named."""
    jpeg().write(tmp_path / "one")
    points = [replace(point, setting={"quality": 30 + k}) for k, point in enumerate(jpeg().points)]
    replace(jpeg(), name="WebP", points=points).write(tmp_path / "two")
    whole = scenes_of(write_report([str(tmp_path)], tmp_path / "all", find_set))
    budget = int(share * num_bytes(whole))
    monkeypatch.setattr(comparison, "BUDGET", budget)
    written = write_report([str(tmp_path)], tmp_path / "out", find_set)
    some, full = scenes_of(written), [line for line in written.left_out if line.endswith(comparison.FULL)]
    assert 0 < num_bytes(some) <= budget and full and all(len(scene["shown"]) > 1 for scene in some)
    told = " ".join(full)
    for scene in whole:
        at = f"{scene['picture']} at {scene['rate']:.3f} bpp"
        there = [len(one["shown"]) for one in some if (one["picture"], one["rate"]) == (scene["picture"], scene["rate"])]
        assert (at in told) == (there != [3])
