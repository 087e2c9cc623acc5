"""A SLURM cluster of this machine alone, for tests: `python tests/slurm/cluster.py` tells how a job fares on it.

munged, slurmctld and slurmd as root, without systemd or cgroups, with all that they keep in one folder. Each start takes a
new folder and new ports, so that nothing of one that was killed is in the way; its daemons end with the process that started
them, whichever way it goes.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# cred_expire, seconds, is how long a requeued job waits too; five are the least.
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "salloc", "scontrol", "scancel", "squeue")
NUM_CPUS = 16  # as many as SLURM is told of, however few there are: several jobs of two tasks at once

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
JobRequeue=1
KillWait={kill_wait}
MinJobAge=86400
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus}
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE OverSubscribe=YES
"""
KILL_WAIT = 10  # seconds from SIGTERM to SIGKILL


def _die_with_parent() -> None:
    """For the child between fork and exec: SIGKILL where the process that started it is gone."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [taken.getsockname()[1] for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


def missing() -> str | None:
    """Why there can be no cluster here, or None."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "SLURM's daemons want root"


def wait_for(what: str, seen: Callable[[], Any], seconds: float) -> Any:
    """What `seen` returns once that is true. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not (result := seen()):
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(0.05)
    return result


class Cluster:
    """A running cluster. environment: of commands that speak to it."""

    def __init__(self, folder: Path):
        self.folder = folder
        of_others = ("SLURM", "SBATCH", "SRUN", "MASTER_", "RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(of_others)}
        self.environment = {**inherited, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the daemons and wait for the node. Raises TimeoutError with the end of their logs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        controller, daemon = _free_ports(2)
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0], controller=controller, daemon=daemon, folder=self.folder,
            kill_wait=KILL_WAIT, cpus=NUM_CPUS,
        ))  # fmt: skip
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        places = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{key}={self.folder}/munge.{at}" for key, at in places.items()))
        try:
            wait_for("munged", (self.folder / "munge.socket").exists, 10)
            self._daemon("slurmctld", "-D", "-c")
            self._daemon("slurmd", "-D", "-c")
            wait_for("the node", lambda: "idle" in self.say("sinfo", "-h", "-o", "%T", check=False), 30)
        except TimeoutError as error:
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log"))
            raise TimeoutError(f"{error}:\n{logs}") from None

    def _daemon(self, program: str, *words: str) -> None:
        path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
        assert path is not None
        with (self.folder / f"{program}.out.log").open("wb") as log:
            self._daemons.append(subprocess.Popen(
                [path, *words], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=_die_with_parent,
            ))  # fmt: skip

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        with suppress(OSError, subprocess.SubprocessError):
            self.say("scancel", "--state=PENDING", "-u", "root", check=False)
            self.say("scancel", "-u", "root", check=False)
            with suppress(TimeoutError):
                wait_for("the end of all jobs", lambda: not self.say("squeue", "-h", check=False), KILL_WAIT + 5)
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def say(self, *words: str, check: bool = True, timeout: float = 60, cwd: Path | None = None) -> str:
        """What a command of SLURM's prints, without the line's end. Raises AssertionError with it where it fails."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=timeout, cwd=cwd)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def submit(self, command: str, *options: str) -> str:
        """The number of a new batch job."""
        return self.say("sbatch", "--parsable", *options, f"--wrap={command}")

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says."""
        words = self.say("scontrol", "-o", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def restarts(self, number: str) -> int:
        """How often a job was started again."""
        return int(self.job(number)["Restarts"])

    def ended(self, number: str, seconds: float) -> str:
        """The state in which a job ended, such as COMPLETED. Raises TimeoutError."""
        states = ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")
        wait_for(f"the end of job {number}", lambda: self.job(number)["JobState"] not in states, seconds)
        return self.job(number)["JobState"]


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster for the time of `with`."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a short name: a socket's path has 108 characters at most
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    with cluster() as here:
        begun = time.monotonic()
        job = here.submit("srun hostname", "--ntasks-per-node=2", f"--output={here.folder}/job.out")
        print(here.ended(job, 30), (here.folder / "job.out").read_text().split(), f"{time.monotonic() - begun:.1f} s")
