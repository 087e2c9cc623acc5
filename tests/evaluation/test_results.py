"""Results: means come from rows, JSON comes back whole, CompressAI's plots read it."""

import csv
import json

import pytest

from codec.evaluation.results import ImageRow, Point, Results, equal_pictures, psnr_at_rate
from codec.types import UserError


def row(name: str, bpp: float, psnr: float | None, **more: float) -> ImageRow:
    return ImageRow(name, 64, 48, bpp, psnr, **more)


@pytest.fixture
def ladder() -> Results:
    """Two settings on two pictures, the higher rate first."""
    high = Point({"quality": 60}, [row("a", 1.0, 36.0, ms_ssim=0.99, encode_seconds=0.5), row("b/c", 3.0, 38.0)])
    low = Point(
        {"quality": 10}, [row("a", 0.25, 28.0, ms_ssim=0.9, encode_seconds=0.25), row("b/c", 0.5, 30.0, lpips=0.25)],
        {"num_patches": 40, "fid": 5.5},
    )  # fmt: skip
    return Results("JPEG", "made up", "two", [high, low], {"ms_ssim": "b/c is small"}, {"fid": "inception"})


def test_means_are_of_rows_and_leave_missing_values_out(ladder):
    assert ladder.points[0].mean("file_bpp") == 2
    assert ladder.points[0].mean("ms_ssim") == 0.99
    assert ladder.points[0].mean("table_bpp") is None
    assert ladder.points[1].means()["psnr"] == 29


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
    assert document["points"][0]["images"][1]["ms_ssim"] is None
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
    assert lines[1]["ms_ssim"] == ""


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
