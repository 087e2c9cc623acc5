"""What was published: carried over whole, with its sources, in units that are said, and with the savings that papers claim."""

import json
import math

import bjontegaard
import pytest

from codec.metrics.bd_rate import INTERPOLATIONS, bd_rate
from codec.metrics.published import CURVES, FEW, published, published_curves, published_sets

# BD-rate against VTM-17.0 in percent, cubic and PCHIP: computed from the curves of SegPIC's figure, as read by others than us.
AGAINST_VTM = {
    ("kodak", "SegPIC"): (-8.26, -8.15), ("kodak", "WACNN"): (-3.02, -2.83),
    ("kodak", "BL-S"): (15.55, 15.45), ("kodak", "SegPIC-S"): (3.90, 3.91),
    ("clic-professional-valid", "SegPIC"): (-8.28, -8.29), ("clic-professional-valid", "WACNN"): (-0.01, 0.30),
    ("clic-professional-valid", "BL-S"): (16.65, 16.40), ("clic-professional-valid", "SegPIC-S"): (5.22, 5.19),
}  # fmt: skip


@pytest.mark.parametrize(("dataset", "codec"), AGAINST_VTM)
def test_savings_are_those_of_the_papers(dataset, codec):
    curves = {name: entry.curve() for name, entry in published(dataset).items()}
    for interpolation, percent in zip(("cubic", "pchip"), AGAINST_VTM[dataset, codec], strict=True):
        assert bd_rate(curves["VTM-17.0"], curves[codec], interpolation).percent == pytest.approx(percent, abs=0.15)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dataset", ["kodak", "clic-professional-valid"])
def test_savings_are_those_of_the_package_of_that_name(dataset, interpolation):
    entries = published(dataset)
    for codec in ("SegPIC", "WACNN", "BL-S", "SegPIC-S"):
        anchor, curve = (entries[name].curve() for name in ("VTM-17.0", codec))
        (rate, psnr), (of_codec, its_psnr) = (zip(*points, strict=True) for points in (anchor, curve))
        theirs = bjontegaard.bd_rate(rate, psnr, of_codec, its_psnr, interpolation, require_matching_points=False)
        assert bd_rate(anchor, curve, interpolation).percent == pytest.approx(theirs, abs=0.001)


def test_each_curve_says_where_it_is_from_and_rises():
    assert {"kodak", "clic-professional-valid", "clic2020-test", "div2k-valid"} <= set(published_sets())
    for dataset in published_sets():
        for name, entry in published(dataset).items():
            assert len(entry.source) > 20, name
            for quantity in ("psnr", "ms_ssim_db"):
                values = [value for _, value in entry.curve(quantity)]
                assert values == sorted(values) and all(10 < value < 60 or quantity != "psnr" for value in values), name
            assert all(0 < point["bpp"] < 10 and set(point) - {"bpp"} for point in entry.points)


def test_ms_ssim_is_in_decibels_whatever_the_source_has():
    for name, converted in (("VTM (CompressAI)", True), ("WACNN (MS-SSIM)", False)):
        raw, entry = json.loads((CURVES / "kodak.json").read_text())[name], published("kodak")[name]
        assert entry.converted == converted and 8 < entry.points[0]["ms_ssim_db"] < 15 and "ms_ssim" not in entry.points[0]
        if converted:
            assert 1 - 10 ** (-entry.points[0]["ms_ssim_db"] / 10) == pytest.approx(raw["ms_ssim"][0])
            assert math.isclose(raw["ms_ssim"][0], 0.860608)


def test_few_stand_for_all():
    assert list(published_curves("kodak")) == list(FEW) and len(published("kodak")) > 25
    assert set(published_curves("clic2020-test")) == set(published("clic2020-test"))
    assert not published("photographs") and not published_curves("photographs") and not published("../kodak")
