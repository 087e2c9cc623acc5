"""What a codec saves is said of the same pictures on both sides, or not at all."""

from dataclasses import replace

import pytest
from made_up_runs import LAMBDAS, made_up

from codec.evaluation.results import ImageRow, SamePictures
from codec.report.curves import Curve
from codec.report.points import OF_PICTURES, measured_point, same_pictures_of
from codec.report.savings import Saving, saving, savings

RATES = LAMBDAS


def curve(name: str, gain: float = 0.0, **changed: object) -> Curve:
    """made_up's five rates; changed: fields of the row of its first picture at every rate."""
    points = []
    for lmbda in RATES:
        (point,) = made_up(name, lmbda, gain).points
        point = replace(point, images=[replace(point.images[0], **changed), *point.images[1:]])  # type: ignore[arg-type]
        points.append(measured_point(point, same_pictures_of([point])))
    return Curve(name, name, "scenes", "trained", "", points)


def without(one: Curve, place: int) -> Curve:
    """The curve on all pictures but that one."""
    points = []
    for point in one.points:
        rows = [row for k, row in enumerate(point.rows) if k != place]
        points.append(measured_point(left := replace_rows(rows), same_pictures_of([left])))
    return replace(one, points=points)


def replace_rows(rows: list[ImageRow]):
    (point,) = made_up("", RATES[0]).points
    return replace(point, images=rows)


def same(one: Saving, other: Saving) -> None:
    assert one.rate is not None and other.rate is not None
    assert one.rate.percent == pytest.approx(other.rate.percent) and one.interval == other.interval


@pytest.mark.parametrize(("quantity", "field"), [("ms_ssim_db", "ms_ssim"), ("lpips", "lpips"), ("psnr", "psnr")])
def test_a_picture_that_lacks_a_quantity_counts_for_neither_codec(quantity, field):
    """As one that is too small for MS-SSIM, or whose LPIPS did not fit into memory: not its rate either."""
    whole, lacking = curve("a"), curve("b", 0.5, **{field: None})
    found = saving(whole, lacking, quantity)
    same(found, saving(without(whole, 0), without(curve("b", 0.5), 0), quantity))
    assert "over 4 of 5 pictures" in found.told and found.interval is not None and found.interval.num_pictures == 4
    assert found.interval.low <= found.rate.percent <= found.interval.high


def test_codecs_with_equal_files_save_nothing_however_many_pictures_have_figures():
    assert saving(curve("a"), curve("b", lpips=None), "lpips").rate.percent == pytest.approx(0)
    assert saving(curve("a"), without(curve("b"), 3), "psnr").rate.percent == pytest.approx(0)


def test_other_pictures_of_one_name_are_not_compared():
    found = saving(curve("a", picture_sha256="1" * 64), curve("b", 0.5, picture_sha256="2" * 64), "psnr")
    assert found.rate is None and found.why == "not the same pictures: two are called scene0"
    assert saving(curve("a", picture_sha256="1" * 64), curve("b", 0.5, picture_sha256="1" * 64), "psnr").rate is not None
    renamed = [replace(p, rows=[replace(row, name=f"{row.name}'") for row in p.rows]) for p in curve("b").points]
    assert "not the same pictures" in saving(curve("a"), replace(curve("b"), points=renamed), "psnr").why


def test_means_of_all_pictures_are_not_compared_with_those_of_some():
    """Published curves have no pictures."""
    published = replace(curve("a"), points=[replace(point, rows=()) for point in curve("a").points])
    assert saving(published, curve("b", 0.5), "lpips").rate is not None
    assert "1 of 5 pictures have no LPIPS" in saving(published, curve("b", 0.5, lpips=None), "lpips").why


def test_one_picture_has_no_interval():
    one, two = (replace(c, points=[replace(p, rows=p.rows[:1]) for p in c.points]) for c in (curve("a"), curve("b", 0.5)))
    found = saving(one, two, "psnr")
    assert found.rate is not None and found.interval is None and "no interval: 1 picture;" in found.told


def test_the_codec_that_falls_is_the_one_that_is_told_of():
    rising, falling = curve("a"), curve("b")
    last = falling.points[-1]
    rows = [replace(row, file_bpp=0.9 * falling.points[-2].rows[k].file_bpp) for k, row in enumerate(last.rows)]
    falling = replace(falling, points=[*falling.points[:-1], replace(last, rows=rows)])
    found = savings([rising, falling], "psnr")
    assert "the codec needs less rate for more quality" in found[0, 1].told
    assert "the anchor needs less rate for more quality" in found[1, 0].told


def test_distances_by_two_networks_are_not_compared():
    one, other = curve("a"), replace(curve("b", 0.5), networks={"lpips": "lpips_vgg"})
    assert saving(one, other, "lpips").why == "LPIPS by lpips_alex and by lpips_vgg: not the same measure"
    assert saving(one, other, "psnr").rate is not None
    assert saving(replace(one, networks=other.networks), other, "lpips").rate is not None


def test_beside_a_published_curve_a_codec_is_over_all_its_pictures():
    """Which has none of its own, though another codec of the set lacks one of them."""
    published = replace(curve("a"), points=[replace(point, rows=()) for point in curve("a").points])
    left = SamePictures(frozenset({"scene4"}), "over 4 of 5 pictures")
    points = [measured_point(made_up("b", lmbda, 0.5).points[0], dict.fromkeys(OF_PICTURES, left)) for lmbda in RATES]
    assert saving(published, replace(curve("b"), points=points), "psnr").rate == saving(published, curve("b", 0.5), "psnr").rate
