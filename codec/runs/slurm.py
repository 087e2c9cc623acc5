"""Training as a SLURM job: its tasks are its devices, and told that its time ends it goes back into the queue."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from codec.types import UserError

INTERACTIVE = ("bash", "interactive")  # names of jobs in which Lightning starts the processes itself
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)  # that the time ends: sbatch --signal=USR1@SECONDS, and submitit's


def in_job() -> bool:
    """Whether this process belongs to a SLURM job."""
    return "SLURM_JOB_ID" in os.environ


def join_step() -> None:
    """Let Lightning take the tasks that srun started for ranks, at a port of their own; before it is asked where they meet.

    It takes those within salloc for as many trainings, by the job's name; its port is the end of the job's number.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) < 2:
        return
    if os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        os.environ["SLURM_JOB_NAME"] = "codec"
    if "SLURM_STEP_LAUNCHER_PORT" in os.environ:
        os.environ.setdefault("MASTER_PORT", str(_port(int(os.environ["SLURM_STEP_LAUNCHER_PORT"]))))


def _port(launcher: int) -> int:
    """Another port for each port of an srun, which no two have at a time on one machine.

    srun's lies among those that the system gives out, from 32768; this one below them.
    """
    system = 60999 - 32768 + 1  # how many those are
    return launcher - system if launcher > 32767 else launcher + system


def check_tasks(devices: object, num_nodes: int) -> None:
    """Raise UserError where a job has not one task a device, each started by srun: Lightning would wait for them forever."""
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    if not in_job() or os.environ.get("SLURM_JOB_NAME") in INTERACTIVE or not str(devices).isdecimal():
        return
    asked = f"trainer.devices={devices} trainer.num_nodes={num_nodes}"
    per_node = "SLURM_NTASKS_PER_NODE" in os.environ or tasks == 1  # Lightning wants to be told so
    if tasks != int(str(devices)) * num_nodes or not per_node:
        raise UserError(
            f"a SLURM job of {tasks} tasks with {asked}; expected one task a device; say sbatch --nodes={num_nodes} "
            f"--ntasks-per-node={devices}"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise UserError(f"{asked} in a SLURM job without srun; expected a process a task; say srun codec train")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # print is not safe in a handler


def _requeue() -> None:
    """Put this job back into the queue; one process of the job does it. SLURM ends the job's processes then."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:  # the last task of an array has the array's own number as its SLURM_JOB_ID
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
        if done.returncode != -signal.SIGTERM:  # SLURM has begun to end the job's processes, with scontrol, before it is done
            done.check_returncode()
        _say(f"job {job} goes back into the queue")
    except (OSError, subprocess.CalledProcessError) as error:
        why = " ".join((getattr(error, "stderr", None) or str(error)).split())
        _say(f"job {job} could not be put back into the queue ({why}); submit it again")


def _end_all_the_same(unraisable: Any) -> None:
    """End this process where its end was raised within a callback, which Python leaves at that: imports have such."""
    error = unraisable.exc_value
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        os._exit(error.code)
    sys.__unraisablehook__(unraisable)


def requeue_on_warning() -> None:
    """Go back into the queue at a warning at once, where there is nothing to save: before the training and after it.

    A handler that is there stays: submitit's, which decides itself whether its job goes back (max_num_timeout).
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            return  # one that this process has started, which SLURM tells too
        if os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0")) == "0":  # Lightning's own processes have the first
            _requeue()
        sys.unraisablehook = _end_all_the_same
        raise SystemExit(128 + number)

    for number in WARNINGS if in_job() else ():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)


def hand_on(number: int, handler: Callable[[int, FrameType | None], Any] | int | None) -> None:
    """Give a warning, once the training is saved, to the handler that was there before: that above, or submitit's."""
    if not callable(handler):
        return
    try:
        handler(number, None)
    except Exception as error:  # how submitit says that its job does not go back
        _say(f"{error} The same command goes on from there.")
