"""What W&B and TensorBoard have of a run of the command, read back from their files: everything, each once."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import wandb
from conftest import TINY
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb_file import history_rows, read_records

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.cli import main
from codec.commands import train
from codec.evaluation.results import Results
from codec.files.bundle import load_bundle

WORDS = ["train", *TINY, "test.baselines=[]", "tag=mine", "logger=[wandb,tensorboard]", "logger.wandb.offline=true"]
SPEED = "train/images_per_second"  # which no two runs have alike


@pytest.fixture(autouse=True)
def no_agent(monkeypatch):
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.delenv(name, raising=False)


def run_once(folder: Path, *words: str) -> Path:
    """The folder of the one run below `folder`, after a command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODEC_RUNS", str(folder))
        assert main([*WORDS, *words]) == 0
    (config,) = folder.rglob("config.yaml")
    return config.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with both loggers."""
    return run_once(tmp_path_factory.mktemp("runs"))


def segments(run: Path) -> list[list]:
    """The records of each start of W&B, in order."""
    return [list(read_records(path)) for path in sorted(run.glob("wandb/offline-run-*/*.wandb"))]


def of_kind(records: list, kind: str) -> list:
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def log_of(run: Path) -> dict[int, dict[str, float]]:
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row.pop("step")): {k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)}


def history_of(records: list) -> dict[tuple[int, str], Any]:
    """Every value of W&B's history by step and name; fails where one stands there twice."""
    found: dict[tuple[int, str], Any] = {}
    for row in history_rows(records):
        for name, value in row.items():
            if name != "step" and not name.startswith("_"):
                assert (row["step"], name) not in found
                found[row["step"], name] = value
    return found


def scalars_of(history: dict[tuple[int, str], Any]) -> dict[tuple[int, str], float]:
    """Those that metrics.csv has too."""
    return {key: value for key, value in history.items() if not isinstance(value, dict) and key[1] != SPEED}


def summary_of(records: list) -> dict[str, list[Any]]:
    """The values that were set in the summary, by name, in order."""
    found: dict[str, list[Any]] = {}
    for summary in of_kind(records, "summary"):
        for item in summary.update:
            found.setdefault(item.key or item.nested_key[0], []).append(json.loads(item.value_json))
    return found


def figures_of(run: Path, dataset: str) -> dict[str, float]:
    point = Results.read(run / "results" / f"{dataset}.json").points[0]
    return {f"test/{dataset}/{name}": value for name, value in point.means().items() if value is not None}


def test_wandb_has_one_run_with_everything_once(run):
    (records,) = segments(run)
    (of_run,) = of_kind(records, "run")
    assert (of_run.project, of_run.run_group, of_run.job_type) == ("codec", "quickstart", "train")
    assert list(of_run.tags) == ["mean_scale", "mine"]
    assert {item.key for item in of_run.config.update} >= {"model", "data", "loss", "optim", "seed", "steps"}
    assert len(of_kind(records, "exit")) == 1 and of_kind(records, "exit")[0].exit_code == 0
    history = history_of(records)
    expected = {(step, name): value for step, row in log_of(run).items() for name, value in row.items()}
    assert scalars_of(history) == expected
    figures = figures_of(run, "photographs")
    assert {"test/photographs/file_bpp", "test/photographs/psnr", "test/photographs/ms_ssim_db"} <= figures.keys()
    assert {name: values for name, values in summary_of(records).items() if name in figures} == {
        name: [value] for name, value in figures.items()
    }
    assert [(step, name) for step, name in history if name == SPEED] == [(2, SPEED), (4, SPEED)]


def test_wandb_has_the_pictures_their_table_and_the_plot(run):
    (records,) = segments(run)
    history, files = history_of(records), next(run.glob("wandb/offline-run-*/files"))
    shown = {name: value for (step, name), value in history.items() if step == 4 and name.startswith("test/")}
    assert set(shown) == {f"test/photographs/{name}" for name in ("rd", "pictures", "picture_0", "picture_1", "picture_2")}
    table = json.loads((files / shown["test/photographs/pictures"]["path"]).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    images = Results.read(run / "results" / "photographs.json").points[0].images
    assert [(row["name"], row["file_bpp"], row["psnr"]) for row in rows] == [(i.name, i.file_bpp, i.psnr) for i in images]
    for number, image in enumerate(images[:3]):
        caption = shown[f"test/photographs/picture_{number}"]["caption"]
        assert caption == f"{image.name}: {image.file_bpp:.3f} bpp, {image.psnr:.2f} dB"
        assert shown[f"test/photographs/picture_{number}"]["width"] == 2 * image.width
    assert sum(name.startswith("val/picture") for _, name in history) == 2 * 3  # validations, pictures


def test_wandb_has_the_bundle_and_the_results_as_artifacts(run):
    (records,) = segments(run)
    artifacts = {a.type: a for a in of_kind(records, "artifact") if a.type in ("codec", "results")}
    artifacts |= {
        r.request.log_artifact.artifact.type: r.request.log_artifact.artifact
        for r in records
        if r.WhichOneof("record_type") == "request" and r.request.WhichOneof("request_type") == "log_artifact"
    }
    names = {kind: sorted(entry.path for entry in a.manifest.contents) for kind, a in artifacts.items() if kind != "run_table"}
    assert names == {"codec": ["codec.safetensors"], "results": ["photographs.csv", "photographs.json"]}


def test_tensorboard_has_figures_pictures_and_hyperparameters(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"images": 0}).Reload()
    for name, value in figures_of(run, "photographs").items():
        ((step, found),) = [(event.step, event.value) for event in events.Scalars(name)]
        assert (step, found) == (4, pytest.approx(value))
    for name in ("rd", "picture_0", "picture_1", "picture_2"):
        assert [event.step for event in events.Images(f"test/photographs/{name}")] == [4]
    for step, row in log_of(run).items():
        for name in row:
            assert [event.step for event in events.Scalars(name)].count(step) == 1
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_asked_again_it_says_nothing_twice(run):
    before = len(segments(run)), len(list(run.glob("tensorboard/events*")))
    run_once(run.parents[1])
    assert (len(segments(run)), len(list(run.glob("tensorboard/events*")))) == before


def test_what_a_logger_reads_of_the_environment_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CODEC_RUNS", str(tmp_path))
    monkeypatch.setenv("A_SECRET", "hush")
    kept = []
    monkeypatch.setattr(train, "_train", lambda cfg, config, who, folder: kept.append((cfg, config)))
    assert main([*WORDS, "logger.wandb.project=${oc.env:A_SECRET}"]) == 0
    ((cfg, config),) = kept
    assert cfg.logger.wandb.project == "hush"
    assert config["logger"]["wandb"]["project"] == "${oc.env:A_SECRET}" and "hush" not in repr(config)


def test_another_set_is_added_to_the_same_run(run, tmp_path):
    from skimage import data

    copy = tmp_path / "runs"
    shutil.copytree(run.parents[1], copy)
    (tmp_path / "holiday").mkdir()
    shutil.copy(os.path.join(data.data_dir, "chelsea.png"), tmp_path / "holiday")
    copied = run_once(copy, "test=folder", f"test.root={tmp_path / 'holiday'}")
    first, second = segments(copied)
    assert {of_kind(records, "run")[0].run_id for records in (first, second)} == {(run / "wandb_id").read_text()}
    assert not scalars_of(history_of(second))
    assert {name for name in summary_of(second) if name.startswith("test/")} >= set(figures_of(copied, "holiday"))
    assert not [name for name in summary_of(second) if "photographs" in name]


def test_a_finished_run_that_a_sweep_asks_for_reports_to_it(run, tmp_path, monkeypatch):
    copy = tmp_path / "runs"
    shutil.copytree(run.parents[1], copy)
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "point1")
    copied = run_once(copy)
    first, second = segments(copied)
    assert of_kind(second, "run")[0].run_id == "point1"
    assert scalars_of(history_of(second)) == scalars_of(history_of(first))
    assert figures_of(copied, "photographs").items() <= {n: v[-1] for n, v in summary_of(second).items()}.items()
    run_once(copy)  # as where an agent was stopped when all was done: it still waits for its run
    *_, third = segments(copied)
    assert of_kind(third, "run")[0].run_id == "point1" and of_kind(third, "exit")[0].exit_code == 0
    assert not history_of(third)


def whole_configuration(records: list) -> list[str]:
    """What W&B's agent gives the command of a run that it goes on with, behind the words of the sweep's file."""
    config = {item.key: json.loads(item.value_json) for item in of_kind(records, "run")[0].config.update}
    config |= {"_wandb": {"cli_version": wandb.__version__, "t": {"1": [1, 5]}}, "model.lmbda": 0.0067}
    words = create_sweep_command_args({"args": {key: {"value": value} for key, value in config.items()}})["args_no_hyphens"]
    return [f"--{word}" if word.startswith("_wandb") else word for word in words]


def test_a_preempted_point_of_a_sweep_goes_on_as_one_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CODEC_RUNS", str(tmp_path))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "point1")
    with monkeypatch.context() as patch:
        patch.setattr(SaveCheckpoints, "_heard", lambda self: signal.SIGUSR1)
        with pytest.raises(SystemExit):
            main([*WORDS, "model.lmbda=0.0067"])
    (run,) = (path.parent for path in tmp_path.rglob("config.yaml"))
    (stopped,) = segments(run)
    assert len(of_kind(stopped, "preempting")) == 1 and of_kind(stopped, "exit")[0].exit_code != 0
    assert main([*WORDS, *whole_configuration(stopped)]) == 0
    assert [path.parent for path in tmp_path.rglob("config.yaml")] == [run]
    stopped, resumed = segments(run)
    assert {of_kind(records, "run")[0].run_id for records in (stopped, resumed)} == {"point1"}
    assert not history_of(stopped).keys() & history_of(resumed).keys()
    expected = {(step, name): value for step, row in log_of(run).items() for name, value in row.items()}
    assert scalars_of(history_of(stopped) | history_of(resumed)) == expected
    assert load_bundle(run / "codec.safetensors")
