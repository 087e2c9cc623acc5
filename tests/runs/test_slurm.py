"""A training as a SLURM job: what sbatch was told and what Lightning needs are held against each other before it starts."""

import pytest

from codec.runs.slurm import check_tasks
from codec.types import UserError


def job(monkeypatch, **variables: str) -> None:
    for name in ("NTASKS", "NTASKS_PER_NODE", "JOB_NAME", "STEP_ID", "JOB_ID"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


@pytest.mark.parametrize(
    "variables, devices, num_nodes",
    [
        ({}, 2, 1),
        ({"JOB_ID": "7"}, 1, 1),
        ({"JOB_ID": "7", "NTASKS": "1"}, 1, 1),
        ({"JOB_ID": "7", "NTASKS": "1", "JOB_NAME": "interactive"}, 2, 1),
        ({"JOB_ID": "7", "NTASKS": "8", "NTASKS_PER_NODE": "4", "STEP_ID": "0"}, "4", 2),
        ({"JOB_ID": "7", "NTASKS": "4", "NTASKS_PER_NODE": "4", "STEP_ID": "0"}, "auto", 1),
    ],
)
def test_a_task_a_device_is_right(monkeypatch, variables, devices, num_nodes):
    job(monkeypatch, **variables)
    check_tasks(devices, num_nodes)


@pytest.mark.parametrize(
    "variables, devices, expected",
    [
        ({"NTASKS": "2", "NTASKS_PER_NODE": "2", "STEP_ID": "0"}, 1, "2 tasks with trainer.devices=1.*--ntasks-per-node=1$"),
        ({"NTASKS": "1"}, 2, "1 tasks with trainer.devices=2.*--ntasks-per-node=2$"),
        ({"NTASKS": "2", "STEP_ID": "0"}, 2, "--ntasks-per-node=2$"),
        ({"NTASKS": "2", "NTASKS_PER_NODE": "2"}, 2, "say srun codec train$"),
    ],
)
def test_other_jobs_are_refused_in_one_line(monkeypatch, variables, devices, expected):
    job(monkeypatch, JOB_ID="7", JOB_NAME="wrap", **variables)
    with pytest.raises(UserError, match=expected) as error:
        check_tasks(devices, 1)
    assert "\n" not in str(error.value)
