"""The command line: quick, one line for a mistake, the same run for the same question."""

import json
import os
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY, TINY, codec, configured
from hydra.utils import get_method, instantiate

from codec.runs.state import RunState, write_state


def test_help_takes_less_than_a_second():
    for words in (["--help"], ["train", "--help"]):
        begun = time.perf_counter()
        assert codec(*words).returncode == 0
        assert time.perf_counter() - begun < 1


@pytest.mark.parametrize("path", sorted((REPOSITORY / "conf").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_config_composes_and_instantiates(path):
    group, choice = path.parent.name, path.stem
    if group == "test":
        assert callable(get_method(configured(f"test={choice}", command="eval").test._target_))
    if group == "profile":
        return  # of an experiment: tests/config/test_values.py
    place = {"programs": "programs@test.programs"}.get(group, group)
    steered = ["experiment=hific_mse_lpips", "rate=mi"] if path.match("levels/hific.yaml") else []
    cfg = configured(*steered, f"{place}={choice}")
    if "perceptual" in cfg.loss:
        cfg.loss.perceptual.weights = "random"  # no download here
    instantiate(cfg.loss)
    instantiate(cfg.schedule)
    assert cfg.model.N >= 64 and min(cfg.ladder) <= cfg.model.lmbda <= max(cfg.ladder)
    if group == "data" and choice == "offline":
        assert len(instantiate(cfg.data).sample_crops(2)) == 2


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_status(closed, tmp_path):
    """As a daemon has them."""
    for words, status in ((f"status {tmp_path}", 2), ("train --cfg job", 0)):  # there is no run
        line = f"{sys.executable} -m codec {words} {closed}"
        assert subprocess.run(["bash", "-c", line], cwd=REPOSITORY).returncode == status


def test_an_encoding_of_few_letters_stops_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    write_state(tmp_path / "run", RunState("finished"))
    words = [sys.executable, "-m", "codec", "status", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=REPOSITORY, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and "finished" in done.stdout and not done.stderr


def test_the_papers_widths_follow_lambda():
    for experiment, last_narrow, first_wide in (
        ("bmshj2018_factorized", 0.0250, 0.0483),
        ("bmshj2018_hyperprior", 0.0250, 0.0483),
        ("mbt2018_mean", 0.0130, 0.0250),
    ):
        for lmbda, widths in ((last_narrow, (128, 192)), (first_wide, (192, 320))):
            cfg = configured(f"experiment={experiment}", f"model.lmbda={lmbda}")
            assert widths == (cfg.model.N, cfg.model.M)


@pytest.mark.parametrize(
    "experiment, model, simple, maps",
    [("wacnn", "wacnn", False, False), ("bl_s", "wacnn", True, False), ("segpic_nomask", "segpic", False, False),
     ("segpic", "segpic", False, True), ("segpic_s", "segpic", True, True)],
)  # fmt: skip
def test_the_experiments_of_segpic_are_the_papers_and_small_ones(experiment, model, simple, maps):
    paper, tiny = (configured(f"experiment={experiment}", *profile) for profile in ([], ["profile=tiny"]))
    assert (paper.model.N, paper.model.M) == (192, 320) and tiny.model.N < 64
    assert paper.data.batch_size * paper.steps == pytest.approx(400 * 118_287, rel=1e-6)  # epochs, pictures
    assert set(tiny.data.sources) == {"dead_leaves", "photographs"} and set(paper.data.sources) == {"folder"}
    for cfg in (paper, tiny):
        assert (cfg.experiment_name, cfg.model.name) == (experiment, model)
        assert cfg.model.attention == cfg.model.context == (not simple)
        source = cfg.data.get("regions", {}).get("_target_", "data.regions.no_regions")
        assert (source != "data.regions.no_regions") == maps


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run of two points of a sweep, from photographs to the report."""
    folder = tmp_path_factory.mktemp("runs")
    done = codec("train", "-m", *TINY, "model.lmbda=0.03,0.01", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_sweep_ends_with_files_figures_and_one_plot(finished):
    folder, output = finished
    runs = [path.parent for path in folder.glob("runs/quickstart/*/run.json")]
    assert len(runs) == 2 and len(list(folder.glob("runs/quickstart/sweep_*/rd.png"))) == 1
    assert "plot over 2 points" in output and "at equal rate" in output and "left out" not in output
    (page,) = folder.glob("runs/quickstart/sweep_*/report/index.html")
    assert all(f"λ {lmbda}" in page.read_text() for lmbda in (0.03, 0.01)) and "data:image/avif" in page.read_text()
    for run in runs:
        assert {"config.yaml", "run.json", "metrics.csv", "checkpoints", "codec.safetensors", "results", "report"} <= {
            path.name for path in run.iterdir()
        }
        results = json.loads((run / "results" / "photographs.json").read_text())
        rows = results["points"][0]["images"]
        assert len(rows) == 5
        for row in rows:
            file = run / "results" / "photographs" / f"{row['name']}.lic"
            assert row["file_bpp"] == 8 * file.stat().st_size / (row["width"] * row["height"])
        assert results["results"]["bpp"][0] == pytest.approx(sum(r["file_bpp"] for r in rows) / 5)
        assert (run / "report" / "photographs_rd.png").stat().st_size > 10_000


def test_the_same_question_finds_the_run_and_other_words_for_it_too(finished):
    folder, _ = finished
    done = codec("train", *TINY, "model.lmbda=0.030", cwd=folder)
    assert done.returncode == 0 and "is finished: nothing to train" in done.stdout
    assert len(list(folder.glob("runs/quickstart/*/run.json"))) == 2


def test_a_trained_codec_codes_and_starts_another_run(finished, tmp_path):
    folder, _ = finished
    bundle = next(folder.glob("runs/quickstart/*/codec.safetensors"))
    done = codec("train", *TINY, "model.lmbda=0.03", f"init_from={bundle}", f"run_dir={tmp_path / 'run'}", cwd=folder)
    assert done.returncode == 0 and f"weights from {bundle}" in done.stdout.replace("\n", "")
    done = codec("train", *TINY, "model.N=16", f"init_from={bundle}", f"run_dir={tmp_path / 'wider'}", cwd=folder)
    assert done.returncode == 0 and "widened from N=8" in done.stdout.replace("\n", "")
    done = codec("train", *TINY, "model.N=6", f"init_from={bundle}", f"run_dir={tmp_path / 'narrower'}", cwd=folder)
    assert done.returncode == 2 and "set the same model" in done.stderr


@pytest.mark.parametrize(
    "words, expected",
    [
        (["train", "trainer.devices=0", *TINY], "on devices that this machine has"),
        (["train", "loss=other"], "loss=other; expected one of ms_ssim, mse, perceptual"),
        (["masks", "data=other"], "data=other; expected one of"),
        (["train", "data=folder", "data.root=nowhere"], "no folder at nowhere"),
        (["eval", "data=kodak"], "expected test, such as test=kodak"),
        (["eval", "runs/x"], "say run=runs/x"),
        (["train", "profile=tiny"], "which has one size"),
        (["train", "target_bpp=-1", *TINY], "expected a positive number of bits"),
        (["train", "experiment=hific", "profile=tiny", "trainer.devices=2"], "start experiment=hific_mse_lpips first"),
        (["train", "experiment=hific_mse_lpips", "profile=tiny", "init_from=last.ckpt"], "resumed by its own command"),
        (["train", *TINY, "loss=ms_ssim", "init=pca", "data.crop=192"], "set init=auto"),
        (["train", *TINY, "model=wacnn", "model.N=24", "model.M=40", "init=pca"], "set init=auto"),
        (["train", "loss=ms_ssim", *TINY], "set data.crop=256"),
        (["eval"], "neither run nor codec given"),
        (["eval", "codec=missing.safetensors"], "no bundle at missing.safetensors"),
        (["eval", "codec=LICENSE"], "is not a bundle"),
        (["eval", "run=nowhere"], "no finished run at nowhere"),
        (["compress", "nowhere.png", "out.lic"], "no file or folder at nowhere.png"),
        (["import", "compressai", "nowhere.pth", "--out", "b"], "no file at nowhere.pth"),
        (["import", "compressai", "LICENSE", "--out", "b"], "LICENSE cannot be read"),
        (["import", "compressai", "theirs.pth", "--out", "LICENSE"], "LICENSE is there already; expected a new name; say"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words, expected, tmp_path, monkeypatch, capsys):
    from codec.cli import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "LICENSE").write_text("no bundle")
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("codec: ") and expected in error and "\n" not in error, error
    assert {path.name for path in tmp_path.iterdir()} == {"LICENSE"}  # a refused command leaves nothing
