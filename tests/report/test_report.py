"""Plots and pictures of a measurement: files that open, and say what was measured."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import live_codec
from PIL import Image
from rich.console import Console

from codec.evaluation.classical import measure_classical
from codec.evaluation.results import ImageRow, Point, Results
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import encode
from codec.metrics.published import published_curves
from codec.report.report import WINDOW, print_savings, print_table, write_pictures, write_rate_plot, write_rd_plot
from data.testsets import TestImage


def write_bundle(path: Path) -> Path:
    config = {"experiment_name": "small", "model": {"name": "mean_scale", "lmbda": 0.0067}, "steps": 0}
    save_bundle(path, live_codec("mean_scale"), {"config": config}, half=True)
    return path


def smooth(height: int, width: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(height))
    return (torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].clamp(0, 1) * 255).byte()


PICTURES = [
    TestImage(name, lambda height=height, width=width: smooth(height, width))
    for name, height, width in (("wide", 60, 400), ("tall", 350, 50), ("dot", 1, 1), ("even", 64, 64))
]


def learned(name: str, lmbda: float | None, bpp: float, psnr: float, dataset: str = "folder") -> Results:
    rows = [ImageRow(p.name, 64, 64, bpp * k, psnr + k, estimated_bpp=bpp) for k, p in enumerate(PICTURES, start=1)]
    return Results(name, "made up", dataset, [Point({} if lmbda is None else {"lmbda": lmbda}, rows)])


@pytest.fixture(scope="module")
def jpeg() -> Results:
    return measure_classical("jpeg", PICTURES, "folder")


def shown(ours: Results, others: list[Results], width: int = 80) -> str:
    text = io.StringIO()
    print_table(ours, others, Console(file=text, width=width))
    return text.getvalue()


def test_the_table_has_every_picture_and_the_mean(jpeg):
    text = shown(learned("ours", 0.0067, 0.3, 28.0), [jpeg])
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
    others = [measure_classical(name, [], "photographs") for name in ("jpeg", "webp", "avif", "jpeg2000")]
    text = shown(Results("a codec", "", "photographs", [Point({}, [row])]), others)
    assert "…" not in text and max(len(line) for line in text.splitlines()) <= 80
    for heading in ("picture", "MS-SSIM", "s in, out", "2000", "motorcyc", "0.50 0.50"):
        assert heading in text


def test_the_measures_that_were_asked_for_are_shown(jpeg):
    point = learned("ours", 0.0067, 0.3, 28.0).points[0]
    rows = [replace(row, lpips=0.125) for row in point.images]
    text = shown(
        Results(
            "ours", "", "folder", [Point({}, rows, {"num_patches": 2500, "fid": 4.1974})], {"niqe": "NIQE needs pyiqa"},
            {"lpips": "lpips_alex", "fid": "inception"},
        ), [jpeg],
    )  # fmt: skip
    assert "0.1250" in text and "LPIPS 0.125, by lpips_alex" in text and "NIQE: NIQE needs pyiqa" in text
    assert "FID 4.197 over 2,500 patches, by inception" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_beyond_the_ladder_nothing_is_claimed(jpeg):
    text = shown(learned("ours", None, 40.0, 50.0), [jpeg])
    assert "above" not in text and "below" not in text


@pytest.mark.parametrize("dataset", ["folder", "a set [of mine]"])
def test_the_plot_opens(jpeg, tmp_path, dataset):
    ours = [learned("sweep", lmbda, bpp, q, dataset) for lmbda, bpp, q in ((0.0018, 0.1, 26.0), (0.0067, 0.2, 28.0))]
    path = tmp_path / "deep" / "rd.png"
    write_rd_plot([*ours, learned("imported", None, 0.15, 27.0, dataset)], [jpeg], path)
    assert min(Image.open(path).size) > 500
    write_rd_plot(ours, [], path)
    assert min(Image.open(path).size) > 500


def test_codecs_of_one_plot_differ_in_color(jpeg, tmp_path):
    """Eight codecs, two of them at two seeds."""
    write_rd_plot([learned("a", 0.01, 0.2, 26.0)], [jpeg], tmp_path / "one.png")
    seeds = [learned(name, 0.01, bpp, 26.0) for name in "ab" for bpp in (0.3, 0.4)]
    write_rd_plot(seeds + [learned(name, 0.01, 0.5, 27.0) for name in "cdefgh"], [jpeg], tmp_path / "many.png")
    one, many = (set(Image.open(tmp_path / f"{name}.png").convert("RGB").get_flattened_data()) for name in ("one", "many"))
    purple = (148, 103, 189)
    assert purple in many - one


@pytest.mark.parametrize("num", [1, 40])
def test_the_plot_of_a_steered_training_opens(num, tmp_path):
    lines = [f"{10 * k + 10},{1 / (1 + k)},{0.2 if k < 20 else 0.14}" for k in range(num)]
    log = tmp_path / "metrics.csv"
    log.write_text("\n".join(["step,train/quantized_bpp,train/target_bpp", *lines, f"{10 * num},,", ""]))
    write_rate_plot(log, tmp_path / "deep" / "rate.png")
    assert Image.open(tmp_path / "deep" / "rate.png").width == 1080


@pytest.fixture(scope="module")
def coded(tmp_path_factory) -> tuple[Path, Path]:
    """A bundle, and the folder of the .lic files that it wrote."""
    folder = tmp_path_factory.mktemp("coded")
    path = write_bundle(folder / "codec.safetensors")
    bundle = load_bundle(path)
    for picture in PICTURES:
        (folder / f"{picture.name}.lic").write_bytes(encode(bundle, picture.load()).file)
    return path, folder


def test_the_sheet_shows_originals_as_they_are(coded, tmp_path):
    path, files = coded
    ours = learned("ours", None, 0.3, 28.0)  # quality rises with the place: wide worst, even best
    write_pictures(load_bundle(path), PICTURES, ours, files, tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png").convert("RGB")
    assert sheet.width >= 3 * WINDOW
    part = torch.frombuffer(bytearray(sheet.crop((8, 32, 8 + WINDOW, 32 + 60)).tobytes()), dtype=torch.uint8)
    part = part.reshape(60, WINDOW, 3).permute(2, 0, 1)
    original = smooth(60, 400)
    assert any(torch.equal(part, original[:, :, left : left + WINDOW]) for left in range(400 - WINDOW + 1))


def test_a_sweep_says_what_it_saves_against_each_curve(tmp_path):
    """Files that are a tenth smaller than the published ones save a tenth; three rates are too few to say."""
    curve = published_curves("kodak")["Ballé 2018, scale hyperprior"]
    sweep = [learned("codec", lmbda, 0.9 * bpp / 2.5, psnr - 2.5, "kodak") for lmbda, (bpp, psnr) in enumerate(curve)]
    text = io.StringIO()
    print_savings(sweep, [], Console(file=text, width=200))
    assert "codec: BD-rate -10.0 % against Ballé 2018, scale hyperprior" in text.getvalue()
    print_savings(sweep[:3], [], Console(file=text, width=200))
    assert text.getvalue().count("no BD-rate") == 1  # one reason, one line
    assert "Ballé 2018, scale hyperprior" in text.getvalue() and ": the codec has 3 points" in text.getvalue()
    write_rd_plot(sweep, [], tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").width == 1080
