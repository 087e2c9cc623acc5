"""`codec train -m` from its words to its table: what is asked for, trained, told, stopped and asked for again."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY, TINY, codec

from codec.cli import main
from codec.config.command_line import parse_words
from codec.config.compose import configurations
from codec.config.sweep import is_needed, points_of, sweep_folder
from codec.runs.folder import RunFolder
from codec.runs.state import RunState, read_state, write_state
from codec.runs.sweep_folder import SweepFolder

SECONDS = 900.0  # where there is other work, too
RATES = ("0.03", "0.02", "0.01", "0.005")
WORDS = [
    "train", "-m", *TINY, "steps=6", "val_every=4", "save_every=100", "log_every=1", "data.num_workers=0", "trainer=ddp_sim",
    "hydra.launcher.jobs=2", "+callbacks.watched={_target_: watched.Watched, refuses: 0.01}", f"model.lmbda={','.join(RATES)}",
]  # fmt: skip


def started(folder: Path, number: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1", "COLUMNS": "300",
        # Compiled once, where the environment keeps nothing of it.
        "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", str(folder / "compiled")), "PYTHONDONTWRITEBYTECODE": "",
    }  # fmt: skip
    with (folder / f"out{number}").open("wb") as out:
        return subprocess.Popen([sys.executable, "-m", "codec", *WORDS], env=environment, cwd=folder, stdout=out, stderr=out)


def wait_for(what: str, seen, seconds: float = SECONDS):
    end = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < end, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.2)
    return found


def rows(text: str) -> dict[str, str]:
    """The last table of a sweep in a text: the row of each rate, with its run's own name alone."""
    found = re.findall(r"^ (\d) +(\S.*)$", text.rpartition(" point ")[2], re.MULTILINE)
    return dict(zip(RATES, (re.sub(r"\S+/", "", row).rstrip() for _, row in sorted(found)), strict=True))


def steps(run: Path) -> list[int]:
    return [int(line) for line in (run / "steps").read_text().split()] if (run / "steps").exists() else []


@pytest.mark.minutes
@pytest.mark.timeout(2400)
def test_a_sweep_twice_at_once_stopped_and_asked_again_trains_each_step_once(tmp_path, monkeypatch, capsys):
    """Four rates of two ranks each, two at a time, of which one fails."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "hold").touch()
    both = [started(tmp_path, number) for number in range(2)]
    (listed,) = wait_for("the list", lambda: list(tmp_path.glob("runs/quickstart/sweep_*/points.jsonl")))
    sweep = SweepFolder(listed.parent)
    wait_for("all four", lambda: len(sweep.points()) == 4)
    runs = [point.folder for point in sweep.points()]
    good = [run for run, rate in zip(runs, RATES, strict=True) if rate != "0.01"]
    wait_for("three that wait", lambda: all((run / "held").exists() for run in good))
    wait_for("one that failed", lambda: read_state(runs[2]).status == "failed")
    assert main(["status", str(sweep.path)]) == 0
    during = rows(capsys.readouterr().out)
    assert all("running at" in during[rate] for rate in RATES if rate != "0.01")
    assert "failed at" in during["0.01"] and "  this rate; expected another" in during["0.01"]

    for process in both:
        process.send_signal(signal.SIGINT)
    time.sleep(1.0)  # until all have heard of it
    (tmp_path / "hold").unlink()
    assert [process.wait(SECONDS) for process in both] == [130, 130]
    outputs = [(tmp_path / f"out{number}").read_text() for number in range(2)]
    assert any(" waits" in output for output in outputs)
    for output in outputs:
        assert "Traceback" not in output and output.rstrip().endswith("codec: stopped"), output
    assert main(["status", str(sweep.path)]) == 0
    stopped = rows(capsys.readouterr().out)
    assert all("stopped at" in stopped[rate] for rate in RATES if rate != "0.01")
    assert all(steps(run)[-1] < 6 for run in good)

    for number in (2, 3):
        assert started(tmp_path, number).wait(SECONDS) == 2
    output = (tmp_path / "out2").read_text()
    after = rows(output)
    assert all(re.match(rf"finished +{rate} +0\.\d+ +\d\d\.\d\d ", after[rate]) for rate in RATES if rate != "0.01")
    assert "plot over 3 points" in output and sweep.plot.stat().st_size > 10_000
    named = "codec: 1 of 4 points failed: [3] λ=0.01: this rate; expected another; do that"
    assert output.splitlines()[-1] == named and "failed 2 times" in after["0.01"]
    assert [steps(run) for run in good] == [list(range(1, 7))] * 3  # each step once, over five processes

    begun = time.monotonic()
    assert started(tmp_path, 4).wait(SECONDS) == 2  # three failures are enough
    output = (tmp_path / "out4").read_text()
    assert "failed 3 times" in rows(output)["0.01"] and output.splitlines()[-1] == named and "step" not in output
    print(f"asked again, with nothing left to do: {time.monotonic() - begun:.0f} s")
    assert main(["status", str(sweep.path)]) == 0
    assert rows(capsys.readouterr().out) == rows(output)


@pytest.mark.minutes
def test_joblib_launches_points_as_well(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["steps=2", "model.lmbda=0.03,0.01", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = codec("train", "-m", *TINY, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (listed,) = tmp_path.glob("runs/quickstart/sweep_*/points.jsonl")
    sweep = SweepFolder(listed.parent)
    assert [point.lmbda for point in sweep.points()] == ["0.03", "0.01"] and sweep.plot.exists()
    assert (sweep.path / "report" / "index.html").exists()
    assert all(RunFolder(point.folder).finished for point in sweep.points())
    again = codec("train", "-m", *TINY, *words, cwd=tmp_path)
    assert again.returncode == 0 and "step 1" not in again.stdout


def asked(*words):
    return parse_words("train", ["-m", *TINY, *words])


def test_points_their_folders_and_that_of_the_sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with configurations():
        points = points_of(asked("model.lmbda=0.03,0.01", "hydra.launcher.jobs=2", "trainer.devices=2"))
        assert [(point.label, point.devices) for point in points] == [
            ("[1/2] mean_scale λ=0.03", 2), ("[2/2] mean_scale λ=0.01", 2),
        ]  # fmt: skip
        assert "hydra" not in " ".join(points[0].words) and "model.lmbda=0.03" in points[0].words
        sweep = sweep_folder(asked(), points)
        assert sweep.path.parent == Path("runs/quickstart")
        for same in ("model.lmbda=0.01,0.030", "model.lmbda=3e-2,0.01"):
            assert sweep_folder(asked(), points_of(asked(same))).path == sweep.path
        assert sweep_folder(asked(), points_of(asked("model.lmbda=0.03,0.02"))).path != sweep.path
    sweep.add(points)
    sweep.add(points[::-1])
    assert [(listed.number, listed.lmbda, listed.folder) for listed in sweep.points()] == [
        (point.number, point.lmbda, point.folder) for point in points
    ]


def test_what_failed_three_times_of_the_same_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with configurations():
        (point,) = points_of(asked("model.lmbda=0.03"))
        assert is_needed(point)
        for failures in (1, 2, 3):
            write_state(point.folder, RunState("failed", why="the same", failures=failures))
            assert is_needed(point) == (failures < 3)
        (again,) = points_of(asked("model.lmbda=0.03", "retry=true"))
        assert again.folder == point.folder and is_needed(again)


def test_a_list_of_what_would_be_trained_starts_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    with configurations():
        done, *_ = points_of(asked("model.lmbda=0.03,0.01"))
    write_state(done.folder, RunState("finished"))
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", "-m", *TINY, "model.lmbda=0.03,0.01,0.02", "--dry-run"]) == 0
    out = capsys.readouterr().out
    shown = [line.split() for line in out.splitlines() if line.startswith(" ") and line.split()[:1] in (["1"], ["2"], ["3"])]
    assert [row[1:3] for row in shown] == [["finished", "0.03"], ["new", "0.01"], ["new", "0.02"]]
    assert [int(row[-1]) > 0 for row in shown] == [False, True, True] and "MB are free" in out
    assert sorted(tmp_path.rglob("*")) == before
    assert main(["train", "--dry-run", *TINY]) == 0 and " new " in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, line", [(["hydra.launcher.jobs=0"], "hydra.launcher.jobs=0; expected"), (["test=folder", "test.root=x"], "x")]
)
def test_mistakes_of_a_sweep_are_one_line(tmp_path, monkeypatch, capsys, words, line):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", *TINY, "seed=1,2", *words]) == 2
    captured = capsys.readouterr()
    assert line in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert list(tmp_path.iterdir()) == []
