"""Results: means come from rows, JSON comes back whole, CompressAI's plots read it."""

import csv
import json

import pytest

from codec.evaluation.results import ImageRow, Point, Results, equal_pictures, over_same_pictures, psnr_at_rate
from codec.types import UserError


def row(name: str, bpp: float, psnr: float | None, **more: float) -> ImageRow:
    return ImageRow(name, 64, 48, bpp, psnr, **more)


@pytest.fixture
def ladder() -> Results:
    """Two settings on two pictures, the higher rate first."""
    high = Point({"quality": 60}, [row("a", 1.0, 36.0, ms_ssim=0.99, encode_seconds=0.5), row("b/c", 3.0, 38.0, ms_ssim=0.99)])
    low = Point(
        {"quality": 10},
        [row("a", 0.25, 28.0, ms_ssim=0.9, encode_seconds=0.25), row("b/c", 0.5, 30.0, ms_ssim=0.9, lpips=0.25)],
        {"num_patches": 40, "fid": 5.5},
    )  # fmt: skip
    return Results("JPEG", "made up", "two", [high, low], {"ms_ssim": "b/c is small"}, {"fid": "inception"})


def test_means_are_of_all_pictures_or_of_those_that_are_named(ladder):
    """What one picture lacks has no mean: that of the others would stand beside the rate of all."""
    high, low = ladder.points
    assert high.mean("file_bpp") == 2 and low.means()["psnr"] == 29
    assert high.mean("table_bpp") is None and low.mean("lpips") is None and high.mean("encode_seconds") is None
    assert low.without({"a"}).mean("lpips") == 0.25 and low.without({"a"}).mean("file_bpp") == 0.5
    assert low.without({"a"}).of_set == low.of_set


def test_a_picture_that_came_back_exactly_counts_at_no_rate_of_any_codec():
    """Not only where it did: the quality of a curve would fall as its rate grows, and rate and quality be of other pictures."""

    def codec(name: str, *whites: tuple[float, float | None]) -> Results:
        photographs = ((0.5, 27.0), (1.0, 30.0), (2.0, 34.0))
        points = [
            Point({"q": k}, [row("one", bpp, psnr), row("two", 2 * bpp, psnr - 2), row("white", *white)])
            for k, ((bpp, psnr), white) in enumerate(zip(photographs, whites, strict=True))
        ]
        return Results(name, "", "set", points)

    webp, other = codec("WebP", (0.01, 40.0), (0.01, 90.0), (0.02, None)), codec("other", *[(0.01, 60.0)] * 3)
    same, told = over_same_pictures([other, webp])
    assert [one.curve() for one in same] == [[(0.75, 26.0), (1.5, 29.0), (3.0, 33.0)]] * 2
    assert told == "over 2 of 3 pictures: white came back exactly somewhere"
    document = json.loads(webp.to_json())
    assert document["results"]["bpp"] == [0.75, 1.5, 3.0] and document["results"]["psnr-rgb"] == [26.0, 29.0, 33.0]
    assert document["points"][2]["means"]["psnr"] == 33.0
    lossless = Results("PNG", "", "set", [Point({}, [row(name, 9.0, None) for name in ("one", "two", "white")])])
    same, told = over_same_pictures([other, lossless])
    assert same == [other, lossless] and told == ""  # which has no PSNR at all
    each = [Point({}, [row("one", 1.0, None), row("two", 1.0, 9.0)]), Point({}, [row("one", 0.5, 8.0), row("two", 1.0, None)])]
    low = Point({}, [row("one", 0.25, 7.0), row("two", 0.25, 7.0)])
    same, told = over_same_pictures([Results("odd", "", "set", [low, *each])])
    assert same[0].curve() == [(0.25, 7.0)] and "all 2 pictures came back exactly" in told


def test_curves_are_sorted_by_rate(ladder):
    assert ladder.curve() == [(0.375, 29.0), (2.0, 37.0)]
    assert ladder.image_curve("b/c") == [(0.5, 30.0), (3.0, 38.0)]
    assert ladder.image_curve("nobody") == []


def test_json_comes_back_whole(ladder, tmp_path):
    ladder.write(tmp_path / "deep" / "two")
    assert Results.read(tmp_path / "deep" / "two.json") == ladder


def test_a_dot_in_the_name_stays(ladder, tmp_path):
    ladder.write(tmp_path / "set.v2")
    assert {path.name for path in tmp_path.iterdir()} == {"set.v2.json", "set.v2.csv"}


def test_json_has_the_means_and_no_zero_for_what_is_missing(ladder, tmp_path):
    ladder.write(tmp_path / "two")
    document = json.loads((tmp_path / "two.json").read_text())
    assert document["results"]["bpp"] == [2.0, 0.375]
    assert document["results"]["psnr-rgb"] == [37.0, 29.0]
    assert document["points"][0]["images"][1]["encode_seconds"] is None
    assert document["points"][0]["means"]["payload_bpp"] is None
    assert "decoding_time" not in document["results"]
    assert document["not_computed"] == {"ms_ssim": "b/c is small"}


def test_compressai_plots_read_it(ladder, tmp_path):
    plot = pytest.importorskip("compressai.utils.plot.__main__")
    ladder.write(tmp_path / "two")
    curve = plot.parse_json_file(tmp_path / "two.json", "psnr")
    assert (curve["name"], curve["xs"], curve["ys"]) == ("JPEG", [2.0, 0.375], [37.0, 29.0])
    decibels = plot.parse_json_file(tmp_path / "two.json", "ms-ssim")["ys"]
    assert list(decibels) == pytest.approx([20, 10])


def test_csv_has_a_line_a_row_with_its_setting(ladder, tmp_path):
    ladder.write(tmp_path / "two")
    with (tmp_path / "two.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["quality"], line["name"], float(line["file_bpp"])) for line in lines] == [
        ("60", "a", 1.0), ("60", "b/c", 3.0), ("10", "a", 0.25), ("10", "b/c", 0.5),
    ]  # fmt: skip
    assert lines[1]["encode_seconds"] == ""


@pytest.mark.parametrize(
    "content", ["", "[1, 2", "[]", "{}", '{"points": 3}', '{"name": "x", "results": {"bpp": [1.0], "psnr-rgb": [30.0]}}']
)
def test_another_file_is_one_line(content, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(UserError, match="holds no results"):
        Results.read(path)
    with pytest.raises(UserError, match="holds no results"):
        Results.read(tmp_path / "missing.json")


def test_pictures_that_came_back_exactly_are_counted(ladder):
    assert equal_pictures(ladder.points) == {}
    points = [Point({}, [row("a", 1.0, None), row("b", 1.0, 30.0)])]
    assert equal_pictures(points)["psnr"].startswith("infinite in 1 rows")


def test_quality_at_a_rate_is_exact_on_points_and_log_linear_between():
    curve = [(0.25, 28.0), (0.5, 31.0), (1.0, 33.0)]
    assert [psnr_at_rate(curve, bpp) for bpp, _ in curve] == [28.0, 31.0, 33.0]
    assert psnr_at_rate(curve, (0.25 * 0.5) ** 0.5) == pytest.approx(29.5)
    assert psnr_at_rate(curve, (0.5 * 1.0) ** 0.5) == pytest.approx(32.0)


@pytest.mark.parametrize("bpp", [0.2, 1.1])
def test_nothing_is_said_beyond_the_ladder(bpp):
    assert psnr_at_rate([(0.25, 28.0), (0.5, 31.0), (1.0, 33.0)], bpp) is None
    assert psnr_at_rate([], bpp) is None
