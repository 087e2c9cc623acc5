"""Sources as people have them: twice, half, broken, of the same name, not begun. Nothing is mixed up or silently left out."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from made_up_runs import LAMBDAS, find_set, made_up, write_run

from codec.cli import main
from codec.evaluation.results import Results
from codec.report.curves import Curve, curves_of
from codec.report.doctor import diagnose
from codec.report.of_sources import write_report
from codec.report.runs_of import command_of, read_run
from codec.report.sources import read_sources, shipped_bundles
from codec.runs.folder import RunFolder
from codec.runs.sweep_folder import SweepFolder


def curves(*words: object) -> dict[str, Curve]:
    sources = read_sources([str(word) for word in words])
    return {curve.name: curve for curve in curves_of(sources, [read_run(run) for run in sources.runs])}


def write_results(folder: Path, name: str = "plain", gain: float = 0.0) -> Path:
    """Results of five rates that no run has, a file each."""
    folder.mkdir(parents=True)
    for place, lmbda in enumerate(LAMBDAS):
        made_up(name, lmbda, gain).write(folder / f"{place}")
    return folder


def theirs(path: Path, **columns: list) -> Path:
    """A file in CompressAI's layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {"bpp": [0.1, 0.2, 0.4, 0.8], "psnr-rgb": [27.0, 29.0, 31.0, 33.0]} | columns
    path.write_text(json.dumps({"name": "theirs", "dataset": "scenes", "results": results}))
    return path


def test_results_of_two_folders_are_two_curves(tmp_path):
    """As of two seeds, measured by codec eval: together they would be a zigzag, and a BD-rate of neither."""
    one, two = write_results(tmp_path / "seed1" / "results"), write_results(tmp_path / "seed2" / "results", gain=0.5)
    found = curves(one, two)
    assert set(found) == {"plain from=seed1", "plain from=seed2"} and all(len(curve.points) == 5 for curve in found.values())
    assert set(curves(tmp_path)) == set(found)


def test_a_codec_with_several_rates_is_a_curve_alone(tmp_path):
    """Beside trainings at single rates of the same name, and beside one with another ladder."""
    for place, lmbda in enumerate(LAMBDAS):
        write_run(tmp_path / str(place), "plain", lmbda, made_up("plain hyperprior", lmbda))
    for lowest, N in ((0, 8), (1, 16)):
        points = [
            replace(made_up("", lmbda).points[0], setting={"lmbda": lmbda, "level": k})
            for k, lmbda in enumerate(LAMBDAS[lowest:])
        ]
        write_run(tmp_path / f"l{N}", "plain", 0.0067, Results("plain hyperprior", "", "scenes", points), N=N)
    found = {curve.full_name: len(curve.points) for curve in curves(tmp_path).values()}
    assert found == {
        "plain hyperprior N=8": 5, "plain hyperprior levels=several N=8": 5, "plain hyperprior levels=several N=16": 4,
    }  # fmt: skip


def test_what_is_named_twice_is_there_once(tmp_path):
    run = write_run(tmp_path / "runs" / "one", "plain", 0.0067, made_up("plain hyperprior", 0.0067))
    found = curves(tmp_path / "runs", run / "results" / "scenes.json", tmp_path / "runs")
    assert [len(curve.points) for curve in found.values()] == [1]


def test_results_beside_runs_are_read_too(tmp_path):
    write_run(tmp_path / "runs" / "one", "plain", 0.0067, made_up("plain hyperprior", 0.0067))
    write_results(tmp_path / "runs" / "eval", "other")
    theirs(tmp_path / "runs" / "theirs.json")
    assert set(curves(tmp_path / "runs")) == {"plain", "other", "theirs"}


def test_two_codecs_of_one_name_are_numbered(tmp_path):
    found = curves(theirs(tmp_path / "mse.json"), theirs(tmp_path / "ms_ssim.json", bpp=[0.2, 0.3, 0.5, 0.9]))
    assert set(found) == {"theirs", "theirs (2)"}


def test_a_file_that_is_broken_is_told_of(tmp_path):
    write_results(tmp_path / "all")
    (tmp_path / "all" / "4.json").write_text((tmp_path / "all" / "4.json").read_text()[:300])
    written = write_report([str(tmp_path / "all")], tmp_path / "out", find_set)
    assert any(f"{tmp_path / 'all' / '4.json'}: it holds no JSON" in line for line in written.left_out)


def test_names_that_show_nothing_are_told_of(tmp_path):
    write_results(tmp_path / "all")
    sources = read_sources([str(tmp_path / "all"), "WACNN", "shipped"])
    assert any(line.startswith("WACNN: it was published on ") for line in sources.left_out)
    assert any(line.startswith("the shipped codec: it was measured on ") for line in sources.left_out)
    assert read_sources(["WACNN", "shipped"]).left_out == []


def test_figures_that_are_no_numbers_are_left_out_of_a_curve(tmp_path):
    """Neither at 0 dB nor as an error of a plot."""
    columns = {"psnr-rgb": [27.0, math.nan, math.inf, 33.0], "ms-ssim-rgb": [0.9, 0.95, 1.0, None]}
    file = theirs(tmp_path / "odd.json", **columns)
    (curve,) = curves(file).values()
    assert curve.of("psnr") == [(0.1, 27.0), (0.8, 33.0)] and len(curve.of("ms_ssim_db")) == 2 and len(curve.points) == 4
    assert read_sources([str(file)]).left_out == [f"{file}: 4 of its figures, which are no finite numbers"]
    write_report([str(file)], tmp_path / "out", find_set)
    (both,) = curves(theirs(tmp_path / "both.json", psnr=[40.0, 41.0, 42.0, 43.0])).values()
    assert both.of("psnr")[0] == (0.1, 27.0)  # of the first of their names


@pytest.mark.parametrize("name", ["../escaped", "a/b", "..", "a\0b"])
def test_a_set_has_a_name_that_names_files(tmp_path, capsys, name):
    document = json.loads(theirs(tmp_path / "in" / "odd.json").read_text())
    (tmp_path / "in" / "odd.json").write_text(json.dumps(document | {"dataset": name}))
    assert main(["report", str(tmp_path / "in" / "odd.json"), "--out", str(tmp_path / "out" / "deep")]) == 2
    assert "expected a word, which names files" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_points_that_have_not_begun_are_missing_from_the_curve_of_their_sweep(tmp_path):
    for place, lmbda in enumerate(LAMBDAS[:4]):
        write_run(tmp_path / str(place), "plain", lmbda, made_up("plain hyperprior", lmbda))
    waiting = tmp_path / "model.lmbda-0.18"
    waiting.mkdir()
    (waiting / "state.json").write_text(json.dumps({"status": "asked"}))
    (curve,) = curves(tmp_path).values()
    assert curve.dataset == "scenes" and len(curve.points) == 4 and curve.missing == ["model.lmbda-0.18: asked at step 0"]


def test_half_a_sweep_has_pictures_and_costs_of_the_half_that_is_there(tmp_path):
    for place, lmbda in enumerate(LAMBDAS):
        done = place < 2
        run = write_run(
            tmp_path / str(place), "plain", lmbda, made_up("plain hyperprior", lmbda) if done else None,
            "finished" if done else "stopped",
        )  # fmt: skip
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["data"]["val"] = config["test"]
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        (run / "metrics.csv").write_text(f"step,val/bpp,val/psnr\n100,{1 + place},40\n")
    page = write_report([str(tmp_path)], tmp_path / "out", find_set).page.read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    (curve,) = data["sets"][0]["curves"]
    assert curve["costs"]["encode_seconds"] > 0 and any("scene" in line for line in data["comparison"]["left_out"])


def test_what_was_cut_or_is_odd_in_a_run_ends_no_report(tmp_path):
    """A process was killed, a disk was full, a name is a number, a folder's name is no text."""
    odd = tmp_path / os.fsdecode(b"runs\xff")
    run = write_run(odd / "one", "plain", 0.0067, made_up("plain hyperprior", 0.0067))
    (run / "run.json").write_text("")
    (run / "metrics.csv").write_text("step,train/loss\n10,2.0\n20,1.5,7\n30,1.0\n")
    (run / "config.yaml").write_text(
        (run / "config.yaml").read_text().replace("experiment_name: plain", "experiment_name: 2024")
    )
    (run / "results" / "notes.json").write_text('{"a": 1}')
    assert diagnose(RunFolder(run)) == [] and read_run(RunFolder(run)).log["train/loss"] == [2.0, 1.0]
    written = write_report([str(odd)], tmp_path / "out", find_set)
    assert "2024" in written.page.read_text() and any("notes.json" in line for line in written.left_out)
    sweep = SweepFolder(tmp_path / "sweep")
    sweep.path.mkdir()
    sweep.list.write_text('{"point": 1, "lmbda": "0.01", "folder": "../one"}\n{"point": 2, "lm')
    assert [listed.number for listed in sweep.points()] == [1]


@pytest.mark.parametrize("word", [
    "logger.wandb={api_key: S3CRET, project: x}", "data.root=https://me:S3CRET@host/x", "data.url=https://x/y?token=S3CRET&a=b",
])  # fmt: skip
def test_a_secret_within_a_value_is_hidden(tmp_path, word):
    run = write_run(tmp_path / "one", "plain", 0.0067, None, "stopped")
    (run / "run.json").write_text(json.dumps({"command": ["train", word]}))
    config = yaml.safe_load((run / "config.yaml").read_text()) | {"said": word.partition("=")[2]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    found = read_run(RunFolder(run))
    assert "S3CRET" not in command_of(found) + str(found.values) and "hidden" in command_of(found)
    assert ("host/x" in command_of(found)) == ("host/x" in word)


def test_a_codec_whose_library_is_gone_is_left_out_with_its_reason(tmp_path, monkeypatch):
    """JPEG XL was measured on another machine."""
    ladder = [replace(made_up("JPEG XL", lmbda).points[0], setting={"quality": 10 * k}) for k, lmbda in enumerate(LAMBDAS)]
    ladder = [replace(p, images=[replace(row, estimated_bpp=None) for row in p.images]) for p in ladder]
    Results("JPEG XL", "", "scenes", ladder).write(tmp_path / "jxl")
    written = write_report([str(tmp_path / "jxl.json")], tmp_path / "out", find_set)
    assert any("by JPEG XL: " in line for line in written.left_out)


def changed(results: Results, place: int, **fields: object) -> Results:
    """The results with other fields in the rows of the picture at that place."""
    points = [
        replace(p, images=[replace(row, **fields) if k == place else row for k, row in enumerate(p.images)])  # type: ignore[arg-type]
        for p in results.points
    ]
    return replace(results, points=points)


def ladder(name: str = "Ladder", **fields: object) -> Results:
    """A classical codec at the five rates; fields: of the first picture's row at the highest."""
    each = [made_up(name, lmbda) for lmbda in LAMBDAS]
    each[-1] = changed(each[-1], 0, **fields)
    points = [replace(one.points[0], setting={"quality": k}) for k, one in enumerate(each)]
    return Results(name, "", "scenes", [replace(p, images=[replace(r, estimated_bpp=None) for r in p.images]) for p in points])


def data_of(*words: object, out: Path) -> dict:
    page = write_report([str(word) for word in words], out, find_set).page.read_text()
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


def test_curves_are_over_the_pictures_of_which_all_codecs_have_the_quantity(tmp_path):
    """One picture came back exactly at WebP's highest rate, one of a codec's is without LPIPS: of both goes the rate, too."""
    write_results(tmp_path / "plain")
    rows = made_up("", LAMBDAS[1]).points[0].images
    changed(made_up("plain", LAMBDAS[1]), 4, lpips=None).write(tmp_path / "plain" / "1")
    odd = replace(ladder(psnr=None), not_computed={"psnr": "infinite in 1 rows"})
    odd.write(tmp_path / "plain" / "odd")
    data = data_of(tmp_path / "plain", out=tmp_path / "out")
    by_name = {curve["name"]: curve for curve in data["sets"][0]["curves"]}
    assert by_name["Ladder"]["not_computed"] == {"PSNR": "infinite in 1 rows"}
    for curve in by_name.values():
        assert curve["over"] == {
            "psnr": "over 4 of 5 pictures: scene0 came back exactly somewhere",
            "lpips": "over 4 of 5 pictures: scene4 without it somewhere",
        }
        assert all(set(point["rates"]) == {"psnr", "lpips"} for point in curve["points"]) and len(curve["points"]) == 5
    point = by_name["plain"]["points"][1]
    assert point["values"]["psnr"] == pytest.approx(sum(row.psnr for row in rows[1:]) / 4)
    assert point["rates"]["psnr"] == pytest.approx(sum(row.file_bpp for row in rows[1:]) / 4)
    assert point["rates"]["lpips"] == pytest.approx(sum(row.file_bpp for row in rows[:4]) / 4)
    assert point["values"]["bpp"] == pytest.approx(sum(row.file_bpp for row in rows) / 5)
    (found,) = [curve for curve in curves(tmp_path / "plain").values() if curve.name == "plain"]
    assert found.points[1].at("lpips", "psnr") is None and found.points[1].at("lpips")[0] < 0.36
    assert not list((tmp_path / "out" / "figures").glob("*over_psnr*"))  # of other pictures each
    table = (tmp_path / "out" / "tables" / "scenes_points.md").read_text()
    assert "| at | bpp | bpp there | PSNR in dB | MS-SSIM in dB, of the mean | bpp there | LPIPS |" in table
    assert "PSNR in dB over 4 of 5 pictures: scene0" in table


def test_pictures_that_all_codecs_have_change_no_figure(tmp_path):
    write_results(tmp_path / "plain")
    ladder().write(tmp_path / "plain" / "whole")
    for curve in data_of(tmp_path / "plain", out=tmp_path / "out")["sets"][0]["curves"]:
        assert curve["over"] == curve["not_computed"] == {} and all(point["rates"] == {} for point in curve["points"])


def test_a_setting_that_refused_a_picture_is_told_with_the_reason(tmp_path):
    """Not passed over as if it had never been measured: the cell of its picture says why."""
    refused = {"file_bpp": None, "psnr": None, "ms_ssim": None, "lpips": None, "failed": "too wide"}
    ladder("Other", **refused).write(tmp_path / "all" / "other")
    (curve,) = data_of(tmp_path / "all", out=tmp_path / "out")["sets"][0]["curves"]
    assert curve["missing"] == ["quality 4: no mean, 1 of the pictures failed: too wide"] and len(curve["points"]) == 5
    (point,) = [point for point in curve["points"] if point["failed"]]
    assert point["values"] == {} and point["failed"] == {"scene0": "too wide"} and point["rows"]["bpp"][1:] and point["label"]
    (found,) = curves(tmp_path / "all").values()
    assert len(found.of("psnr")) == 4


def test_a_network_that_is_not_the_published_one_is_told_and_one_curve_has_one(tmp_path):
    for k, lmbda in enumerate(LAMBDAS):
        vgg = replace(made_up("plain", lmbda), measured_with={"lpips": "lpips_vgg"} if k else {"lpips": "lpips_alex"})
        vgg.write(tmp_path / "in" / str(k))
    data = data_of(tmp_path / "in", out=tmp_path / "out")
    (curve,) = data["sets"][0]["curves"]
    assert curve["networks"] == {"lpips": "lpips_vgg"} and "lpips" not in curve["points"][0]["values"]
    assert curve["missing"] == ["λ 0.0018: its LPIPS is by lpips_alex, that of the others by lpips_vgg"]
    assert "psnr" in curve["points"][0]["values"] and all("lpips" in point["values"] for point in curve["points"][1:])
    assert "plain (LPIPS by lpips_vgg)" in (tmp_path / "out" / "figures" / "scenes_lpips.svg").read_text()
    assert "lpips_vgg" not in (tmp_path / "out" / "figures" / "scenes_psnr.svg").read_text()


def test_the_shipped_codec_is_what_its_bundle_says(tmp_path):
    """Not what an experiment is called: somebody's own may be called so, and the one that ships was measured anywhere."""
    (bundle,) = shipped_bundles()
    write_run(tmp_path / "own", "shipped", 0.0067, made_up("shipped hyperprior", 0.0067))
    replace(made_up("levels mean_scale", 0.0067), made_by={"bundle": bundle}).write(tmp_path / "eval" / "scenes")
    assert set(curves(tmp_path)) == {"shipped", "the shipped codec"}
    assert "the shipped codec" in curves("shipped")


def test_a_file_of_ones_own_is_not_called_published(tmp_path):
    file = theirs(tmp_path / "own.json")
    data = data_of(file, out=tmp_path / "out")
    assert [(curve["name"], curve["kind"]) for curve in data["sets"][0]["curves"]] == [("theirs", "foreign")]
    assert "published" not in (tmp_path / "out" / "tables" / "scenes_savings.tex").read_text()
