"""What the terminal shows of a measurement: every picture, comparisons at equal rate, what a sweep saves."""

import io
from dataclasses import replace

from made_up_results import PICTURES, jpeg, learned
from rich.console import Console

from codec.evaluation.classical import measure_classical
from codec.evaluation.results import ImageRow, Point, Results
from codec.metrics.published import published_curves
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


def test_the_table_fits_a_terminal_of_80_columns():
    """Its headings and numbers are whole, beside all four classical codecs; a long name goes on in the next line."""
    row = ImageRow("motorcycle_left_at_noon", 64, 64, 1.0, 30.0, 1.0, 1.0, 1.0, 0.9, 15.0, 0.5, 0.5)
    others = [measure_classical(name, TestSet("photographs", [])) for name in ("jpeg", "webp", "avif", "jpeg2000")]
    text = shown(Results("a codec", "", "photographs", [Point({}, [row])]), others)
    assert "…" not in text and max(len(line) for line in text.splitlines()) <= 80
    for heading in ("picture", "MS-SSIM", "s in, out", "2000", "motorcyc", "0.50 0.50"):
        assert heading in text


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


def test_a_sweep_says_what_it_saves_against_each_curve():
    """Files that are a tenth smaller than the published ones save a tenth; three rates are too few to say."""
    curve = published_curves("kodak")["Ballé 2018, scale hyperprior"]
    sweep = [learned("codec", lmbda, 0.9 * bpp / 2.5, psnr - 2.5, "kodak") for lmbda, (bpp, psnr) in enumerate(curve)]
    text = io.StringIO()
    print_savings(sweep, [], Console(file=text, width=200))
    assert "codec: BD-rate -10.0 % against Ballé 2018, scale hyperprior" in text.getvalue()
    print_savings(sweep[:3], [], Console(file=text, width=200))
    assert text.getvalue().count("no BD-rate") == 1  # one reason, one line
    assert "Ballé 2018, scale hyperprior" in text.getvalue() and ": the codec has 3 points" in text.getvalue()
