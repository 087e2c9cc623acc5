"""Tracking: metrics.csv is the truth, and W&B and TensorBoard hold the same values once."""

import csv
import os
import re
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import lightning
import pytest
import wandb
from PIL import Image
from tiny_training import LOG_EVERY, NUM_VAL, VAL_EVERY, fit
from wandb_file import history_rows, read_records

from codec.callbacks.progress import ShowProgress
from codec.callbacks.reconstructions import LINE, SaveReconstructions
from codec.runs.folder import RunFolder
from codec.runs.tracking import (
    MetricsCsv,
    TensorBoard,
    WandbRun,
    end_loggers_for_now,
    has_failed,
    held,
    log_again,
    start_loggers,
)
from codec.runs.wandb_run import outside_sweep
from codec.training.fit import Training
from codec.types import UserError

CONFIG = {"experiment_name": "tiny", "model": {"name": "factorized", "lmbda": 0.01}, "steps": 8}
OFFLINE = {"project": "codec", "offline": True}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_log_has_one_row_a_step_and_takes_columns_that_come_late(tmp_path):
    log = MetricsCsv(tmp_path / "metrics.csv")
    log.log_metrics({"train/bpp": 1.5}, 2)
    log.log_metrics({"train/bpp": 1.25}, 4)
    log.log_metrics({"val/bpp": 2.0, "val/psnr": 30.0}, 4)  # the validation after the step
    log.log_metrics({"train/bpp": 1.0}, 6)
    log.log_metrics({"val/bpp": 2.5, "val/psnr": 1 / 3}, 6)
    expected = [
        {"step": "2", "train/bpp": "1.5", "val/bpp": "", "val/psnr": ""},
        {"step": "4", "train/bpp": "1.25", "val/bpp": "2.0", "val/psnr": "30.0"},
        {"step": "6", "train/bpp": "1.0", "val/bpp": "2.5", "val/psnr": str(1 / 3)},
    ]
    assert read(log.path) == expected  # on the disk without an end or a close


def test_a_resumed_log_writes_the_rows_after_the_checkpoint_again(tmp_path):
    path = tmp_path / "metrics.csv"
    killed = MetricsCsv(path)
    for step in (2, 4, 6, 8):
        killed.log_metrics({"train/bpp": 10.0 + step}, step)
    resumed = MetricsCsv(path)
    resumed.cut_after(5)
    assert [row["step"] for row in read(path)] == ["2", "4"]
    resumed.log_metrics({"train/bpp": 26.0}, 6)
    resumed.log_metrics({"val/bpp": 1.0}, 6)
    assert [(row["step"], row["train/bpp"], row["val/bpp"]) for row in read(path)] == [
        ("2", "12.0", ""), ("4", "14.0", ""), ("6", "26.0", "1.0"),
    ]  # fmt: skip


class Killed(lightning.Callback):
    """Ends the run in the middle of a step, past rows that are logged and not after a checkpoint."""

    def on_before_backward(self, trainer, *_):
        if trainer.global_step == 7:
            raise RuntimeError("killed")


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """The run directory of a W&B offline training that was killed at step 7 and went on from step 5 to 8."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))

    def train(*extra: lightning.Callback) -> None:
        callbacks = [ShowProgress(), SaveReconstructions(), *extra]
        fit(folder, 8, loggers=[MetricsCsv(folder.metrics_file), WandbRun(folder, CONFIG, **OFFLINE)], extra=callbacks)

    with pytest.raises(RuntimeError, match="killed"):
        train(Killed())
    assert wandb.run is None  # a sweep's next point in this process is a run of its own
    train()
    assert wandb.run is None
    return folder


def segments(folder: RunFolder) -> list[list]:
    return [list(read_records(path)) for path in sorted(folder.path.glob("wandb/offline-run-*/*.wandb"))]


def test_wandb_offline_holds_what_the_log_holds_once(offline):
    log = {
        int(row.pop("step")): {name: float(value) for name, value in row.items() if value} for row in read(offline.metrics_file)
    }
    assert list(log) == [2, 4, 6, 8]
    assert [step for step, row in log.items() if "val/loss" in row] == [VAL_EVERY, 2 * VAL_EVERY]
    first, second = segments(offline)
    for records, steps in ((first, (2, 4, 6)), (second, (8,))):  # not 6 again, though the checkpoint was after 5
        seen = {}
        for row in history_rows(records):
            for name, value in row.items():
                if not name.startswith("_") and name != "step" and "picture" not in name:
                    assert (row["step"], name) not in seen
                    seen[row["step"], name] = value
        assert seen == {(step, name): value for step in steps for name, value in log[step].items()}


def test_the_file_of_an_offline_run_is_whole_when_the_run_has_ended(tmp_path):
    folder, seen = RunFolder(tmp_path), set()
    for start in range(0, 10, 2):  # W&B's service closes a file when it finds the time; one that is whole says little
        run = WandbRun(folder, CONFIG, **OFFLINE)
        for step in (start, start + 1):
            run.log_metrics({"train/bpp": 1.5}, step)
        run.finalize("success")
        (path,) = set(tmp_path.glob("wandb/offline-run-*/*.wandb")) - seen  # two within a second, too
        seen.add(path)
        records = list(read_records(path))
        assert [row["step"] for row in history_rows(records)] == [start, start + 1]
        assert records[-1].WhichOneof("record_type") == "exit"


def test_wandb_pictures_have_their_captions(offline):
    first, second = segments(offline)
    for records, step in ((first, VAL_EVERY), (second, 2 * VAL_EVERY)):
        pictures = [(name, row) for row in history_rows(records) for name in row if "picture" in name]
        assert [(row["step"], name) for name, row in pictures] == [(step, f"val/picture_{i}") for i in range(NUM_VAL)]
        for name, row in pictures:
            assert re.fullmatch(rf"step {step}: [\d.]+ bpp, -?[\d.]+ dB", row[name]["caption"])
            (file,) = offline.path.glob(f"wandb/offline-run-*/files/{row[name]['path']}")
            assert Image.open(file).size == (2 * 192, 64 + LINE)


def test_wandb_has_one_run_with_its_config_and_axis(offline):
    for records in segments(offline):
        (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        assert run.run_id == (offline.path / "wandb_id").read_text()
        assert (run.project, run.run_group) == ("codec", "tiny")
        config = {item.key: item.value_json for item in run.config.update if item.key != "_wandb"}
        later = [record.config for record in records if record.WhichOneof("record_type") == "config"]
        assert not [item for change in later for item in change.update if item.key in CONFIG]
        assert config == {key: wandb.util.json_dumps_safer(value) for key, value in CONFIG.items()}
        metrics = [record.metric for record in records if record.WhichOneof("record_type") == "metric"]
        assert [(metric.glob_name, metric.step_metric) for metric in metrics if metric.glob_name] == [("*", "step")]
        assert all(metric.step_metric in ("", "step") for metric in metrics)
        assert len([record for record in records if record.WhichOneof("record_type") == "exit"]) == 1


def test_tensorboard_holds_the_values_too(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = RunFolder(tmp_path)
    loggers = [MetricsCsv(folder.metrics_file), TensorBoard(folder, CONFIG)]
    fit(folder, 4, loggers=loggers, extra=[SaveReconstructions()])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    log = read(folder.metrics_file)
    for row in log:
        for name, value in row.items():
            if value and name != "step":
                found = [event.value for event in events.Scalars(name) if event.step == int(row["step"])]
                assert found == [pytest.approx(float(value))]
    assert [int(row["step"]) for row in log] == list(range(LOG_EVERY, 5, LOG_EVERY))
    assert [event.step for event in events.Images("val/picture_0")] == [VAL_EVERY]


def test_tensorboard_holds_the_values_of_a_resumed_run_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = RunFolder(tmp_path)

    def train(*extra: lightning.Callback) -> None:
        fit(folder, 8, loggers=[MetricsCsv(folder.metrics_file), TensorBoard(folder, CONFIG)], extra=extra)

    with pytest.raises(RuntimeError, match="killed"):
        train(Killed())
    train()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert len(list(tmp_path.glob("tensorboard/events*"))) > 1
    assert [event.step for event in events.Scalars("train/bpp")] == [2, 4, 6, 8]
    assert [event.step for event in events.Scalars("val/loss")] == [VAL_EVERY, 2 * VAL_EVERY]


def end_service() -> None:
    """What SLURM's SIGTERM to all processes of a step does to W&B's."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        if name == "wandb-core" and rest.split()[1] == str(os.getpid()):
            os.kill(int(path.parent.name), signal.SIGTERM)
    time.sleep(0.3)


class EndsService(lightning.Callback):
    """W&B's service ends before a validation, whose pictures and figures then have nowhere to go."""

    def on_validation_start(self, trainer, *_):
        if trainer.global_step == VAL_EVERY:
            end_service()


def test_the_end_of_wandbs_service_ends_no_training_and_its_rows_are_given_again(tmp_path, capfd):
    folder = RunFolder(tmp_path)

    def train(steps: int, *extra: lightning.Callback) -> None:
        loggers = [MetricsCsv(folder.metrics_file), WandbRun(folder, CONFIG, **OFFLINE)]
        fit(folder, steps, loggers=loggers, extra=[SaveReconstructions(), *extra])

    train(6, EndsService())
    out, err = capfd.readouterr()
    assert out.count("W&B takes nothing more") == 1 and str(folder.metrics_file) in out and "Traceback" not in err
    assert [row["step"] for row in read(folder.metrics_file)] == ["2", "4", "6"]
    train(8)
    ended, after = segments(folder)
    ids = {record.run.run_id for record in (*ended, *after) if record.WhichOneof("record_type") == "run"}
    assert ids == {(tmp_path / "wandb_id").read_text()}
    given: dict[int, dict[str, float]] = {}
    for row in history_rows(after):
        for name, value in row.items():
            if not name.startswith("_") and "picture" not in name:
                given.setdefault(row["step"], {})[name] = value
    log = {
        int(row.pop("step")): {name: float(value) for name, value in row.items() if value} for row in read(folder.metrics_file)
    }
    assert given == {step: {"step": step, **row} for step, row in log.items()}


def test_a_finished_run_gives_wandb_what_it_lacks(tmp_path):
    folder = RunFolder(tmp_path)
    log = MetricsCsv(folder.metrics_file)
    first = WandbRun(folder, CONFIG, **OFFLINE)
    for step in (2, 4):
        log.log_metrics({"train/bpp": 1.0 + step}, step)
        first.log_metrics({"train/bpp": 1.0 + step}, step)
    first.finalize("success")
    log.log_metrics({"train/bpp": 7.0}, 6)
    for _ in range(2):  # the second has nothing to say
        later = WandbRun(folder, CONFIG, **OFFLINE)
        with held([later]):
            log_again(folder.metrics_file, later)
    assert [[(row["step"], row["train/bpp"]) for row in history_rows(records)] for records in segments(folder)] == [
        [(2, 3.0), (4, 5.0)], [(6, 7.0)],
    ]  # fmt: skip


def test_wandb_is_told_that_a_job_will_come_back(tmp_path):
    folder = RunFolder(tmp_path)
    run = WandbRun(folder, CONFIG, **OFFLINE)
    end_loggers_for_now([run])  # not begun: nothing to say
    assert not (tmp_path / "wandb").exists()
    run.log_metrics({"train/bpp": 1.0}, 1)
    end_loggers_for_now([MetricsCsv(folder.metrics_file), run])
    run.finalize("failed")
    (records,) = segments(folder)
    assert records[-1].WhichOneof("record_type") == "exit"
    assert [record.WhichOneof("record_type") for record in records].count("preempting") == 1


def test_a_first_stage_is_a_run_of_its_own_and_none_of_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "point1")
    folders = [RunFolder(tmp_path / stage) for stage in ("first", "second")]
    for folder, around in zip(folders, (outside_sweep(), nullcontext()), strict=True):
        folder.path.mkdir()
        with around:
            run = WandbRun(folder, CONFIG, **OFFLINE)
            run.log_metrics({"train/bpp": 1.0}, 1)
            run.finalize("success")
    found = [record.run for f in folders for record in segments(f)[0] if record.WhichOneof("record_type") == "run"]
    assert [run.sweep_id for run in found] == ["", "sweep1"]
    assert found[0].run_id != "point1" == found[1].run_id


def test_no_login_is_one_clear_error(tmp_path, monkeypatch):
    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    run = WandbRun(RunFolder(tmp_path), CONFIG, project="codec", offline=False)
    with pytest.raises(UserError, match="logger.wandb.offline=true") as error:
        start_loggers([run])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "wandb_id").exists()


def test_wandb_refuses_before_another_rank_is_started(tmp_path, monkeypatch):
    """Where ranks are there already each tells how it ended, in 80 lines that bury the one."""

    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured.")

    class Trainer:
        loggers = [WandbRun(RunFolder(tmp_path), CONFIG, project="codec", offline=False)]

        def __getattr__(self, name):
            raise AssertionError(f"{name} of the trainer was asked for")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match="logger=wandb"):
        Training(Trainer(), None, None, RunFolder(tmp_path), {"logger": {"wandb": {}}}).run(None)


def test_a_run_that_is_under_way_goes_on_without_wandb(tmp_path, monkeypatch, capfd):
    def refuse(**_):
        raise wandb.errors.CommError("Run initialization has timed out after 90.0 sec.")

    monkeypatch.setattr(wandb, "init", refuse)
    (tmp_path / "wandb_id").write_text("abc")
    run = WandbRun(RunFolder(tmp_path), CONFIG, project="codec", offline=False)
    start_loggers([run])
    run.log_metrics({"train/bpp": 1.0}, 1)
    run.finalize("success")
    assert has_failed(run) and capfd.readouterr().out.count("W&B takes nothing more") == 1
