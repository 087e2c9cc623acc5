"""A sweep as jobs of a real SLURM ends as one on one machine: a job that is preempted, one that is mistaken, no submitter."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import Cluster, wait_for
from conftest import REPOSITORY, TINY
from test_stops import slurm  # noqa: F401  # a fixture

from codec.runs.sweep_folder import SweepFolder

SECONDS = 900.0  # where there is other work, too
RATES = ("0.03", "0.01")
WORDS = [
    *TINY, "steps=6", "val_every=4", "save_every=100", "log_every=1", "data.num_workers=0", "trainer.accelerator=cpu",
    "+callbacks.watched={_target_: watched.Watched, refuses: 0.01}",
]  # fmt: skip
SWEEP = ["train", "-m", *WORDS, "trainer.devices=2", f"model.lmbda={','.join(RATES)}"]
FAILED = "codec: 1 of 2 points failed: [2] λ=0.01: this rate; expected another; do that"


def started(slurm: Cluster, folder: Path, *words: str) -> subprocess.Popen[str]:  # noqa: F811
    environment = slurm.environment | {"COLUMNS": "300", "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}
    with (folder / "out").open("w") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "codec", *words], env=environment, cwd=folder, stdout=out, stderr=out, text=True
        )


def ended(slurm: Cluster, folder: Path, *words: str) -> str:  # noqa: F811
    """What a sweep of which a point fails says at its end."""
    assert started(slurm, folder, *words).wait(SECONDS) == 2, (folder / "out").read_text()
    said = (folder / "out").read_text()
    assert said.splitlines()[-1] == FAILED and "plot over 1 points" in said, said
    return said


def sweep_in(folder: Path) -> SweepFolder:
    (found,) = wait_for("the list", lambda: list(folder.glob("runs/quickstart/sweep_*/points.jsonl")), SECONDS)
    wait_for("its points", lambda: len(SweepFolder(found.parent).points()) == 2, SECONDS)
    return SweepFolder(found.parent)


def table(said: str) -> list[str]:
    """State, rate and quality of each point, and why it failed; not how often."""
    found = re.findall(r"^ [12] +(\S.*)$", said.rpartition(" point ")[2], re.MULTILINE)
    return [re.sub(r"failed (\d times of the same|at \d of \d)", "failed", " ".join(row.split())) for row in found]


@pytest.fixture(scope="module")
def serial(slurm, tmp_path_factory) -> tuple[Path, str]:  # noqa: F811
    """The folder of a sweep whose points one machine trained one after the other, and what it said."""
    folder = tmp_path_factory.mktemp("serial")
    return folder, ended(slurm, folder, *SWEEP)


def check_same(folder: Path, said: str, serial: tuple[Path, str]) -> None:
    theirs, ours = sweep_in(serial[0]), sweep_in(folder)
    assert table(said) == table(serial[1])
    assert ours.plot.read_bytes() == theirs.plot.read_bytes()
    run, straight = ours.points()[0].folder, theirs.points()[0].folder
    for name in ("codec.safetensors", "metrics.csv"):
        assert (run / name).read_bytes() == (straight / name).read_bytes(), name
    assert (run / "steps").read_text().split() == [str(step) for step in range(1, 7)]


@pytest.mark.minutes
@pytest.mark.timeout(2400)
def test_jobs_by_submitit_without_their_submitter(slurm, serial, tmp_path):  # noqa: F811
    (tmp_path / "hold").touch()
    submitter = started(slurm, tmp_path, *SWEEP, "hydra/launcher=slurm")
    first, second = (point.folder for point in sweep_in(tmp_path).points())
    wait_for("step 2", lambda: (first / "held").exists(), SECONDS)
    submitter.kill()  # it may go away
    submitter.wait()
    job = (first / "job").read_text()
    slurm.say("scancel", "--signal=USR2", job)
    (tmp_path / "hold").unlink()
    wait_for("the requeue", lambda: slurm.restarts(job) == 1, 60)
    slurm.say("scontrol", "update", f"JobId={job}", "StartTime=now+2", check=False)
    said = ended(slurm, tmp_path, *SWEEP, "hydra/launcher=slurm")
    assert (first / "job").read_text() == job  # not submitted again, whether it was still on its way or done
    check_same(tmp_path, said, serial)


@pytest.mark.minutes
@pytest.mark.timeout(2400)
def test_a_job_array_over_lambda(slurm, serial, tmp_path):  # noqa: F811
    (tmp_path / "codec").write_text(f'#!/bin/sh\nexec {sys.executable} -m codec "$@"\n')
    (tmp_path / "codec").chmod(0o755)
    (tmp_path / "hold").touch()
    job = slurm.say(
        "env", f"PATH={tmp_path}:{slurm.environment['PATH']}", f"PYTHONPATH={REPOSITORY}:{REPOSITORY / 'tests'}",
        "sbatch", "--parsable", "--array=0-1", "--ntasks-per-node=2", f"--chdir={tmp_path}",
        str(REPOSITORY / "sweeps" / "slurm" / "lambdas.sh"), " ".join(RATES), *WORDS,
    )  # fmt: skip
    (held,) = wait_for("step 2", lambda: list(tmp_path.glob("runs/quickstart/*/held")), SECONDS)
    assert slurm.ended(f"{job}_1", SECONDS) == "FAILED"
    slurm.say("scontrol", "requeue", f"{job}_0")
    held.unlink()
    (tmp_path / "hold").unlink()
    wait_for("the requeue", lambda: slurm.restarts(f"{job}_0") == 1, 60)
    slurm.say("scontrol", "update", f"JobId={job}_0", "StartTime=now+2", check=False)
    assert slurm.ended(f"{job}_0", SECONDS) == "COMPLETED", (tmp_path / f"codec_{job}_0.out").read_text()
    said = ended(slurm, tmp_path, *SWEEP)
    assert "[1/2]" not in said  # there was nothing left to do for it
    check_same(tmp_path, said, serial)
