"""A training on a real SLURM of this machine: whatever stops it, wherever, it ends as if nothing had."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cluster import Cluster, cluster, missing, wait_for
from conftest import REPOSITORY
from safetensors.torch import load_file
from wandb_file import history_rows, read_records

from codec.runs.lock import RunLock

TASKS = "--ntasks-per-node=2"
SECONDS = 400.0  # for two processes to import where there is other work: a minute and more at four times the load
STEPS, VAL_EVERY = 11, 8  # two stops before the validation, each at most three steps on, and one after it
WORDS = [
    "trainer=slurm", "trainer.accelerator=cpu", f"steps={STEPS}", f"val_every={VAL_EVERY}", "save_every=100", "log_every=1",
    "model.N=8", "model.M=12", "data.crop=64", "data.batch_size=2", "data.num_workers=1",
    "data.sources.dead_leaves.num_pictures=2",
    "data.sources.dead_leaves.size=96", "schedule.warmup=1", "test.baselines=[]", "logger=[wandb]", "logger.wandb.offline=true",
    "+callbacks.held._target_=held.Held",
]  # fmt: skip


def command(run: Path) -> str:
    return f"srun --label {sys.executable} -m codec train {' '.join(WORDS)} run_dir={run}"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Cluster]:
    if why := missing():
        assert "CI" not in os.environ, why
        pytest.skip(why)
    with cluster() as here:
        places = ":".join(map(str, (REPOSITORY, REPOSITORY / "tests" / "slurm")))
        compiled = str(tmp_path_factory.mktemp("compiled"))  # once, where the environment keeps nothing of it: 18 s a start
        here.environment |= {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": compiled}
        here.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield here


@pytest.fixture(scope="module")
def straight(slurm, tmp_path_factory) -> Path:
    """The folder of a run that nothing stopped, two tasks that srun started within a job by salloc."""
    run = tmp_path_factory.mktemp("straight") / "run"
    said = slurm.say("salloc", TASKS, *command(run).split(), timeout=SECONDS, cwd=REPOSITORY)
    check_said(said)
    return run


OF_THE_FIRST = ("codec    ", "log      ", "results  ", "wandb: ", "stopped at", "goes back")


def check_said(said: str) -> None:
    """The first rank alone tells of the run, whose end it tells of once, and nothing fails."""
    assert "Traceback" not in said and "could not" not in said, said
    assert said.count(": codec    ") == 1, said
    assert not [line for line in said.splitlines() if line.startswith("1: ") and any(word in line for word in OF_THE_FIRST)]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def check_same(run: Path, straight: Path) -> None:
    """Weights, log, figures and W&B's run are those of the run that nothing stopped."""
    for folder in (run, straight):
        assert [int(row["step"]) for row in rows(folder)] == list(range(1, STEPS + 1))
    assert rows(run) == rows(straight)
    ours, theirs = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (run, straight))
    assert ours["global_step"] == theirs["global_step"]
    for name, value in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], value), name
    bundles = [load_file(folder / "codec.safetensors") for folder in (run, straight)]
    assert bundles[0].keys() == bundles[1].keys()
    assert all(torch.equal(bundles[0][name], value) for name, value in bundles[1].items())
    assert len(list((run / "results" / "photographs").glob("*.lic"))) == 5
    check_wandb(run)


def check_wandb(run: Path) -> None:
    """All files of W&B are of one run, and between them they have each row of the log, once or alike."""
    log = {int(row.pop("step")): {name: float(value) for name, value in row.items() if value} for row in rows(run)}
    logged = {name for row in log.values() for name in row}  # W&B has pictures, speed and what was measured, too
    seen: dict[int, dict[str, float]] = {}
    ids = set()
    for path in run.glob("wandb/offline-run-*/*.wandb"):
        records = list(read_records(path)) if path.stat().st_size else []  # of a service that was ended
        ids |= {record.run.run_id for record in records if record.WhichOneof("record_type") == "run"}
        for row in history_rows(records):
            step = row.pop("step")
            for name, value in row.items():
                if name in logged:
                    assert seen.setdefault(step, {}).setdefault(name, value) == value
    assert ids == {(run / "wandb_id").read_text()}
    assert seen == log


class Job:
    """A batch job of one training, and what is done to it."""

    def __init__(self, slurm: Cluster, run: Path, *options: str):
        self.slurm, self.run, self.out = slurm, run, run.parent / "job.out"
        run.mkdir()
        (run / "imports").touch()
        held = f"--export=ALL,HELD_IMPORTS={run}/imports"
        self.number = slurm.submit(
            command(run), TASKS, f"--output={self.out}", "--open-mode=append", f"--chdir={REPOSITORY}", held, *options
        )
        self.times = 0

    def said(self) -> str:
        return self.out.read_text() if self.out.exists() else ""

    def waits_for(self, moment: str) -> None:
        """Returns when the run is there, where it is held until it `goes_on`."""
        wait_for("the job's start", lambda: self.slurm.job(self.number)["JobState"] == "RUNNING", 60)
        if moment == "imports":
            wait_for("both processes", lambda: len(self._listening()) == 2, SECONDS)
        else:
            held = self.run / "held"
            held.unlink(missing_ok=True)
            (self.run / "hold").write_text(moment)
            wait_for(moment, lambda: held.exists() and held.read_text() == moment, SECONDS)

    def _listening(self) -> list[int]:
        """The processes of the job that have asked to be told of SIGUSR1: an earlier one would end them."""
        listed = self.slurm.say("scontrol", "listpids", self.number, check=False).splitlines()[1:]
        pids = [int(line.split()[0]) for line in listed if line.split()[0].isdecimal()]
        found = []
        for pid in pids:
            status = Path(f"/proc/{pid}/status")
            if status.exists() and "codec" in Path(f"/proc/{pid}/cmdline").read_text():
                caught = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt"))
                if int(caught, 16) >> 9 & 1:
                    found.append(pid)
        return found

    def goes_on(self) -> None:
        """After what was done to it; waits for its next start."""
        for hold in ("imports", "hold"):
            (self.run / hold).unlink(missing_ok=True)
        self.times += 1
        wait_for("the requeue", lambda: self.slurm.restarts(self.number) == self.times, 60)
        wait_for("its end", lambda: self.slurm.job(self.number)["JobState"] in ("PENDING", "RUNNING"), 30)
        # SLURM waits for its longest credential; it needs a second. And the time limit was for once.
        self.slurm.say("scontrol", "update", f"JobId={self.number}", "StartTime=now+2", "TimeLimit=UNLIMITED", check=False)


def warned(slurm: Cluster, number: str) -> None:
    slurm.say("scancel", "--signal=USR1", number)


def one_warned(slurm: Cluster, number: str) -> None:
    """The second task, as where it is on another machine, which SLURM tells first."""
    (pid,) = (line.split()[0] for line in slurm.say("scontrol", "listpids", number).splitlines() if line.split()[4] == "1")
    os.kill(int(pid), signal.SIGUSR1)


def requeued(slurm: Cluster, number: str) -> None:
    slurm.say("scontrol", "requeue", number)


def limited(slurm: Cluster, number: str) -> None:
    """To one or two minutes from now, of which SLURM warns at its next look, every half minute."""
    hours, minutes, _ = slurm.job(number)["RunTime"].split(":")
    slurm.say("scontrol", "update", f"JobId={number}", f"TimeLimit={60 * int(hours) + int(minutes) + 2}")
    out = Path(slurm.job(number)["StdOut"])

    def heard() -> int:
        return sum(out.read_text().count(said) for said in ("stopping after this step", "goes back into the queue"))

    before = heard()
    wait_for("the warning", lambda: heard() > before, 60)


MOMENTS = ("imports", "training", "validation", "export", "evaluation")
STOPS = {
    "warned": [(moment, one_warned if moment == "training" else warned) for moment in MOMENTS],
    "limited": [(moment, limited) for moment in MOMENTS],
    "requeued": [(moment, requeued) for moment in MOMENTS],
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["warned", "requeued", pytest.param("limited", marks=pytest.mark.minutes)])
def test_a_run_that_is_stopped_at_every_moment_ends_as_one_that_was_not(slurm, straight, tmp_path, how):
    job = Job(slurm, tmp_path / "run", "--signal=USR1@90")
    for moment, stop in STOPS[how]:
        job.waits_for(moment)
        stop(slurm, job.number)
        time.sleep(0.5)  # until each process has heard of it
        job.goes_on()
    assert slurm.ended(job.number, SECONDS) == "COMPLETED", job.said()
    check_said(job.said())
    check_same(job.run, straight)


MEETS = """
import os, time
from codec.runs.slurm import join_step
join_step()
print(os.environ["MASTER_PORT"])
time.sleep(1)
"""


def test_trainings_on_one_machine_meet_at_ports_of_their_own(slurm, tmp_path):
    """Two jobs at a time, and two steps of one job."""
    (tmp_path / "meets.py").write_text(MEETS)
    srun = f"srun --overlap {sys.executable} {tmp_path}/meets.py"
    options = (TASKS, f"--chdir={REPOSITORY}")
    jobs = [slurm.submit(f"{srun} & {srun} & wait", f"--output={tmp_path}/{name}", *options) for name in "ab"]
    assert [slurm.ended(job, 60) for job in jobs] == ["COMPLETED"] * 2
    ports = [line for name in "ab" for line in (tmp_path / name).read_text().split()]
    assert len(ports) == 8 and len(set(ports)) == 4 and all(ports.count(port) == 2 for port in ports), ports


def test_a_refusal_of_the_first_rank_ends_all_with_one_line(slurm, tmp_path):
    """Another process has the folder, which the first rank alone can see."""
    run = tmp_path / "run"
    run.mkdir()
    with RunLock(run):
        begun = time.monotonic()
        done = subprocess.run(
            ["salloc", "-Q", TASKS, *command(run).split()], env=slurm.environment, capture_output=True, text=True,
            timeout=SECONDS, cwd=REPOSITORY,
        )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if not line.startswith("srun: ")]  # that tasks ended with 2
    assert done.returncode == 2 and len(said) == 1, done.stderr
    assert f"codec: {run} is being trained by process {os.getpid()}" in said[0]
    print(f"refused after {time.monotonic() - begun:.1f} s")
