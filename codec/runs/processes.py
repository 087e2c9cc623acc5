"""The points of a sweep as processes of this machine, several at once, each with its share of GPUs and a port of its own."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from codec.runs.lock import is_held
from codec.runs.point import HELD, Point, command_of, environment_of
from codec.runs.state import ask, read_state, write_state
from codec.types import UserError

LOOK, LOOK_ELSEWHERE = 0.2, 10.0  # seconds between two looks at processes here, at a point that another process trains
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
OF_A_STARTER = ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK")  # a point has ranks of its own


def gpu_shares(jobs: int, points: Sequence[Point], gpus: Sequence[str]) -> list[str | None]:
    """What each of `jobs` points at once sees as CUDA_VISIBLE_DEVICES, equally many; None for all, where one runs at a time.

    gpus: their numbers or names. Raises UserError where they do not suffice for the devices that the points ask for.
    """
    of_gpus = [point for point in points if point.accelerator != "cpu"]
    if jobs == 1 or not gpus or not of_gpus:
        return [None] * jobs
    asked = max((int(str(point.devices)) for point in of_gpus if str(point.devices).isdecimal()), default=len(gpus) // jobs)
    if asked * jobs > len(gpus) or not asked:
        raise UserError(
            f"hydra.launcher.jobs={jobs} with trainer.devices={of_gpus[0].devices}; expected GPUs for all, and {len(gpus)} are "
            "here; set fewer of either"
        )
    return [",".join(gpus[job * asked : (job + 1) * asked]) for job in range(jobs)]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use."""
    import torch  # seconds, which a sweep on CPUs does not need

    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return told.split(",")[:count] if told else [str(number) for number in range(count)]


def _free_port(taken: set[int]) -> int:
    """One that nobody listens at, and no point that runs was given."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        if port not in taken:
            return port


class _Running:
    """A point that a process of this sweep trains."""

    def __init__(self, point: Point, share: str | None, port: int, options: Path | None):
        self.point, self.share, self.port = point, share, port
        kept = {name: value for name, value in os.environ.items() if name not in OF_A_STARTER}
        told = {**environment_of(point), "MASTER_PORT": str(port)}
        if share is not None:
            told["CUDA_VISIBLE_DEVICES"] = share
        # Its own session: Ctrl-C in a terminal comes to it once, from here.
        self.process = subprocess.Popen(
            command_of(point, options), env=kept | told, start_new_session=True, stdin=subprocess.DEVNULL
        )


class Processes:
    """Trains points, each in a process of its own: one that fails stops no other, and a signal stops all, each exactly.

    shares: of the GPUs, one for each point at a time. needed: whether there is something to do for a point, asked before it is
    started. options: a folder of options of one's own.
    """

    def __init__(self, shares: Sequence[str | None], needed: Callable[[Point], bool], options: Path | None):
        self._shares, self._needed, self._options = list(shares), needed, options
        self._running: list[_Running] = []
        self._waiting: deque[tuple[Point, float]] = deque()
        self._told: set[Point] = set()
        self._stopped_by = 0  # the signal

    def train(self, points: Sequence[Point]) -> None:
        """Returns when no point has anything left to do here, those included that another process trains meanwhile.

        Raises KeyboardInterrupt or SystemExit, once all have stopped, where a signal stopped them.
        """
        self._waiting.extend((point, 0.0) for point in points)
        with self._hearing_signals():
            try:
                while self._running or (self._waiting and not self._stopped_by):
                    self._start_next()
                    time.sleep(LOOK)
                    self._take_ended()
            except BaseException:  # such as what puts a SLURM job back into the queue
                self._pass_on(signal.SIGTERM)
                for running in self._running:
                    running.process.wait()
                raise
        if self._stopped_by == signal.SIGINT:
            raise KeyboardInterrupt
        if self._stopped_by:
            raise SystemExit(128 + self._stopped_by)

    def _start_next(self) -> None:
        """Start a point that waits, where there is room and nobody else trains it; those wait behind the others."""
        for _ in range(len(self._waiting)):
            if not self._shares or self._stopped_by:
                return
            point, earliest = self._waiting.popleft()
            if time.monotonic() < earliest:
                self._waiting.append((point, earliest))
            elif is_held(point.folder):
                self._wait_for_other(point)
            elif self._needed(point):
                ask(point.folder)
                port = _free_port({running.port for running in self._running})
                self._running.append(running := _Running(point, self._shares.pop(0), port, self._options))
                if self._stopped_by:  # in this moment
                    running.process.send_signal(signal.SIGTERM)

    def _wait_for_other(self, point: Point) -> None:
        if point not in self._told:
            print(f"{point.label}  waits for another process that trains it", flush=True)
            self._told.add(point)
        self._waiting.append((point, time.monotonic() + LOOK_ELSEWHERE))

    def _take_ended(self) -> None:
        for running in [running for running in self._running if running.process.poll() is not None]:
            self._running.remove(running)
            self._shares.append(running.share)
            if running.process.returncode == HELD:
                self._told.add(running.point)  # by itself
                self._wait_for_other(running.point)
            elif not self._stopped_by:
                _note_end(running.point, running.process.returncode)

    @contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        """Pass signals on to all points while they run; what this process ignores, as under nohup, stays ignored."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in STOPS}
        for number in STOPS:
            if before[number] is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stopped_by = number
        os.write(2, b"\nstopping all points, each after its step (Ctrl-C again: at once)\n")  # print is not safe in a handler
        self._pass_on(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)

    def _pass_on(self, number: int) -> None:
        for running in self._running:
            running.process.send_signal(number)


def _note_end(point: Point, status: int) -> None:
    """Say in its folder how a process ended that could not say it itself."""
    state = read_state(point.folder)
    if status == 0 or state is None or state.status in ("failed", "finished") or is_held(point.folder):
        return
    if status < 0:
        why = f"its process was ended by {signal.Signals(-status).name}"
        write_state(point.folder, state.failed(f"{why}, as where memory is short" if status == -signal.SIGKILL else why))
    elif state.status == "asked" and status not in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        write_state(point.folder, state.failed(f"its process ended with status {status}"))
