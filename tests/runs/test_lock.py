"""One process at a time in a folder, whenever they start and however they end."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from codec.runs import lock
from codec.runs.lock import RunLock, is_held
from codec.types import UserError

PROCESS = """
import sys, time
from pathlib import Path
from codec.runs.lock import RunLock
from codec.types import UserError
print("ready", flush=True)
for line in sys.stdin:
    folder, begins = line.split()
    while time.time() < float(begins):
        pass
    try:
        with RunLock(Path(folder)):
            print("won", flush=True)
            sys.stdin.readline()
    except UserError:
        print("lost", flush=True)
        sys.stdin.readline()
"""


class Process:
    """Another process, that takes the lock of a folder at a time and keeps it until told."""

    def __init__(self):
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.popen.stdout.readline() == "ready\n"

    def tries(self, folder, begins=0.0):
        self.popen.stdin.write(f"{folder} {begins}\n")

    def says(self):
        return self.popen.stdout.readline().strip()

    def goes_on(self):
        self.popen.stdin.write("\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.communicate()


def plant(folder, **changes):
    """A lock as another process of this machine, or of the one given, would have left it."""
    owner = lock._this_process()._replace(**changes)
    (folder / "lock").write_text(json.dumps(owner._asdict()))
    return owner


def silent_for(folder, seconds):
    os.utime(folder / "lock", (time.time() - seconds,) * 2)


def test_a_lock_is_there_within_and_gone_after(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        assert is_held(tmp_path)
        raise ZeroDivisionError
    assert not is_held(tmp_path) and not [*tmp_path.iterdir()]


def test_a_second_process_is_told_who_has_it(tmp_path):
    with Process() as other:
        other.tries(tmp_path)
        assert other.says() == "won"
        expected = rf"is being trained by process {other.popen.pid} on host .* since 20.*; wait for it or stop it$"
        with pytest.raises(UserError, match=expected) as error, RunLock(tmp_path):
            pass
        assert "\n" not in str(error.value) and is_held(tmp_path)
        other.goes_on()
        other.tries(tmp_path)
        assert other.says() == "won"  # given back, and taken again


@pytest.mark.parametrize("before", ["nothing", "dead"])
def test_of_processes_that_start_at_once_exactly_one_wins(tmp_path, before):
    with ExitStack() as stack:
        processes = [stack.enter_context(Process()) for _ in range(4)]
        for _ in range(150):
            if before == "dead":
                plant(tmp_path, started="another time")
            begins = time.time() + 0.003
            for process in processes:
                process.tries(tmp_path, begins)
            assert sorted(process.says() for process in processes) == ["lost"] * 3 + ["won"]
            for process in processes:
                process.goes_on()
            while is_held(tmp_path):
                time.sleep(0.0005)
        assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("reaped", [True, False])
def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, reaped):
    with Process() as other:
        other.tries(tmp_path)
        assert other.says() == "won"
        other.popen.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, other.popen.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))
        assert (tmp_path / "lock").exists() and not is_held(tmp_path)
        with RunLock(tmp_path):
            assert is_held(tmp_path)


def test_a_number_that_belongs_to_another_process_by_now_is_noticed(tmp_path):
    plant(tmp_path, pid=1, started=lock._started(1))
    assert is_held(tmp_path)
    plant(tmp_path, pid=1)  # which began at another time
    assert not is_held(tmp_path)
    with RunLock(tmp_path):
        pass


def test_where_there_is_no_proc_ps_tells_when_a_process_began(monkeypatch):
    monkeypatch.setattr(lock.Path, "exists", lambda _: False)
    with Process() as other:
        assert lock._started(other.popen.pid) == lock._started(other.popen.pid) != lock._started(1)
    assert lock._started(other.popen.pid) is None


@pytest.mark.parametrize("elsewhere", [{"host": "elsewhere"}, {"machine": "a container of the same name"}])
def test_another_machine_is_believed_as_long_as_it_gives_signs_of_life(tmp_path, elsewhere):
    plant(tmp_path, **elsewhere, pid=2**22 + 1)
    silent_for(tmp_path, lock.SILENCE - 10)
    assert is_held(tmp_path)
    with pytest.raises(UserError, match="a sign of life 290 seconds ago and counts as dead after 300"), RunLock(tmp_path):
        pass
    silent_for(tmp_path, lock.SILENCE + 10)
    assert not is_held(tmp_path)
    with RunLock(tmp_path):
        pass


def test_signs_of_life_come_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with RunLock(tmp_path):
        silent_for(tmp_path, 1000)
        deadline = time.time() + 5
        while time.time() - (tmp_path / "lock").stat().st_mtime > 100 and time.time() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / "lock").stat().st_mtime < 100


def test_a_job_that_was_put_back_into_the_queue_takes_over_from_itself(tmp_path, monkeypatch):
    for name, value in (("SLURM_JOB_ID", "7"), ("SLURM_CLUSTER_NAME", "alps")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    plant(tmp_path, host="another node")
    with pytest.raises(UserError), RunLock(tmp_path):
        pass  # a second step of the same job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    for variable, other in (("SLURM_JOB_ID", "8"), ("SLURM_CLUSTER_NAME", "jura")):
        with monkeypatch.context() as patch, pytest.raises(UserError):
            patch.setenv(variable, other)
            with RunLock(tmp_path):
                pass
    with RunLock(tmp_path):
        assert is_held(tmp_path)


@pytest.mark.parametrize("taken", [True, False])
def test_who_lost_a_lock_notices_and_leaves_it_alone(tmp_path, taken):
    with RunLock(tmp_path) as mine:
        mine.touch()
        (tmp_path / "lock").unlink()
        theirs = plant(tmp_path, host="elsewhere") if taken else None
        with pytest.raises(UserError, match="taken over by another process"):
            mine.touch()
    assert lock._read(tmp_path / "lock") == theirs


def test_a_lock_that_another_machine_took_over_first_is_put_back(tmp_path):
    dead = plant(tmp_path, started="another time")
    living = plant(tmp_path, host="elsewhere")
    lock._take_away(tmp_path / "lock", dead)
    assert lock._read(tmp_path / "lock") == living and len([*tmp_path.iterdir()]) == 1


def test_a_file_that_says_nothing_yet_is_somebodys(tmp_path):
    (tmp_path / "lock").touch()
    with pytest.raises(UserError, match="in this moment"), RunLock(tmp_path):
        pass
    silent_for(tmp_path, lock.SILENCE + 10)
    with RunLock(tmp_path):
        pass
