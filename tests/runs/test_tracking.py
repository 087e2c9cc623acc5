"""Tracking: metrics.csv is the truth, and W&B and TensorBoard hold the same values once."""

import csv
import re
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
from codec.runs.tracking import MetricsCsv, WandbRun, tensorboard
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
    for records, steps in ((first, (2, 4, 6)), (second, (6, 8))):  # 6 again, since the checkpoint was after 5
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
    loggers = [MetricsCsv(folder.metrics_file), tensorboard(folder, CONFIG)]
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


def test_no_login_is_one_clear_error(tmp_path, monkeypatch):
    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    run = WandbRun(RunFolder(tmp_path), CONFIG, project="codec", offline=False)
    with pytest.raises(UserError, match="logger.wandb.offline=true") as error:
        _ = run.experiment
    assert "\n" not in str(error.value)
    assert not (tmp_path / "wandb_id").exists()
