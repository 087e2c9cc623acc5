"""`codec report`: what it finds, what it makes of it, and that its page holds everything and no secret."""

import base64
import json
import math
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ALL_NAMES, REPOSITORY, one_thread, picture
from made_up_runs import LAMBDAS, PICTURES, SET, find_set, jpeg, made_up, write_run, write_runs
from PIL import Image

from codec.cli import main
from codec.files.bundle import load_bundle
from codec.interface import PictureCodec
from codec.metrics.bd_rate import bd_rate
from codec.metrics.published import published
from codec.report.curves import curves_of
from codec.report.latents import bit_map, main_channel
from codec.report.of_sources import write_report
from codec.report.papers import Table, as_latex, as_markdown
from codec.report.points import CurvePoint
from codec.report.runs_of import command_of, read_run
from codec.report.savings import savings
from codec.report.sources import read_sources
from codec.report.style import styles_of
from codec.runs.folder import RunFolder
from codec.types import UserError
from data.testsets import TestSet


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    with one_thread():
        return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def report(runs) -> Path:
    with one_thread():
        written = write_report([str(runs), str(runs / "files")], runs.parent / "out", find_set)
    assert written.page == runs.parent / "out" / "index.html"
    assert all(": no bundle of " in line for line in written.left_out)  # of the codecs that nobody trained
    return written.page.parent


def data_of(page: Path) -> dict:
    text = page.read_text()
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def curves(*words: object) -> dict:
    sources = read_sources([str(word) for word in words])
    return {curve.name: curve for curve in curves_of(sources, [read_run(run) for run in sources.runs])}


def test_runs_of_one_name_are_a_curve_and_what_is_missing_is_told(runs):
    found = curves(runs)
    assert [point.label for point in found["plain"].points] == [f"λ {lmbda:g}" for lmbda in LAMBDAS]
    assert found["plain"].missing == ["λ 0.001: failed: no room <b>left</b>"]
    assert found["JPEG"].kind == "classical" and len(found["JPEG"].points) == len(jpeg().points)


def test_runs_of_one_setting_are_told_apart_by_what_differs(tmp_path):
    for N in (8, 16):
        for lmbda in LAMBDAS[:2]:
            write_run(tmp_path / f"{N} {lmbda}", "plain", lmbda, made_up("plain hyperprior", lmbda, N), N=N)
    found = curves(tmp_path)
    assert set(found) == {"plain hyperprior N=8", "plain hyperprior N=16"} or set(found) == {"plain N=8", "plain N=16"}
    assert all(len(curve.points) == 2 for curve in found.values())


def test_a_run_that_is_not_finished_is_an_estimate_where_it_validates_on_the_set(tmp_path):
    run = write_run(tmp_path / "run", "plain", 0.01, None, "stopped")
    config = (run / "config.yaml").read_text().replace("data.testsets.folder", "data.testsets.kodak")
    (run / "config.yaml").write_text(config)
    (run / "metrics.csv").write_text("step,val/bpp,val/psnr\n50,0.3,27.0\n100,0.25,27.5\n")
    curve = curves(tmp_path)["plain"]
    assert curve.dataset == "kodak" and curve.missing and curve.of("psnr") == []
    assert curve.points[0].values == {"bpp": 0.25, "psnr": 27.5} and "stopped at step 100 of 100" in curve.points[0].told


def test_a_run_of_several_rates_that_is_not_finished_is_a_curve_of_its_levels(tmp_path):
    """Means over levels lie on no curve; beside runs of one rate it is a curve alone."""
    write_run(tmp_path / "one", "plain", 0.0067, made_up("plain hyperprior", 0.0067))
    run = write_run(tmp_path / "several", "plain", 0.0067, None, "stopped")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["levels"] = {"count": 3, "lowest": 0.001, "highest": 0.1}
    config["data"]["val"] = config["test"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    columns = [f"val/{name}{level}" for level in ("", "_level_0", "_level_2") for name in ("bpp", "psnr")]
    (run / "metrics.csv").write_text(f"step,{','.join(columns)}\n100,0.5,29,0.2,26,0.8,32\n110,,,,,,\n")
    (curve,) = (curve for curve in curves(tmp_path).values() if "levels=several" in curve.name)
    assert [(point.setting, point.values) for point in curve.points] == [
        ({"level": 0}, {"bpp": 0.2, "psnr": 26.0}), ({"level": 2}, {"bpp": 0.8, "psnr": 32.0}),
    ]  # fmt: skip
    assert curve.missing == ["level several: stopped at step 100 of 100"]


def test_a_run_that_was_stopped_after_it_was_measured_is_one_point(tmp_path):
    run = write_run(tmp_path / "run", "plain", 0.0067, made_up("plain hyperprior", 0.0067), "stopped")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["val"] = config["test"]
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.csv").write_text("step,val/bpp,val/psnr\n100,0.25,27.5\n")
    curve = curves(tmp_path)["plain"]
    assert [point.told for point in curve.points] == [""] and curve.missing == []


def test_a_set_of_an_archive_has_its_own_name(tmp_path):
    run = write_run(tmp_path / "run", "plain", 0.01, None, "stopped")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["test"] = {"_target_": "data.testsets.archived", "name": "tecnick", "root": "datasets"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert curves(tmp_path)["plain"].dataset == "tecnick"


def test_compressais_layout_and_published_names_are_sources(tmp_path):
    theirs = {"bpp": [0.1, 0.2], "psnr-rgb": [27.0, 29.0], "ms-ssim-rgb": [0.9, 0.95]}
    (tmp_path / "kodak").mkdir()
    file = tmp_path / "kodak" / "theirs.json"
    file.write_text(json.dumps({"name": "theirs", "description": "d", "results": theirs}))
    found = curves(file, "WACNN")
    assert found["theirs"].dataset == "kodak"
    assert found["theirs"].points[0].values["ms_ssim_db"] == pytest.approx(10.0)
    shown = {name for name, curve in found.items() if curve.shown}
    assert shown == {"theirs", "WACNN, published"} and len(found) == len(published("kodak")) + 1
    file.write_text(json.dumps({"name": "theirs", "results": theirs | {"ms-ssim-rgb": [10.0, 13.0]}}))  # in dB already
    assert curves(file)["theirs"].points[1].values["ms_ssim_db"] == 13.0


@pytest.mark.parametrize(("word", "told"), [
    ("WACN", "did you mean WACNN"), ("nowhere/at/all", "no file or folder"), ("empty", "no run and no results"),
    ("broken.json", "holds no JSON"), ("other.json", "holds no results"),
])  # fmt: skip
def test_what_names_nothing_is_refused_in_one_line(word, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"name": 3}')
    assert main(["report", word, "--out", "out"]) == 2
    message = capsys.readouterr().err
    assert told in message and message.count("\n") == 1 and not (tmp_path / "out").exists()


def test_no_two_codecs_look_alike():
    found = curves("shipped", "SegPIC")
    styles = styles_of(list(found.values()))
    assert len({(style.colour, style.marker) for style in styles.values()}) == len(styles) > 30


def test_the_savings_are_those_of_bd_rate_both_ways(runs):
    found = list(curves(runs).values())
    names = [curve.name for curve in found]
    odd, plain = next(k for k, name in enumerate(names) if "script" in name), names.index("plain")
    for quantity in ("psnr", "ms_ssim_db", "lpips"):
        table = savings(found, quantity)
        saved = table[plain, odd]
        assert saved.rate.percent == pytest.approx(bd_rate(found[plain].of(quantity), found[odd].of(quantity)).percent)
        assert table[odd, plain].rate.percent == pytest.approx(
            bd_rate(found[odd].of(quantity), found[plain].of(quantity)).percent
        )
        assert saved.interval.low <= saved.rate.percent <= saved.interval.high or saved.interval is None
        assert saved.gain == pytest.approx(-table[odd, plain].gain)
    assert savings(found, "psnr")[plain, odd].interval.num_pictures == len(PICTURES)


def test_three_rates_are_refused_with_the_reason(tmp_path):
    for lmbda in LAMBDAS[:3]:
        jpeg().write(
            write_run(tmp_path / str(lmbda), "few", lmbda, made_up("few hyperprior", lmbda)) / "results" / "scenes_jpeg"
        )
    found = list(curves(tmp_path).values())
    assert "3 points" in savings(found, "psnr")[1, 0].why and "the codec has 3 points" in savings(found, "psnr")[1, 0].why
    assert "the anchor has 3 points" in savings(found, "psnr")[0, 1].why


def test_the_page_is_one_file_without_the_network(report):
    text = (report / "index.html").read_text()
    assert len(text) < 15_000_000 and "default-src 'none'" in text
    assert "https://" not in text.replace("https://www.w3.org", "") and 'src="http' not in text and "@import" not in text


def test_names_are_text_wherever_they_stand(report):
    text = (report / "index.html").read_text()
    assert "<script>alert" not in text and "</script>alert" not in text and text.count("<script") == 2
    assert any(curve["name"] == "<script>alert(1)</script>" for curve in data_of(report / "index.html")["sets"][0]["curves"])


def test_no_secret_reaches_the_page(runs, report, monkeypatch, tmp_path):
    """Neither one that stands in a configuration or a command, nor one that an interpolation would fetch."""
    monkeypatch.setenv("WANDB_API_KEY", "of-the-environment")
    with one_thread():
        written = write_report([str(runs / "plain")], tmp_path, find_set)
    for page in (report / "index.html", written.page):
        text = page.read_text()
        assert "a-secret" not in text and "of-the-environment" not in text and "logger.wandb.api_key=hidden" in text
    run = read_run(RunFolder(runs / "plain" / "0"))
    assert run.values["data.root"] == "${oc.env:HOME}" and "a-secret" not in command_of(run)


def test_the_page_has_points_pictures_logs_and_differences(report):
    data = data_of(report / "index.html")
    (scenes,) = data["sets"]
    by_name = {curve["name"]: curve for curve in scenes["curves"]}
    assert scenes["pictures"] == [picture.name for picture in PICTURES] and set(scenes["savings"]) == {
        "psnr",
        "ms_ssim_db",
        "lpips",
    }
    point = by_name["plain"]["points"][1]
    assert point["rows"]["psnr"] == [row.psnr for row in made_up("", LAMBDAS[1]).points[0].images] and point["pictures"] == 5
    assert point["values"]["ms_ssim_db"] == pytest.approx(13.0103) and data["runs"][point["run"]]["folder"].endswith("plain/1")
    assert data["runs"][0]["log"]["step"] == list(range(10, 101, 10))  # the line that was cut is left out
    assert "model.lmbda" in data["differences"] and not any("logger" in key for key in data["differences"])
    (one, *_) = data["comparison"]["scenes"]
    assert {shown["codec"] for shown in one["shown"]} == {"original", "measured", "JPEG"}
    assert (
        all(shown["data"].startswith("data:image/avif;base64,") for shown in one["shown"])
        and data["comparison"]["fidelity"] > 35
    )
    shares = one["bits"][0]["shares"]
    assert shares["y"] + shares["z"] == pytest.approx(1)
    assert 0 < by_name["measured"]["points"][0]["values"]["side"] < 60 and "side" not in by_name["JPEG"]["points"][0]["values"]


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_codec_has_a_map_of_its_bits(live_bundles, name, on_one_thread):
    """Of a part of a picture whose sides no stride divides; SegPIC with its grid."""
    bundle, x = load_bundle(live_bundles[name]), picture(70, 100)
    found = PictureCodec(bundle).analyse(x)
    of_part, whole = (bit_map(name, bundle, found, x, window) for window in ((20, 10, 50, 60), (0, 0, 100, 70)))
    assert len(base64.b64decode(whole.map)) == whole.rows * whole.columns and sum(whole.shares.values()) == pytest.approx(1)
    assert of_part.left == -0.4 and of_part.width == 2 * whole.width and whole.width >= 1
    assert whole.grid == of_part.grid == ((4, 4) if name == "segpic" else None)
    if name != "factorized":
        early = replace(found, scales={"y": torch.full_like(found.scales["y"], -1.0)})  # coded by the first table
        channel = main_channel(name, early)
        assert all(math.isfinite(most) for most in channel.most.values()) and channel.most["σ"] == pytest.approx(0.11)
        assert {len(base64.b64decode(map)) for map in channel.maps.values()} == {channel.rows * channel.columns}


def test_pictures_that_are_gone_are_told(runs, tmp_path):
    def nowhere(name: str) -> TestSet:
        raise UserError(f"no pictures of {name}")

    written = write_report([str(runs / "plain")], tmp_path, nowhere)
    assert written.left_out == ["the pictures of scenes: no pictures of scenes"] and written.page.exists()


def test_figures_open_in_three_formats(report):
    for quantity in ("psnr", "ms_ssim_db", "lpips", "lpips_over_psnr"):
        stem = report / "figures" / f"{SET.name}_{quantity}"
        assert Image.open(stem.with_suffix(".png")).width > 1000
        svg = stem.with_suffix(".svg").read_text()
        assert svg.startswith("<?xml") and "<script>alert" not in svg and "&lt;script&gt;" in svg
        assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_a_rate_target_is_met_or_missed():
    def told(bpp: float, **setting: float) -> str:
        return CurvePoint("", {"bpp": bpp}, setting=setting).of_target

    assert told(0.147, target_bpp=0.14) == "target 0.14 bpp met, +5 %"
    assert told(0.28, target_bpp=0.14) == "target 0.14 bpp missed, +100 %"
    assert told(0.07, target_bpp=0.14) == "target 0.14 bpp missed, −50 %"
    assert told(0.14, lmbda=0.01) == ""


def test_tables_are_markdown_and_latex(report):
    text = (report / "tables" / f"{SET.name}_savings.tex").read_text()
    assert r"\textless{}script\textgreater{}" in text and text.count(r"\begin{tabular}") == text.count(r"\bottomrule") >= 1
    assert "| plain |" in (report / "tables" / f"{SET.name}_points.md").read_text()
    odd = Table("50 % of a_b & c", ["x|y", "−"], [["<b>", "1\\2"]])
    assert r"x\|y" in as_markdown(odd) and "&lt;b>" in as_markdown(odd)
    assert r"50 \% of a\_b \& c" in as_latex(odd) and r"1\textbackslash{}2" in as_latex(odd)
    text = as_latex(Table("c", ["codec"], [["[ours]"], ["*best"]]))  # which \\ would take as [length] and as \\*
    assert r"    {[}ours] \\" in text and r"    {*}best \\" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_latex_compiles_as_pasted(report, tmp_path):
    tables = "".join(path.read_text() for path in sorted((report / "tables").glob("*.tex")))
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{tables}\end{{document}}"
    (tmp_path / "paper.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "paper.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_a_wheel_holds_the_page(tmp_path):
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv")
    done = subprocess.run([uv, "build", "--wheel", "--offline", "-o", tmp_path, REPOSITORY], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no wheel can be built here: {done.stderr[-200:]}")
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "codec/report/page/page.html" in names and "codec/report/page/compare.js" in names
    assert "codec/metrics/curves/kodak.json" in names
