"""`codec status` reads what runs say of themselves, on any machine, in seconds."""

import json
import time

import yaml

from codec.cli import main
from codec.runs.lock import RunLock
from codec.runs.point import Point
from codec.runs.state import RunState, write_state
from codec.runs.sweep_folder import SweepFolder


def made(root, name, lmbda, **state):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"name": "mean_scale", "lmbda": lmbda}}))
    write_state(folder, RunState(**state))
    return folder


def lines(capsys, *words):
    assert main(["status", *map(str, words)]) == 0
    return {line.split()[0].rpartition("/")[2]: line for line in capsys.readouterr().out.splitlines() if "/" in line}


def test_each_run_says_what_it_does(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    figures = {"train/bpp": 0.25, "train/psnr": 27.5}
    made(tmp_path, "a/done", 0.0018, status="finished", step=900, steps=900, figures={"file_bpp": 0.1234, "psnr": 28.456})
    running = made(tmp_path, "a/runs", 0.0067, status="running", step=300, steps=900, steps_per_second=2.0, figures=figures)
    made(tmp_path, "a/killed", 0.013, status="running", step=300, steps=900, steps_per_second=2.0, figures=figures)
    made(tmp_path, "a/wrong", 0.025, status="failed", step=20, steps=900, why="no picture\x1b[2J; expected one", failures=1)
    made(tmp_path, "a/waits", None, status="asked")
    with RunLock(running):
        shown = lines(capsys, tmp_path)
    assert shown.keys() == {"done", "runs", "killed", "wrong", "waits"}
    assert shown["done"].split()[1:] == ["finished", "0.0018", "0.123", "28.46"]
    assert "running at 300 of 900, 0:05:00 left" in shown["runs"] and "0.0067" in shown["runs"] and "~0.250" in shown["runs"]
    assert "stopped at 300 of 900 " in shown["killed"]  # it says that it runs, and nobody has its lock
    assert "failed at 20 of 900" in shown["wrong"] and "no picture\\x1b[2J; expected one" in shown["wrong"]
    assert shown["waits"].split()[1:] == ["asked"]


def test_mistakes_are_one_line(tmp_path, capsys):
    for folder, line in ((tmp_path / "none", "no folder at"), (tmp_path, "no run below")):
        assert main(["status", str(folder)]) == 2
        assert capsys.readouterr().err.startswith(f"codec: {line} {folder}")


def test_a_damaged_run_hides_no_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    made(tmp_path, "good", 0.01, status="finished", figures={"file_bpp": 0.1, "psnr": 28.0})
    bad = made(tmp_path, "bad", 0.01, status="asked")
    (bad / "config.yaml").write_text("{")
    (bad / "state.json").write_text(json.dumps({"status": "asked", "new": time.time()}))
    assert lines(capsys, tmp_path).keys() == {"good", "bad"}


def test_files_of_others_are_no_runs_and_hide_none(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    finished = {"status": "finished", "figures": {"file_bpp": 0.1, "psnr": 28.0}}
    made(tmp_path / "here", "good", 0.01, **finished)
    (tmp_path / "here" / "config.yaml").write_text("foo: 1\n")
    (tmp_path / "here" / "state.json").write_text('{"a": 1}')
    made(tmp_path / "disk", "linked", 0.01, **finished)
    (tmp_path / "here" / "a").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "here")
    assert lines(capsys, tmp_path / "here").keys() == {"good", "linked"}


def test_a_list_that_a_full_disk_cut_is_gone_on_with(tmp_path):
    points = [Point(number, 3, "m", "0.01", tmp_path / f"run{number}", ()) for number in (1, 2, 3)]
    sweep = SweepFolder(tmp_path / "sweep")
    sweep.add(points)
    sweep.list.write_bytes(sweep.list.read_bytes()[:-20])
    assert [point.number for point in sweep.points()] == [1, 2]
    sweep.add(points)
    assert [point.number for point in sweep.points()] == [1, 2, 3]


def test_a_sweep_shows_its_points(tmp_path, capsys, monkeypatch):
    """By their numbers; one that never began, too."""
    monkeypatch.setenv("COLUMNS", "240")
    done = made(tmp_path, "a/done", 0.0067, status="finished", figures={"file_bpp": 0.1, "psnr": 28.0})
    wrong = made(tmp_path, "a/wrong", 0.01, status="failed", why="no picture", failures=3)
    points = [Point(3, 3, "m", "0.02", tmp_path / "a/new", ()), Point(1, 3, "m", "0.0067", done, ())]
    sweep = SweepFolder(tmp_path / "a" / "sweep_1")
    sweep.add(points)
    sweep.add([*points, Point(2, 3, "m", "0.01", wrong, ())])
    assert main(["status", str(sweep.path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "/a/" in line]
    assert rows[0] == ["1", "finished", "0.0067", "0.100", "28.00", str(done)]
    assert rows[1] == ["2", *["failed", "3", "times", "of", "the", "same", "0.01"], str(wrong), "no", "picture"]
    assert rows[2] == ["3", "asked", "0.02", str(tmp_path / "a" / "new")]
    assert lines(capsys, tmp_path).keys() == {"done", "wrong"}  # the folder of a sweep is no run
