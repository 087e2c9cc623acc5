"""What the terminal shows of a measurement: every picture, comparisons at equal rate, what a sweep saves."""

import io
from dataclasses import replace
from pathlib import Path

from made_up_results import PICTURES, jpeg, learned
from rich.console import Console

from codec.evaluation.classical import measure_classical
from codec.evaluation.results import ImageRow, Point, Results, failed_rows
from codec.metrics.published import published_curves
from codec.report.curves import curves_of
from codec.report.sources import Measured, Sources
from codec.report.tables import print_savings, print_table
from data.testsets import TestSet


def shown(ours: Results, others: list[Results], width: int = 80) -> str:
    text = io.StringIO()
    print_table(ours, others, Console(file=text, width=width))
    return text.getvalue()


def test_the_table_has_every_picture_and_the_mean():
    text = shown(learned("ours", 0.0067, 0.3, 28.0), [jpeg()])
    for word in ("wide", "tall", "dot", "even", "mean", "JPEG", "30.50 dB at 0.750 bpp"):
        assert word in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_table_compares_at_equal_rate():
    ladder = [Point({"quality": q}, [ImageRow(p.name, 64, 64, bpp, psnr) for p in PICTURES]) for q, bpp, psnr in (
        (1, 0.5, 20.0), (2, 2.0, 30.0),
    )]  # fmt: skip
    rows = [ImageRow(p.name, 64, 64, 1.0, 24.0) for p in PICTURES]
    text = shown(Results("ours", "", "folder", [Point({}, rows)]), [Results("Other", "", "folder", ladder)])
    assert "24.00 dB at 1.000 bpp; 1.00 dB below Other at equal rate" in text


def test_nothing_is_at_equal_rate_where_no_other_reaches_the_rate():
    ladder = [Point({"quality": 1}, [ImageRow(p.name, 64, 64, 2.0, 30.0) for p in PICTURES])]
    ours = Results("ours", "", "folder", [Point({}, [ImageRow(p.name, 64, 64, 1.0, 24.0) for p in PICTURES])])
    assert shown(ours, [Results("Other", "", "folder", ladder)]).splitlines()[-1] == "24.00 dB at 1.000 bpp"


def test_codecs_are_compared_over_the_pictures_of_which_all_have_psnr():
    """WebP gives the white picture back exactly at its high rate: it counts for neither, and that is said."""

    def row(name: str, bpp: float, psnr: float | None) -> ImageRow:
        return ImageRow(name, 64, 64, bpp, psnr)

    ladder = [
        Point({"quality": q}, [*(row(name, bpp, psnr) for name in "abc"), row("white", 0.01, white)])
        for q, bpp, psnr, white in ((1, 0.5, 20.0, 90.0), (2, 2.0, 30.0, None))
    ]
    other = Results("WebP", "", "folder", ladder)
    ours = Results("ours", "", "folder", [Point({}, [*(row(name, 1.0, 26.0) for name in "abc"), row("white", 0.2, 60.0)])])
    text = shown(ours, [other])
    assert "26.00 dB at 1.000 bpp; 1.00 dB above WebP at equal rate; over 3 of 4 pictures: white came back exactly" in text
    mean = next(line for line in text.splitlines() if "mean of 3" in line).split()
    assert (mean[3], mean[-1]) == ("1.000", "25.00")
    white = replace(ours, points=[Point({}, [row("a", 1.0, 26.0), row("white", 0.2, None)])])
    assert "26.00 dB at 1.000 bpp; over 1 of 2 pictures: white came back exactly somewhere" in shown(white, [])


def test_a_mean_that_some_pictures_lack_is_a_dash_and_a_reason():
    rows = [ImageRow("a", 64, 64, 1.0, 30.0, ms_ssim=0.9, ms_ssim_db=10.0), ImageRow("b", 64, 64, 1.0, 30.0)]
    text = shown(Results("ours", "", "folder", [Point({}, rows)], {"ms_ssim": "some pictures are small"}), [])
    mean = next(line for line in text.splitlines() if line.lstrip().startswith("mean")).split()
    assert mean[:5] == ["mean", "1.000", "-", "30.00", "-"] and "MS-SSIM: some pictures are small" in text


def test_the_table_fits_a_terminal_of_80_columns():
    """Its headings and numbers are whole, beside all four classical codecs; a long name goes on in the next line."""
    row = ImageRow("motorcycle_left_at_noon", 64, 64, 1.0, 30.0, 1.0, 1.0, 1.0, 0.9, 15.0, 0.5, 0.5)
    others = [measure_classical(name, TestSet("photographs", [])) for name in ("jpeg", "webp", "avif", "jpeg2000")]
    text = shown(Results("a codec", "", "photographs", [Point({}, [row])]), others)
    assert "…" not in text and max(len(line) for line in text.splitlines()) <= 80
    for heading in ("picture", "MS-SSIM", "s in, out", "2000", "motorcyc", "0.50 0.50"):
        assert heading in text


def test_codecs_that_find_no_room_are_named_and_no_number_is_cut():
    """All that Pillow has, beside a codec: a wider terminal shows them."""
    row = ImageRow("motorcycle_left_at_noon", 64, 64, 1.0, 30.0, 1.0, 1.0, 1.0, 0.9, 15.0, 0.5, 0.5)
    names = ("jpeg", "webp_slowest", "avif", "avif_default", "jpeg2000", "avif_slowest")
    others = [measure_classical(name, TestSet("photographs", [])) for name in names]
    ours = Results("a codec", "", "photographs", [Point({}, [row])])
    text = shown(ours, others)
    assert "…" not in text and "no room in this terminal for AVIF default, JPEG 2000, AVIF slowest: " in text
    assert max(len(line) for line in text.splitlines() if "no room" not in line) <= 80
    assert "no room" not in shown(ours, others, width=120) and "30.00" in text


def test_a_picture_that_a_codec_refused_is_a_dash_and_a_reason():
    refused = [ImageRow(p.name, 64, 64, None, None, failed="too wide [for it]") for p in PICTURES[:1]]
    ladder = [Point({"q": q}, refused + [ImageRow(p.name, 64, 64, q, 20.0 + q) for p in PICTURES[1:]]) for q in (0.5, 2.0)]
    rows = [ImageRow(p.name, 64, 64, 1.0, 24.0) for p in PICTURES]
    other = Results("Other", "", "folder", ladder, failed_rows(ladder))
    text = shown(Results("ours", "", "folder", [Point({}, rows)]), [other])
    assert "Other: 2 rows failed, wide at 0.5 first: too wide [for it]" in text and "24.00 dB at 1.000 bpp\n" in text.replace(
        " at equal rate", ""
    )
    lines = {line.split()[0]: line.split()[-1] for line in text.splitlines() if line.strip()}
    assert (lines["wide"], lines["even"], lines["mean"]) == ("-", "21.25", "-")


def test_the_measures_that_were_asked_for_are_shown():
    point = learned("ours", 0.0067, 0.3, 28.0).points[0]
    rows = [replace(row, lpips=0.125) for row in point.images]
    text = shown(
        Results(
            "ours", "", "folder", [Point({}, rows, {"num_patches": 2500, "fid": 4.1974})], {"niqe": "NIQE needs pyiqa"},
            {"lpips": "lpips_alex", "fid": "inception"},
        ), [jpeg()],
    )  # fmt: skip
    assert "0.1250" in text and "LPIPS 0.125, by lpips_alex" in text and "NIQE: NIQE needs pyiqa" in text
    assert "FID 4.197 over 2,500 patches, by inception" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_beyond_the_ladder_nothing_is_claimed():
    text = shown(learned("ours", None, 40.0, 50.0), [jpeg()])
    assert "above" not in text and "below" not in text


def savings_of(*measured: Results) -> str:
    """What is printed of results that no run has."""
    text = io.StringIO()
    found = curves_of(Sources(measured=[Measured(one, Path(f"{k}.json")) for k, one in enumerate(measured)]), [])
    print_savings(found, Console(file=text, width=200))
    return text.getvalue()


def test_a_sweep_says_what_it_saves_against_each_curve():
    """Files that are a tenth smaller than the published ones save a tenth; three rates are too few to say."""
    curve = published_curves("kodak")["Ballé 2018, scale hyperprior"]
    sweep = [learned("codec", lmbda, 0.9 * bpp / 2.5, psnr - 2.5, "kodak") for lmbda, (bpp, psnr) in enumerate(curve)]
    text = savings_of(*sweep)
    assert "codec: BD-rate -10.0 %, BD-PSNR +0." in text and "against Ballé 2018, scale hyperprior" in text
    text = savings_of(*sweep[:3])
    assert text.count("no BD-rate") == 1  # one reason, one line
    assert "Ballé 2018, scale hyperprior" in text and ": the codec has 3 points" in text


def test_a_sweep_says_how_sure_its_saving_is_against_what_was_measured():
    """A tenth on each picture is a tenth whichever pictures are drawn; a picture without figures somewhere counts nowhere."""
    curve = published_curves("kodak")["Ballé 2018, scale hyperprior"]
    points = [learned("Other", None, bpp, psnr).points[0] for bpp, psnr in curve]
    others = [replace(point, images=[replace(row, estimated_bpp=None) for row in point.images]) for point in points]
    sweep = [learned("codec", lmbda, 0.9 * bpp, psnr) for lmbda, (bpp, psnr) in enumerate(curve)]
    text = savings_of(*sweep, Results("Other", "", "folder", others))
    assert "BD-rate -10.0 % (-10.0 to -10.0 % in 95 % of draws of 4 such pictures), BD-PSNR +0." in text
    last = others[-1]
    exact = [*others[:-1], replace(last, images=[replace(last.images[0], psnr=None), *last.images[1:]])]
    text = savings_of(*sweep, Results("Other", "", "folder", exact))
    assert "BD-rate -10.0 %, BD-PSNR" in text and "over 3 of 4 pictures" in text and "no interval: 3 pictures" in text
