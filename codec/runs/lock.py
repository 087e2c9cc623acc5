"""One process at a time in a run folder, or at results: a file that says who has it, taken over when that process is dead.

On one machine a process is dead when it is gone, or when its number belongs to another by now. On another machine it gives a
sign of life every BEAT seconds, the file's time, and is dead after SILENCE seconds without. A SLURM job that was put back
into the queue takes over from itself at once, wherever it was.
"""

import fcntl
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from codec.atomic import new_file
from codec.types import UserError

BEAT, SILENCE = 30.0, 300.0  # seconds; ten signs of life lost in a row, not a slow disk


class HeldError(UserError):
    """Another process has the lock."""


class Owner(NamedTuple):
    """Who has a lock. machine: tells machines and containers of one name apart. started: when, in the system's own words."""

    host: str
    machine: str
    pid: int
    started: str | None
    since: str
    job: str | None
    restart: str | None


def _machine() -> tuple[str, str]:
    """The name of this machine, and what tells its process numbers from others: its start and the container."""
    with suppress(OSError):
        return (
            socket.gethostname(),
            f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}",
        )
    return socket.gethostname(), ""


def _started(pid: int) -> str | None:
    """When a process of this machine began, "" for one that ended; None where that cannot be seen."""
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return "" if state in "ZX" else fields[18]
        return None
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return shown.stdout.strip() or None


def _job() -> tuple[str | None, str | None]:
    """The SLURM job that this process belongs to, and how often it was started before."""
    if "SLURM_JOB_ID" not in os.environ:
        return None, None
    cluster = os.environ.get("SLURM_CLUSTER_NAME", "")
    return f"{cluster}/{os.environ['SLURM_JOB_ID']}", os.environ.get("SLURM_RESTART_COUNT", "0")


def _this_process() -> Owner:
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return Owner(*_machine(), os.getpid(), _started(os.getpid()), now, *_job())


def _is_alive(owner: Owner) -> bool:
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return _started(owner.pid) in (owner.started, None)


def _is_dead(owner: Owner | None, silent: float) -> bool:
    """Whether a lock may be taken over; owner: None for a file that says nothing, as between its making and its writing."""
    if owner is not None and (owner.host, owner.machine) == _machine():
        return not _is_alive(owner)
    job, restart = _job()
    requeued = owner is not None and job is not None and owner.job == job and owner.restart != restart
    return requeued or silent > SILENCE


def _read(path: Path) -> Owner | None:
    try:
        said = json.loads(path.read_text())
        return Owner(**{name: said.get(name) for name in Owner._fields})
    except (FileNotFoundError, ValueError, AttributeError):
        return None


def is_held(folder: Path) -> bool:
    """Whether a living process has the lock of a folder; writes nothing."""
    path = folder / "lock"
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    return not _is_dead(_read(path), silent)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """For the moment of taking or leaving a lock, among the processes of one machine at least."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks have no such locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _create(path: Path, owner: Owner) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(owner._asdict()))
    return True


def _take_away(path: Path, owner: Owner | None) -> None:
    """Remove the lock of a dead owner; one that another machine took in this moment is put back."""
    away = new_file(path.parent)
    with suppress(FileNotFoundError):
        path.replace(away)
        if _read(away) != owner:
            with suppress(OSError):
                os.link(away, path)
    away.unlink(missing_ok=True)


def _silent(path: Path) -> float:
    """Seconds since the last sign of life, by the clock of the disk, since those of machines differ."""
    now = new_file(path.parent)
    try:
        return now.stat().st_mtime - path.stat().st_mtime
    finally:
        now.unlink()


class RunLock:
    """The lock of a run folder, held from `with` to its end, by the first rank for all.

    name, doing: of another lock than that of training the run, its file in the folder and what its owner does there.
    Raises HeldError, with who has it, where another process has it. Of two machines that take over from a dead owner in the
    same millisecond both may think that they did; one of them stops at its next `touch`.
    """

    def __init__(self, folder: Path, name: str = "lock", doing: str = "trained"):
        self.folder, self.path, self.doing = folder, folder / name, doing
        self._mine: Owner | None = None
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True, name="lock")

    def __enter__(self) -> "RunLock":
        mine = _this_process()
        with one_at_a_time(self.folder):
            while not _create(self.path, mine):
                with suppress(FileNotFoundError):  # given back in this moment
                    owner, silent = _read(self.path), _silent(self.path)
                    if not _is_dead(owner, silent):
                        raise HeldError(self._refusal(owner, silent))
                    _take_away(self.path, owner)
        self._mine = mine
        self._beats.start()
        return self

    def _refusal(self, owner: Owner | None, silent: float) -> str:
        if owner is None:
            return f"{self.folder} is being taken by another process in this moment; expected one at a time; wait or stop it"
        who = f"{self.folder} is being {self.doing} by process {owner.pid} on host {owner.host} since {owner.since}"
        if (owner.host, owner.machine) != _machine():
            who += f", which gave a sign of life {silent:.0f} seconds ago and counts as dead after {SILENCE:.0f}"
        return f"{who}; expected one process at a time; wait for it or stop it"

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):
                if self.is_mine():
                    os.utime(self.path)

    def is_mine(self) -> bool:
        """Whether nobody took it over or removed it."""
        return self._mine is not None and _read(self.path) == self._mine

    def touch(self) -> None:
        """Make sure of the lock and give a sign of life, before writing what another would overwrite.

        Raises UserError where it was taken over, as after a computer has slept.
        """
        with suppress(OSError):  # a disk that is away for a moment
            if not self.is_mine():
                raise UserError(
                    f"{self.folder} was taken over by another process; expected the lock in it; this one stops here"
                )
            os.utime(self.path)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._beats.join(timeout=1)  # longer only where a disk hangs
        with suppress(FileNotFoundError), one_at_a_time(self.folder):
            if self.is_mine():
                self.path.unlink()
        self._mine = None
