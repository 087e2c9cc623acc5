"""A training as a SLURM job: what sbatch was told and what Lightning needs are held against each other before it starts."""

import os
import signal
import subprocess
import sys

import pytest

from codec.runs.slurm import WARNINGS, check_tasks, hand_on, join_step, requeue_on_warning
from codec.types import UserError


def job(monkeypatch, **variables: str) -> None:
    for name in ("NTASKS", "NTASKS_PER_NODE", "JOB_NAME", "STEP_ID", "JOB_ID", "STEP_NUM_TASKS", "STEP_LAUNCHER_PORT"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", value)


@pytest.mark.parametrize(
    "variables, devices, num_nodes",
    [
        ({}, 2, 1),
        ({"JOB_ID": "7"}, 1, 1),
        ({"JOB_ID": "7", "NTASKS": "1"}, 1, 1),
        ({"JOB_ID": "7", "NTASKS": "1", "JOB_NAME": "interactive"}, 2, 1),
        ({"JOB_ID": "7", "NTASKS": "2", "JOB_NAME": "bash", "STEP_ID": "0", "STEP_NUM_TASKS": "1"}, 2, 1),  # srun --pty bash
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


def test_tasks_of_srun_within_salloc_are_those_of_one_training(monkeypatch):
    """Lightning takes a job of this name for a shell, in which it would start a training for each task."""
    from lightning.fabric.plugins.environments import SLURMEnvironment

    salloc = {"JOB_ID": "7", "NTASKS": "2", "NTASKS_PER_NODE": "2", "JOB_NAME": "interactive"}
    job(monkeypatch, **salloc)
    join_step()
    assert not SLURMEnvironment.detect()
    job(monkeypatch, **salloc, STEP_ID="0", STEP_NUM_TASKS="2")
    join_step()
    assert SLURMEnvironment.detect()
    job(monkeypatch, **salloc, STEP_ID="0", STEP_NUM_TASKS="2")
    with pytest.raises(UserError, match="2 tasks with trainer.devices=1"):
        join_step()
        check_tasks(1, 1)


def test_each_step_has_a_port_of_its_own(monkeypatch):
    """Lightning's is the end of the job's number: 20007 and 30007 meet at one."""
    from lightning.fabric.plugins.environments import SLURMEnvironment

    ports = []
    for number, launcher in (("20007", 32768), ("30007", 60999), ("30007", 45000), ("30008", 61001)):
        two = {"NTASKS": "2", "NTASKS_PER_NODE": "2", "STEP_ID": "0", "STEP_NUM_TASKS": "2"}
        job(monkeypatch, JOB_ID=number, STEP_LAUNCHER_PORT=str(launcher), **two)
        join_step()
        ports.append(SLURMEnvironment().main_port)
    assert len(set(ports)) == 4 and all(1024 < port < 32768 + 2 for port in ports)
    job(monkeypatch, JOB_ID="7", STEP_LAUNCHER_PORT="45000", NTASKS="2", NTASKS_PER_NODE="2", STEP_NUM_TASKS="2")
    monkeypatch.setenv("MASTER_PORT", "1234")  # whoever says one has it
    join_step()
    assert os.environ["MASTER_PORT"] == "1234"


@pytest.fixture
def handlers():
    """Those of the warnings, put back afterwards."""
    before = {number: signal.getsignal(number) for number in WARNINGS}
    for number in WARNINGS:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def said(tmp_path, monkeypatch):
    """A file with what scontrol was told."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "$@" >> "$(dirname "$0")/said"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "said"


CALLBACK = """
import signal, weakref
from codec.runs.slurm import requeue_on_warning
class Module: pass
requeue_on_warning()
module = Module()
kept = weakref.ref(module, lambda _: signal.raise_signal(signal.SIGUSR1))
del module
print("goes on")
"""


def test_a_warning_within_a_callback_of_the_imports_ends_the_process(monkeypatch, said):
    job(monkeypatch, JOB_ID="7", PROCID="1")
    done = subprocess.run([sys.executable, "-c", CALLBACK], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGUSR1, "", "")


def test_a_job_whose_end_has_begun_is_not_to_be_submitted_again(monkeypatch, handlers, said, capfd):
    """SLURM ends the processes of a job that goes back, scontrol among them."""
    (said.parent / "scontrol").write_text("#!/bin/sh\nkill -TERM $$\n")
    job(monkeypatch, JOB_ID="7")
    requeue_on_warning()
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGUSR1)
    assert capfd.readouterr().out == "job 7 goes back into the queue\n"


@pytest.mark.parametrize("number", WARNINGS)
def test_a_warning_puts_the_job_back_once(monkeypatch, handlers, said, number):
    """By its first task, and by no process that a task has forked."""
    job(monkeypatch, JOB_ID="7")
    requeue_on_warning()
    child = os.fork()
    if not child:
        signal.raise_signal(number)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0 and not said.exists()
    for rank in "10":
        monkeypatch.setenv("SLURM_PROCID", rank)
        with pytest.raises(SystemExit) as stop:
            signal.raise_signal(number)
        assert stop.value.code == 128 + number
    assert said.read_text() == "requeue 7\n"


def test_submitits_handler_stays_and_may_refuse(monkeypatch, handlers, said, capfd):
    """It puts its job back itself, or says by an exception that it does not."""

    def refuses(number, frame):
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    job(monkeypatch, JOB_ID="7")
    signal.signal(signal.SIGUSR2, refuses)
    requeue_on_warning()
    assert signal.getsignal(signal.SIGUSR2) is refuses
    hand_on(signal.SIGUSR2, refuses)
    assert "timed-out too many times. The same command goes on from there" in capfd.readouterr().out
    assert not said.exists()
    hand_on(signal.SIGUSR1, signal.SIG_DFL)  # nobody to be told
