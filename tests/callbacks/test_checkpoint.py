"""Checkpoints: a stopped run goes on exactly, a kill leaves a whole file, the best is the best."""

import csv
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from ranks import on_ranks
from tiny_training import SAVE_EVERY, VAL_EVERY, equal, fit, flat

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.optim.schedules import Plateau
from codec.runs.folder import RunFolder
from codec.runs.slurm import requeue_on_warning
from codec.runs.tracking import MetricsCsv

STEPS = 10


class Signals(lightning.Callback):
    """Raises signals in the step that makes `step`, or in the validation after it."""

    def __init__(self, step: int, numbers: Sequence[signal.Signals], in_validation: bool = False):
        self.step, self.numbers, self.in_validation = step, numbers, in_validation

    def on_before_optimizer_step(self, trainer, *_):
        if trainer.global_step + 1 == self.step and not self.in_validation:
            for number in self.numbers:
                signal.raise_signal(number)

    def on_validation_batch_start(self, trainer, *_):
        if trainer.global_step == self.step and self.in_validation:
            self.in_validation = False
            for number in self.numbers:
                signal.raise_signal(number)


def plateau() -> Plateau:
    """Reduces at each validation."""
    schedule = Plateau(gamma=0.5, patience=0, floor=0.01)
    schedule.observe(-1e9)
    return schedule


def run(path: Path, steps: int, *extra: lightning.Callback, accumulate: int = 1):
    folder = RunFolder(path)
    log = MetricsCsv(folder.metrics_file)
    return fit(folder, steps, loggers=[log], extra=extra, schedule=plateau(), accumulate=accumulate)


def last_step(path: Path) -> int:
    return torch.load(RunFolder(path).last_checkpoint, weights_only=True)["global_step"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, run(folder, STEPS)


@pytest.mark.parametrize(
    "number, step, in_validation, stops_at",
    [
        (signal.SIGINT, 3, False, 3),
        (signal.SIGTERM, VAL_EVERY, False, VAL_EVERY),
        (signal.SIGINT, VAL_EVERY, True, VAL_EVERY + 1),  # noticed after the next step
        (signal.SIGTERM, 2 * SAVE_EVERY - 1, False, 2 * SAVE_EVERY - 1),
    ],
)
def test_a_signal_stops_after_a_step_and_the_run_goes_on_exactly(
    tmp_path, straight, capfd, number, step, in_validation, stops_at
):
    before = signal.getsignal(signal.SIGINT)  # ignored, where a script started the tests in the background
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, STEPS, Signals(step, [number], in_validation))
    assert stop.value.code == 128 + number
    assert last_step(tmp_path) == stops_at
    out, err = capfd.readouterr()
    assert f"stopped at step {stops_at}" in out and "stopping" in err
    assert signal.getsignal(signal.SIGINT) is before
    resumed = run(tmp_path, STEPS)
    folder, module = straight
    for name, value in module.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert resumed.schedule.factor(STEPS) == module.schedule.factor(STEPS)
    assert (tmp_path / "metrics.csv").read_text() == (folder / "metrics.csv").read_text()


class WhatChanges(lightning.Callback):
    """What differs between a checkpoint and the state from which the next step begins."""

    def __init__(self):
        self.changed: dict[int, set[str]] = {}

    def on_train_batch_start(self, trainer, *_):
        path = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        saved = dict(flat(torch.load(path, weights_only=True))) if path.exists() else {"/global_step": None}
        if saved["/global_step"] == trainer.global_step:
            now = dict(flat(trainer._checkpoint_connector.dump_checkpoint()))
            assert saved.keys() == now.keys()
            self.changed[trainer.global_step] = {name for name, value in saved.items() if not equal(value, now[name])}


def moving_average() -> lightning.Callback:
    return EMAWeightAveraging(decay=0.9, use_buffers=False)


def test_after_a_checkpoint_nothing_changes_but_lightnings_count_of_batches(tmp_path):
    probe = WhatChanges()
    run(tmp_path, STEPS + 1, moving_average(), probe)
    assert list(probe.changed) == [VAL_EVERY, SAVE_EVERY, 2 * VAL_EVERY, 2 * SAVE_EVERY]
    for changed in probe.changed.values():
        assert all("batch_progress" in name or "_batches_that_stepped" in name for name in changed), changed


@pytest.mark.parametrize("step", [3, VAL_EVERY, SAVE_EVERY])
def test_a_moving_average_goes_on_exactly(tmp_path, step):
    straight = run(tmp_path / "straight", STEPS, moving_average())
    with pytest.raises(SystemExit):
        run(tmp_path / "stopped", STEPS, moving_average(), Signals(step, [signal.SIGTERM]))
    assert last_step(tmp_path / "stopped") == step
    resumed = run(tmp_path / "stopped", STEPS, moving_average())
    for name, value in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def stopped_at(folder: Path, world: int):
    """Where a training of `world` ranks ends, of which the last gets a signal in its third step."""
    told = Signals(3, [signal.SIGTERM]) if os.environ["RANK"] == str(world - 1) else Signals(0, [])
    try:
        fit(RunFolder(folder), STEPS, extra=[told], world=world)
    except SystemExit as stop:
        return stop.code, last_step(folder)
    return None


def test_all_ranks_stop_one_step_after_one_of_them_was_told(tmp_path):
    """Whatever log_every is: nobody waits for the word in a step."""
    assert on_ranks(2, stopped_at, tmp_path, 2) == [(128 + signal.SIGTERM, 4)] * 2


def test_ctrl_c_twice_stops_at_once_with_the_checkpoint_before(tmp_path):
    with pytest.raises(SystemExit):
        run(tmp_path, STEPS, Signals(7, [signal.SIGINT, signal.SIGINT]))
    assert last_step(tmp_path) == SAVE_EVERY


def test_slurms_warning_puts_the_job_back_into_the_queue(tmp_path, straight, monkeypatch, capfd):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/said"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in (("SLURM_JOB_ID", "70"), ("SLURM_ARRAY_JOB_ID", "70"), ("SLURM_ARRAY_TASK_ID", "3")):
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGUSR1)
    requeue_on_warning()
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGUSR1)  # before there is anything to save
    assert (tmp_path / "said").read_text() == "requeue 70_3\n"
    (tmp_path / "said").unlink()
    with pytest.raises(SystemExit):
        run(tmp_path / "run", STEPS, Signals(3, [signal.SIGUSR1, signal.SIGTERM]))  # the time is over in that step
    signal.signal(signal.SIGUSR1, before)
    assert last_step(tmp_path / "run") == 3
    assert (tmp_path / "said").read_text() == "requeue 70_3\n" and "job 70_3 goes back into the queue" in capfd.readouterr().out
    resumed = run(tmp_path / "run", STEPS)
    for name, value in straight[1].state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.parametrize("requeues", [True, False])
def test_submitits_time_limit_saves_first_and_then_asks_submitit(tmp_path, straight, monkeypatch, requeues):
    monkeypatch.setenv("SLURM_JOB_ID", "70")
    saved = []

    def submitit(number, frame):  # its handler puts the job back and exits, or raises where it may not
        saved.append(last_step(tmp_path))
        raise SystemExit(1) if requeues else RuntimeError("Job not requeued because: timed-out too many times.")

    before = signal.signal(signal.SIGUSR2, submitit)
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, STEPS, Signals(3, [signal.SIGUSR2]))
    assert signal.signal(signal.SIGUSR2, before) is submitit
    assert saved == [3] and stop.value.code == (1 if requeues else 128 + signal.SIGUSR2)
    resumed = run(tmp_path, STEPS)
    for name, value in straight[1].state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


class AtTheEnd(lightning.Callback):
    """Raises a signal when no step comes any more."""

    def on_train_end(self, trainer, *_):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_after_the_last_step_stops_before_the_export(tmp_path, straight):
    with pytest.raises(SystemExit) as stop:
        run(tmp_path, STEPS, AtTheEnd())
    assert stop.value.code == 128 + signal.SIGTERM and last_step(tmp_path) == STEPS
    resumed = run(tmp_path, STEPS)
    for name, value in straight[1].state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_an_error_leaves_the_checkpoint_before(tmp_path):
    class Breaks(lightning.Callback):
        def on_before_backward(self, trainer, *_):
            if trainer.global_step == 7:
                raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run(tmp_path, STEPS, Breaks())
    assert last_step(tmp_path) == SAVE_EVERY


def test_a_kill_while_writing_leaves_a_whole_file(tmp_path, monkeypatch):
    run(tmp_path, 3)
    whole = RunFolder(tmp_path).last_checkpoint.read_bytes()

    def killed(trainer, path):
        Path(path).write_bytes(b"half a checkp")
        raise KeyboardInterrupt

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", killed)
    with pytest.raises(SystemExit):
        run(tmp_path, STEPS)
    assert RunFolder(tmp_path).last_checkpoint.read_bytes() == whole


def test_best_is_the_lowest_validation_loss(straight):
    folder, _ = straight
    with (folder / "metrics.csv").open() as file:
        losses = {int(row["step"]): float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]}
    assert list(losses) == [VAL_EVERY, 2 * VAL_EVERY]
    best = torch.load(RunFolder(folder).checkpoints / "best.ckpt", weights_only=True)
    assert losses[best["global_step"]] == min(losses.values())
    assert best["callbacks"][SaveCheckpoints.__name__]["best"] == pytest.approx(min(losses.values()))
    assert {path.name for path in RunFolder(folder).checkpoints.iterdir()} == {"last.ckpt", "best.ckpt"}


def test_accumulated_batches_are_one_step(tmp_path):
    """A stop in the first of three batches waits for the step that they make."""
    module = run(tmp_path / "straight", 6, accumulate=3)
    with pytest.raises(SystemExit):
        run(tmp_path / "stopped", 6, Signals(3, [signal.SIGINT]), accumulate=3)
    assert last_step(tmp_path / "stopped") == 3
    resumed = run(tmp_path / "stopped", 6, accumulate=3)
    for name, value in module.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    logs = [(tmp_path / name / "metrics.csv").read_text() for name in ("straight", "stopped")]
    assert logs[0] == logs[1]
