"""Many files in several processes: the same outcomes in the same order, whoever takes longer, fails or is killed."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import REPOSITORY
from test_jobs import work_on

from codec.files.jobs import Job, run_jobs
from codec.files.processes import CAN_FORK, run_in_processes
from codec.types import UserError

pytestmark = [
    pytest.mark.usefixtures("on_one_thread"),
    pytest.mark.skipif(not CAN_FORK, reason="processes are no copies of this one here"),
]


def shouted(texts):
    def rest():
        if "0" in texts[0]:
            time.sleep(0.2)  # the first takes longest
        return [text.upper().encode() for text in texts]

    return rest


@pytest.mark.parametrize("processes, batch", [(2, 1), (3, 2), (5, 4)])
def test_outcomes_are_those_of_one_process(tmp_path, processes, batch):
    contents = {f"{n:02}": UserError("unreadable") if n == 7 else f"a{n}" for n in range(19)}
    jobs = [Job(tmp_path / name, tmp_path / "out" / name) for name in contents]
    work = work_on(contents, shouted)
    expected = list(run_jobs(jobs, work, batch))
    outcomes = list(run_in_processes(jobs, work, batch, processes))
    assert [(o.job, str(o.said), o.pixels) for o in outcomes] == [(o.job, str(o.said), o.pixels) for o in expected]
    assert isinstance(outcomes[7].said, UserError) and sum(o.pixels for o in outcomes) == 18 * 6
    assert (tmp_path / "out" / "18").read_bytes() == b"A18"


def test_each_process_works_on_one_thread_and_several_do(tmp_path):
    def begin(texts):
        time.sleep(0.1)
        return lambda: [f"{os.getpid()} {torch.get_num_threads()}".encode() for _ in texts]

    jobs = [Job(tmp_path / str(n), tmp_path / "out" / str(n)) for n in range(8)]
    said = [o.said.split() for o in run_in_processes(jobs, work_on({job.source.name: "a" for job in jobs}, begin), 1, 2)]
    assert len({process for _, process, _ in said}) == 2 and {threads for *_, threads in said} == {"1"}


def test_an_error_of_ours_is_no_line(tmp_path):
    def begin(texts):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(run_in_processes([Job(tmp_path / "1", tmp_path / "2")] * 3, work_on({"1": "a"}, begin), 1, 2))


def test_a_process_that_is_killed_is_told(tmp_path):
    def begin(texts):
        if texts == ["a3"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return lambda: [b"" for _ in texts]

    contents = {str(n): f"a{n}" for n in range(6)}
    jobs = [Job(tmp_path / name, tmp_path / "out" / name) for name in contents]
    done = []
    with pytest.raises(UserError, match="killed while it worked on .* of 6 files.*--resume with less --max-memory"):
        for outcome in run_in_processes(jobs, work_on(contents, begin), 1, 2):
            done.append(outcome.job.source.name)
    assert done == ["0", "1", "2"][: len(done)]  # what it had finished may have gone with it


def test_processes_end_with_the_iterator(tmp_path):
    def begin(texts):
        time.sleep(0.05)
        return lambda: [str(os.getpid()).encode() for _ in texts]

    jobs = [Job(tmp_path / str(n), tmp_path / "out" / str(n)) for n in range(200)]
    outcomes = run_in_processes(jobs, work_on({job.source.name: "a" for job in jobs}, begin), 1, 2)
    process = int(next(outcomes).said.split()[1])
    outcomes.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    assert not list((tmp_path / "out").glob(".codec*"))


STOPPED = """
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, "tests/files"); sys.path.insert(0, "tests")
from test_jobs import work_on
from codec.files.jobs import Job
from codec.files.processes import run_in_processes

def begin(texts):
    time.sleep(0.1)
    return lambda: [str(os.getpid()).encode() for _ in texts]

folder = Path(sys.argv[1])
jobs = [Job(folder / str(n), folder / "out" / str(n)) for n in range(500)]
for outcome in run_in_processes(jobs, work_on({job.source.name: "a" for job in jobs}, begin), 1, 2):
    print(outcome.said, flush=True)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_command(tmp_path, stop):
    """A terminal's Ctrl-C reaches all processes; a kill the first one alone."""
    command = subprocess.Popen(
        [sys.executable, "-c", STOPPED, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
        start_new_session=True,
    )  # fmt: skip
    assert command.stdout is not None and command.stderr is not None
    processes = {int(command.stdout.readline().split()[1]) for _ in range(6)}
    (os.killpg if stop == signal.SIGINT else os.kill)(command.pid, stop)
    said = command.stderr.read()  # ends when all who hold it do
    command.wait(timeout=20)
    assert len(list((tmp_path / "out").iterdir())) < 100  # of 500: they end by themselves, too, when all are done
    assert said.count("KeyboardInterrupt") == (1 if stop == signal.SIGINT else 0)
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{process}") for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{process}") for process in processes)
