"""The processes of one training end together: whoever fails tells the others, one line is said, and nobody waits for ever.

A rank that waits for the gradients of another sees its end late or never: for half an hour in NCCL, and before the ranks have
met for as long. So each has a line to the first rank beside those of its gradients: torch's store, which the first rank
serves from the beginning of its command. What ends a training is written there once, by the first that fails.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment

from codec.runs.state import OF_ANOTHER
from codec.types import UserError

ENDED, GONE = "codec/ended", "codec/gone"  # what ended the training; how many ranks have left, or have heard of it
PATIENCE = timedelta(minutes=30)  # for the first rank to come: its imports may be slower
GRACE = 5.0  # seconds to end by itself for a rank that hears of an end: it may be deep in a call that does not return
FAREWELL = 30.0  # seconds that the first rank waits for the others before it takes the store with it
SHORT_FAREWELL = 2.0  # where one of them is gone without a word


class Place(NamedTuple):
    """Of this process among those of its training: rank of how many, and where the first of them serves."""

    rank: int
    world: int
    address: str
    port: int


class AnotherFailedError(UserError):
    """Another rank failed, and has said why."""


class LostError(UserError):
    """Another rank is gone without a word."""


def _place() -> Place | None:
    """As whoever started this process says; None for a process that nobody started as one of several."""
    told = os.environ.get
    if int(told("SLURM_STEP_NUM_TASKS", 1)) > 1:
        job = SLURMEnvironment(auto_requeue=False)
        return Place(int(told("SLURM_PROCID", 0)), int(told("SLURM_STEP_NUM_TASKS", 1)), job.main_address, job.main_port)
    rank, world, address, port = (told(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if rank is None and _started_by_lightning():
        rank = "1"  # or another, but never the first
    if rank is None or world is None or address is None or port is None or int(world) < 2:
        return None
    return Place(int(rank), int(world), address, int(port))


def _started_by_lightning() -> bool:
    return "RANK" not in os.environ and int(os.environ.get("LOCAL_RANK", 0)) > 0


class _Others:
    """The line to the others."""

    def __init__(self, place: Place):
        self._place = place
        self._me = f"{place.rank} {os.getpid()}"
        self._leaving = threading.Event()
        self._store = self._connected(place.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True")
        threading.Thread(target=self._watch, daemon=True, name="ranks").start()

    def _connected(self, serves: bool) -> dist.TCPStore:
        _, world, address, port = self._place
        # multi_tenant: the process group's own store is the same server, later.
        return dist.TCPStore(address, port, world, serves, PATIENCE, wait_for_workers=False, multi_tenant=True)

    def _watch(self) -> None:
        """Wait for an end that another tells, or for that of the store, and see to it that this process ends, too."""
        with suppress(RuntimeError):  # the first rank is gone
            store = self._connected(serves=False)  # of its own: a store has one question at a time
            while not store.check([ENDED]):
                time.sleep(0.5)
        if not self._leaving.wait(GRACE):
            with suppress(RuntimeError):
                self._store.add(GONE, 1)
            os._exit(2)

    def failed_elsewhere(self) -> str | None:
        """The line of the rank that failed first, unless it is this one."""
        with suppress(RuntimeError):
            if self._store.check([ENDED]):
                who, _, line = self._store.get(ENDED).decode().partition(": ")
                return None if who == self._me else line
        return None

    def fail(self, line: str) -> bool:
        """Tell the others that this rank failed; whether it is the first to do so."""
        mine = f"{self._me}: {line}"
        with suppress(RuntimeError):
            return self._store.compare_set(ENDED, "", mine).decode() == mine
        return False

    def leave(self, patience: float = FAREWELL) -> None:
        """Leave for good; the first rank waits until the others have left, or have heard why."""
        self._leaving.set()
        with suppress(RuntimeError):
            gone, ends = self._store.add(GONE, 1), time.monotonic() + patience
            while self._place.rank == 0 and gone < self._place.world and time.monotonic() < ends:
                time.sleep(0.1)
                gone = self._store.add(GONE, 0)


_others: _Others | None = None
_status: int | None = None  # of this process, when its command is over


def launch(place: Place) -> None:
    """Be there for the ranks that this process is about to start: the first of all serves, that of a further node asks it."""
    global _others
    if _others is None:
        _others = _Others(place)


def explained(error: Exception) -> Exception:
    """The error of a training; where another rank failed first, or is gone, that."""
    if _others is None:
        return error
    time.sleep(1.0)  # for the word of another, which may be on its way
    if (line := _others.failed_elsewhere()) is not None:
        return AnotherFailedError(OF_ANOTHER + line)
    if (
        UserError.behind(error) is None
        and isinstance(error, RuntimeError)
        and any(library in str(error) for library in ("gloo", "NCCL"))
    ):
        return LostError(
            "a process of this training is gone; expected all of them until its end; see whether the system ended it, as for "
            "want of memory; the same command goes on from the last checkpoint"
        )
    return error


@contextmanager
def ending_together() -> Iterator[None]:
    """Around what all ranks of a training do: a failure is told to the others, and only the first that fails says why."""
    global _others
    # Registered before what loggers register, so that it comes after them.
    atexit.register(_end_at_once)
    if _started_by_lightning():
        atexit.register(_end, 0)  # Lightning kills the first rank where another ends otherwise, as after Ctrl-C
    place = _place()
    _others = None if place is None else _Others(place)
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if _others is None:
            raise
        line = " ".join(str(UserError.behind(error) or f"{type(error).__name__}: {error}").split())
        first = not isinstance(error, AnotherFailedError) and _others.fail(line)
        _others.leave(SHORT_FAREWELL if isinstance(error, LostError) else FAREWELL)
        if first:
            raise
        _end(2)
    except SystemExit:
        _leave()
        raise
    _leave()


def _leave() -> None:
    if _others is not None:
        _others.leave()


def end_with(status: int) -> None:
    """Say with which status this process is about to end, its command being over."""
    global _status
    _status = status


def _end_at_once() -> None:
    """One of several ends here: a process group that is taken down with its process may abort it, whatever its status."""
    if _others is not None and _status is not None:
        _end(_status)


def _end(status: int) -> None:
    """At once: what a process group says at its own end concerns nobody here."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
