"""The points of a sweep as jobs of SLURM: one job a point, found again by whoever asks, and watched until it is gone.

Who requeues on which signal, for all jobs of trainings: codec/runs/slurm.py.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from codec.atomic import write_atomically
from codec.runs.lock import is_held, one_at_a_time
from codec.runs.point import Point
from codec.runs.state import ask, read_state, write_state
from codec.types import UserError

LOOK = 5.0  # seconds between two looks at the queue
GONE_WELL = ("COMPLETED", "CANCELLED", None)  # ends that say nothing against a run


def queued_jobs() -> set[str] | None:
    """The numbers of this user's jobs that wait, run or end, such as 12 and 13_0; None where SLURM does not answer.

    Raises UserError where there is no SLURM.
    """
    try:
        listed = subprocess.run(["squeue", "-h", "-r", "--me", "-o", "%i"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise UserError("no squeue here; expected a machine of a SLURM cluster; leave hydra/launcher=slurm out") from None
    except subprocess.TimeoutExpired:
        return None
    return None if listed.returncode else set(listed.stdout.split())


def _end_of(job: str) -> str | None:
    """How a job ended, such as OUT_OF_MEMORY; None where SLURM has forgotten it."""
    shown = subprocess.run(["scontrol", "-o", "show", "job", job], capture_output=True, text=True)
    states = [word.partition("=")[2] for word in shown.stdout.split() if word.startswith("JobState=")]
    return states[0] if states else None


class Jobs:
    """Trains points, each in a job; returns when none of them is in the queue or trained by somebody else.

    submit: gives the numbers of the jobs that it submitted for points. needed: whether there is something to do for a point.
    """

    def __init__(self, submit: Callable[[Sequence[Point]], Sequence[str]], needed: Callable[[Point], bool]):
        self._submit, self._needed = submit, needed

    def train(self, points: Sequence[Point], sweep: Path) -> None:
        """Submit what is needed and not on its way already, and wait. sweep: its folder, where two who ask take turns."""
        with one_at_a_time(sweep):
            queued = queued_jobs()
            new = [point for point in points if not self._is_on_its_way(point, queued) and self._needed(point)]
            for point, job in zip(new, self._submit(new) if new else [], strict=True):
                ask(point.folder)
                write_atomically(point.folder / "job", job.encode())  # not in the state, which the job writes
        queued = queued_jobs()
        for point in points:
            if (number := _job_of(point)) is not None and self._is_on_its_way(point, queued):
                print(f"{point.label}  job {number}", flush=True)
        try:
            self._wait(points)
        except KeyboardInterrupt:
            print(
                "the jobs go on; the same command again waits for them, codec status shows them, scancel ends them", flush=True
            )
            raise
        for point in points:
            _note_end(point)

    def _wait(self, points: Sequence[Point]) -> None:
        while True:
            queued = queued_jobs()
            if not any(self._is_on_its_way(point, queued) for point in points):
                return
            time.sleep(LOOK)

    def _is_on_its_way(self, point: Point, queued: set[str] | None) -> bool:
        job = _job_of(point)
        return is_held(point.folder) or (job is not None and (queued is None or job in queued))


def _job_of(point: Point) -> str | None:
    """The job that was submitted for a point last."""
    path = point.folder / "job"
    return path.read_text() if path.exists() else None


def _note_end(point: Point) -> None:
    """Say in its folder how a job ended that could not say it itself."""
    state, job = read_state(point.folder), _job_of(point)
    if state is None or job is None or state.status in ("failed", "finished") or is_held(point.folder):
        return
    end = _end_of(job)
    if end in GONE_WELL:
        write_state(point.folder, state._replace(status="stopped"))
    else:
        write_state(point.folder, state.failed(f"its SLURM job {job} ended as {end}"))
