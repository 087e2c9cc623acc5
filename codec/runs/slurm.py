"""Training as a SLURM job: its tasks are its devices, and told that its time ends it goes back into the queue."""

import os
import signal
import subprocess
from types import FrameType

from codec.types import UserError

INTERACTIVE = ("bash", "interactive")  # names of jobs in which Lightning starts the processes itself


def in_job() -> bool:
    """Whether this process belongs to a SLURM job."""
    return "SLURM_JOB_ID" in os.environ


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


def requeue() -> None:
    """Put this job back into the queue; one process of the job does it. SLURM ends the job's processes then."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:  # the last task of an array has the array's own number as its SLURM_JOB_ID
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
        print(f"job {job} goes back into the queue", flush=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"job {job} could not be put back into the queue ({error}); submit it again", flush=True)


def requeue_on_signal() -> None:
    """Go back into the queue at SIGUSR1 at once, where there is nothing to save: before the training and after it."""

    def stop(number: int, frame: FrameType | None) -> None:
        if os.environ.get("SLURM_PROCID", "0") == "0":
            requeue()
        raise SystemExit(128 + number)

    if in_job():
        signal.signal(signal.SIGUSR1, stop)
