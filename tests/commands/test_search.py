"""Optuna through Hydra: its trials are runs like others, and the same command again repeats none."""

from pathlib import Path

import pytest
from conftest import codec
from tiny_second_stage import SECOND_STAGE, save_first_stage

from codec.runs.folder import RunFolder

NUM_TRIALS = 6
SEARCHED = ("optim.lr", "adversarial.beta")


def search(folder: Path, num_trials: int):
    """The command for so many trials."""
    return codec(
        "train", "-m", "hydra/sweeper=search", f"hydra.sweeper.n_trials={num_trials}", *SECOND_STAGE, "test.measures=[]",
        "init_from=first.safetensors", "optim.lr=tag(log, interval(0.0001, 0.01))", "adversarial.beta=interval(0.05, 0.3)",
        cwd=folder,
    )  # fmt: skip


def runs_of(folder: Path) -> dict[Path, int]:
    """The bundles of the finished runs, each with the time that it was written."""
    bundles = sorted(folder.glob("runs/hific/*/codec.safetensors"))
    assert all(RunFolder(path.parent).finished for path in bundles)
    return {path: path.stat().st_mtime_ns for path in bundles}


@pytest.mark.minutes
@pytest.mark.timeout(2400)
def test_trials_are_runs_and_the_same_command_repeats_none(tmp_path):
    pytest.importorskip("optuna")
    save_first_stage(tmp_path / "first.safetensors")
    done = search(tmp_path, NUM_TRIALS - 1)
    assert done.returncode == 0, done.stderr
    first = runs_of(tmp_path)
    assert len(first) == NUM_TRIALS - 1
    done = search(tmp_path, NUM_TRIALS)
    assert done.returncode == 0, done.stderr
    more = runs_of(tmp_path)
    assert len(more) == NUM_TRIALS and first.items() <= more.items()  # one trial more, the others found
    given = [RunFolder(path.parent).facts()["given"] for path in more]
    assert len({tuple(run[key] for key in SEARCHED) for run in given}) == NUM_TRIALS
    assert search(tmp_path, NUM_TRIALS).returncode == 0
    assert runs_of(tmp_path) == more
