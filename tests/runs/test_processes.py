"""Points of a sweep as processes: how many at once, on which GPUs, what stops them, and what their end leaves behind."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from codec.runs import processes
from codec.runs.lock import RunLock
from codec.runs.point import HELD, Named, Point
from codec.runs.processes import Processes, gpu_shares
from codec.runs.state import RunState, read_state, write_state
from codec.types import UserError

TELL = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
said = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "port": os.environ["MASTER_PORT"], "name": os.environ["CODEC_POINT"]}
(folder / "said").write_text(json.dumps(said | {"rank": os.environ.get("RANK"), "begun": time.time()}))
"""
STOPPED = """
def stop(number, frame):
    (folder / "stopped_by").open("a").write(f"{number} ")
    raise SystemExit(128 + number)
signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
(folder / "ready").touch()
time.sleep(60)
"""


def made(root, count, **settings):
    return [Point(n, count, "mean_scale", f"0.0{n}", root / f"run{n}", (f"seed={n}",), **settings) for n in range(1, count + 1)]


@pytest.fixture
def scripts(monkeypatch):
    """What the process of a point does, by the point's number: lines of Python after TELL."""
    found = {}
    monkeypatch.setattr(processes, "LOOK", 0.02)
    monkeypatch.setattr(
        processes, "command_of",
        lambda point, options: [sys.executable, "-c", TELL + found.get(point.number, ""), str(point.folder)],
    )  # fmt: skip
    return found


def said(point):
    return json.loads((point.folder / "said").read_text())


def train(points, shares=(None,), needed=lambda point: True):
    Processes(shares, needed, None).train(points)


def test_points_at_once_have_gpus_and_ports_of_their_own(tmp_path, scripts, monkeypatch):
    monkeypatch.setenv("RANK", "1")  # whoever started the sweep; a point has ranks of its own
    points = made(tmp_path, 5)
    for point in points:
        scripts[point.number] = "time.sleep(0.5)"
    begun = time.monotonic()
    train(points, shares=["0,1", "2,3"])
    assert time.monotonic() - begun > 1.5  # three rounds of two
    assert {said(point)["gpus"] for point in points} == {"0,1", "2,3"}
    for one, other in zip(points, points[1:], strict=False):
        if abs(said(one)["begun"] - said(other)["begun"]) < 0.4:
            assert said(one)["port"] != said(other)["port"] and said(one)["gpus"] != said(other)["gpus"]
    assert said(points[2])["name"] == "[3/5] mean_scale λ=0.03" and said(points[2])["rank"] is None


def test_one_that_fails_stops_no_other_and_its_folder_says_why(tmp_path, scripts):
    points = made(tmp_path, 4)
    write_state(points[3].folder, RunState("failed", why="as it said itself", failures=2))
    scripts[1] = "os.kill(os.getpid(), signal.SIGKILL)"
    scripts[2] = "sys.exit(1)"
    train(points)
    states = [read_state(point.folder) for point in points]
    assert "ended by SIGKILL" in states[0].why and "ended with status 1" in states[1].why
    assert [state.failures for state in states[:2]] == [1, 1] and states[2].status == "asked"
    train(points)
    assert [read_state(point.folder).failures for point in points[:2]] == [2, 2]  # of the same


@pytest.mark.parametrize("number, told", [(signal.SIGINT, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM)])
def test_a_signal_stops_all_and_starts_no_more(tmp_path, scripts, number, told):
    points = made(tmp_path, 3)
    scripts.update(dict.fromkeys((1, 2, 3), STOPPED))

    def stop():
        while not all((point.folder / "ready").exists() for point in points[:2]):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        train(points, shares=[None, None])
    assert [(point.folder / "stopped_by").read_text() for point in points[:2]] == [f"{int(told)} "] * 2
    assert not points[2].folder.exists() and signal.getsignal(number) is before
    assert read_state(points[0].folder).status == "asked"  # it is no failure


def test_what_is_done_is_not_started(tmp_path, scripts):
    points = made(tmp_path, 3)
    train(points, needed=lambda point: point.number == 2)
    assert [point.folder.exists() for point in points] == [False, True, False]


def test_what_another_process_trains_is_waited_for(tmp_path, scripts, monkeypatch, capfd):
    """By its lock; or where the point itself finds it held, as another run that it starts from."""
    monkeypatch.setattr(processes, "LOOK_ELSEWHERE", 0.1)
    points = made(tmp_path, 3)
    points[0].folder.mkdir()
    once = f"(folder / 'once').touch(); sys.exit({HELD})"
    scripts[2] = f"if not (folder / 'once').exists(): {once}"
    with RunLock(points[0].folder):
        needed = []
        thread = threading.Thread(target=train, args=(points,), kwargs={"needed": lambda p: needed.append(p.number) or True})
        thread.start()
        while not (points[2].folder / "said").exists():  # the others come first
            time.sleep(0.05)
        time.sleep(0.3)
        assert not (points[0].folder / "said").exists()
    thread.join()
    assert needed.count(2) == 2 and needed.count(1) == 1 and (points[0].folder / "said").exists()
    assert capfd.readouterr().out.count("waits for another process") == 1  # the other said so itself
    assert read_state(points[1].folder).status == "asked"


def test_gpus_are_shared_out():
    of_gpus = [Point(1, 2, "m", "1", None, (), devices=2), Point(2, 2, "m", "1", None, (), devices=1, accelerator="cpu")]
    eight = [str(number) for number in range(8)]
    assert gpu_shares(4, of_gpus, eight) == ["0,1", "2,3", "4,5", "6,7"]
    assert gpu_shares(2, of_gpus, ["5", "3", "GPU-a", "GPU-b"]) == ["5,3", "GPU-a,GPU-b"]
    assert gpu_shares(3, of_gpus, []) == gpu_shares(3, of_gpus[1:], eight) == [None] * 3
    assert gpu_shares(1, of_gpus, eight) == [None]
    automatic = [of_gpus[0]._replace(devices="auto")]
    assert gpu_shares(2, automatic, eight) == ["0,1,2,3", "4,5,6,7"]
    for jobs, points in ((5, of_gpus), (9, automatic)):
        with pytest.raises(UserError, match="8 are here; set fewer"):
            gpu_shares(jobs, points, eight)


def test_each_line_of_a_point_is_whole_and_named(tmp_path):
    path = tmp_path / "out"
    with path.open("w") as file:
        named = Named(file, "[1/2] m λ=1")
        print("step", end=" ", file=named)
        assert path.read_text() == ""
        print("1 of 2\n\nlast", file=named)
        assert not named.isatty() and named.fileno() == file.fileno() and named.encoding == file.encoding
    assert path.read_text() == "[1/2] m λ=1  step 1 of 2\n[1/2] m λ=1\n[1/2] m λ=1  last\n"
