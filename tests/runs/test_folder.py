"""A run folder belongs to one identity and one process at a time, and says how far it is."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from codec.runs.folder import RunFolder
from codec.runs.identity import Identity, identity_values
from codec.runs.lock import is_held
from codec.runs.state import RunState, find_runs, read_state, write_state
from codec.types import UserError

CONFIG = {"model": {"name": "mean_scale", "lmbda": 0.01}, "adversarial": None, "steps": 900, "log_every": 20, "tag": "写真"}


def identity(config, given=(), contents=()):
    return Identity("x", identity_values(config, dict(contents)), dict(given), dict(contents))


def begin(path, config=CONFIG, given=(), contents=(), done=False):
    """A run that was asked for, and left one row in its log; done: that came to its end."""
    folder = RunFolder(path)
    with folder.claim(config, identity(config, given, contents)) as claim:
        folder.metrics_file.write_text("step,train/bpp\n20,1.5\n")
        if done:
            claim.finish({"bpp": 0.5})
    return folder


def asks(folder, config=CONFIG, given=(), contents=()):
    with folder.claim(config, identity(config, given, contents)) as claim:
        return claim.told


def test_a_claim_keeps_the_whole_configuration_and_where_it_was_made(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "default")
    config = CONFIG | {"optim": {"lr": 1e-5}, "init_from": "a/b"}
    with folder.claim(config, identity(config, {"tag": "x"}, {"init_from": "bundle-01"})):
        assert yaml.safe_load(folder.config_file.read_text()) == config
    facts = folder.facts()
    assert facts["versions"].keys() >= {"codec", "torch"} and facts["host"]["python"]
    assert facts["given"] == {"tag": "x"} and facts["contents"] == {"init_from": "bundle-01"}
    folder.update_facts(precision="bf16-mixed")
    assert folder.facts() == facts | {"precision": "bf16-mixed"}


@pytest.mark.parametrize(
    "now",
    [CONFIG, CONFIG | {"log_every": 1, "logger": {"wandb": {}}, "trainer": {"devices": 2}},
     CONFIG | {"steps": "900", "model": {"lmbda": "1e-2", "name": "mean_scale"}}],
)  # fmt: skip
def test_a_run_goes_on_where_what_changes_weights_is_equal(tmp_path, now):
    folder = begin(tmp_path)
    assert asks(folder, now) is None
    assert yaml.safe_load(folder.config_file.read_text()) == CONFIG  # as it began


def test_keys_that_one_version_lacks_lock_no_run_and_are_told(tmp_path):
    folder = begin(tmp_path, CONFIG | {"given_up": 3}, given={"model": "wacnn"})
    told = asks(folder, CONFIG | {"new": {"key": 1}}, given={"model": "wacnn"})
    assert "\n" not in told and "given_up: 3 there, absent asked; new.key: absent there, 1 asked" in told
    folder = begin(tmp_path / "group", given={"model": "wacnn"})
    assert "model.new" in asks(folder, CONFIG | {"model": CONFIG["model"] | {"new": 1}}, given={"model": "wacnn"})


@pytest.mark.parametrize(
    "before, then, now, given",
    [
        (CONFIG, {}, CONFIG | {"steps": 30}, {"steps": "30"}),
        (CONFIG, {}, CONFIG | {"new": 2}, {"new": "2"}),  # no default of a version: it was asked for
        (CONFIG | {"mine": 2}, {"mine": "2"}, CONFIG, {}),
        (CONFIG, {}, CONFIG | {"adversarial": {"beta": 0.15}}, {}),
        (CONFIG | {"adversarial": {"beta": 0.15}}, {}, CONFIG, {}),
        (CONFIG | {"data": {"leaves": 1}}, {}, CONFIG | {"data": {"folder": 1}}, {"data": "folder"}),
        (CONFIG | {"data": {"folder": 1}}, {"data": "folder"}, CONFIG | {"data": {"leaves": 1}}, {}),
    ],
)
def test_another_identity_is_refused_with_the_difference_and_changes_nothing(tmp_path, before, then, now, given):
    folder = begin(tmp_path, before, then)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for attempt in (folder.check, lambda asked: folder.claim(now, asked).__enter__()):  # as other ranks, as the first
        with pytest.raises(UserError, match="holds a run of another configuration .* there, .* asked.*set run_dir") as error:
            attempt(identity(now, given))
        assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_of_many_differences_eight_are_named(tmp_path):
    folder = begin(tmp_path, {f"key{i}": 0 for i in range(12)})
    with pytest.raises(UserError, match="and 4 more") as error:
        asks(folder, {f"key{i}": 1 for i in range(12)})
    assert str(error.value).count(" there, ") == 8


def test_what_a_bundle_holds_counts_and_not_where_it_lies(tmp_path):
    folder = begin(tmp_path, CONFIG | {"init_from": "a"}, contents={"init_from": "bundle-01"})
    assert asks(folder, CONFIG | {"init_from": "b"}, contents={"init_from": "bundle-01"}) is None
    with pytest.raises(UserError, match="init_from: bundle-01 there, bundle-02 asked"):
        asks(folder, CONFIG | {"init_from": "a"}, contents={"init_from": "bundle-02"})


def test_a_finished_run_is_shown_whatever_it_was_made_with(tmp_path):
    folder = begin(tmp_path, done=True)
    assert asks(folder) is None
    told = asks(folder, CONFIG | {"steps": 30, "new": 1}, given={"steps": "30"})
    assert "steps: 900 there, 30 asked" in told and "new: absent there" in told and "\n" not in told
    with pytest.raises(ZeroDivisionError), folder.claim(CONFIG, identity(CONFIG)):
        raise ZeroDivisionError  # while something more was measured
    assert folder.finished and read_state(tmp_path).figures == {"bpp": 0.5}


def test_a_run_that_failed_before_its_first_step_makes_room_for_the_corrected_command(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(UserError), folder.claim(CONFIG, identity(CONFIG)):
        folder.metrics_file.write_text("step,train/bpp\n")
        folder.update_facts(precision="bf16-mixed")
        raise UserError("no folder at nowhere")
    assert read_state(tmp_path).why == "no folder at nowhere" and not folder.has_begun
    other = CONFIG | {"steps": 30}
    assert asks(folder, other, given={"steps": "30"}) is None
    assert yaml.safe_load(folder.config_file.read_text()) == other and "precision" not in folder.facts()
    assert not folder.metrics_file.exists()


def test_a_refused_command_leaves_no_folder(tmp_path):
    path = tmp_path / "runs" / "default"
    RunFolder(path).check(identity(CONFIG))
    assert read_state(path) is None and not RunFolder(path).finished and not [*find_runs(tmp_path)]
    assert not path.parent.exists()


def test_what_killed_writers_left_goes_away_when_the_run_goes_on(tmp_path):
    folder = begin(tmp_path)
    folder.checkpoints.mkdir()
    for place in (tmp_path, folder.checkpoints):
        (place / ".codec-0123456789abcdef.tmp").write_text("half a checkpoint")
    asks(folder)
    assert not [*tmp_path.rglob(".codec-*")]


def test_a_configuration_that_cannot_be_read_is_one_clear_error(tmp_path):
    folder = begin(tmp_path)
    for text in ("a: [", "", "- 1"):
        folder.config_file.write_text(text)
        with pytest.raises(UserError, match="holds no configuration"):
            asks(folder)


def test_a_run_says_how_far_it_is(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.claim(CONFIG, identity(CONFIG)) as claim:
        assert read_state(tmp_path).status == "asked"
        claim.running(300, 900, 8.0, {"train/bpp": 0.5})
        state = read_state(tmp_path)
        assert state[:5] == ("running", 300, 900, 8.0, {"train/bpp": 0.5}) and state.seconds_left == 75
        assert abs(state.updated - time.time()) < 60
    assert read_state(tmp_path)[:2] == ("stopped", 300)  # nobody goes on with it
    with folder.claim(CONFIG, identity(CONFIG)) as claim:
        claim.finish({"psnr": 30.0})
    assert read_state(tmp_path).figures == {"psnr": 30.0} and folder.finished and read_state(tmp_path).seconds_left is None


@pytest.mark.parametrize(
    "error, status, why",
    [
        (KeyboardInterrupt(), "stopped", None),
        (SystemExit(138), "stopped", None),
        (UserError("no folder\nat x; expected one"), "failed", "no folder at x; expected one"),
        (RuntimeError("out of\nmemory"), "failed", "RuntimeError: out of memory"),
    ],
)
def test_how_a_run_ended_is_noted_and_the_folder_free(tmp_path, error, status, why):
    folder = begin(tmp_path)
    for time_ in (1, 2, 3):
        with pytest.raises(type(error)), folder.claim(CONFIG, identity(CONFIG)) as claim:
            claim.running(20, 900, 1.0, {})
            raise error
        state = read_state(tmp_path)
        assert (state.status, state.step, state.why) == (status, 20, why) and not is_held(tmp_path)
        assert state.failures == (time_ if why else 0)
    with pytest.raises(ValueError), folder.claim(CONFIG, identity(CONFIG)):
        raise ValueError("something else")
    assert read_state(tmp_path).failures == 1


def test_a_stop_says_from_where_it_goes_on(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(SystemExit), folder.claim(CONFIG, identity(CONFIG)) as claim:
        claim.running(320, 900, 1.0, {})
        claim.stopped(325)
        raise SystemExit(138)
    assert read_state(tmp_path)[:2] == ("stopped", 325)


def test_who_lost_the_folder_writes_nothing_more(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(UserError, match="taken over"), folder.claim(CONFIG, identity(CONFIG)) as claim:
        (tmp_path / "lock").write_text(json.dumps({"host": "elsewhere"}))
        write_state(tmp_path, RunState("running", 7))
        claim.running(300, 900, 1.0, {})
    assert read_state(tmp_path)[:2] == ("running", 7)


def test_a_state_that_a_power_cut_emptied_and_a_run_of_before_are_read(tmp_path):
    folder = begin(tmp_path, CONFIG | {"experiment_name": "x"})
    (tmp_path / "state.json").write_text("")
    assert read_state(tmp_path).status == "stopped"
    folder.update_facts(finished=True)
    assert folder.finished


def test_runs_are_found_below_a_folder(tmp_path):
    for name in ("b/default", "a/seed-2", "a/default", ".sweeps/x"):
        begin(tmp_path / name)
    (tmp_path / "a" / "default" / "results").mkdir()
    (tmp_path / "a" / "default" / "results" / "config.yaml").touch()
    assert [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path)] == ["a/default", "a/seed-2", "b/default"]
    assert [*find_runs(tmp_path / "a" / "default")] == [tmp_path / "a" / "default"]


PROCESS = """
import sys, time
from pathlib import Path
from codec.runs.folder import RunFolder
from codec.runs.identity import Identity
from codec.types import UserError
folder, first = RunFolder(Path(sys.argv[1])), sys.argv[2] == "first"
identity = Identity("x", {"steps": sys.argv[3]}, {"steps": sys.argv[3]}, {})
try:
    if first:
        with folder.claim({"steps": int(sys.argv[3])}, identity) as claim:
            claim.running(1, 9, None, {})
            print("trains", flush=True)
            time.sleep(60)
    else:
        folder.check(identity)
        print("trains", flush=True)
except UserError as error:
    print(error, flush=True)
"""


def start(path, rank, steps=9):
    process = subprocess.Popen([sys.executable, "-c", PROCESS, path, rank, str(steps)], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline()


def test_of_two_commands_one_trains_and_further_ranks_and_the_next_after_a_kill_do(tmp_path):
    one, said = start(tmp_path, "first")
    assert said == "trains\n"
    two, refused = start(tmp_path, "first")
    rank, follows = start(tmp_path, "other")
    assert f"is being trained by process {one.pid} on host" in refused and follows == "trains\n"
    assert read_state(tmp_path).status == "running"
    os.kill(one.pid, signal.SIGKILL)
    one.communicate()
    assert read_state(tmp_path)[:2] == ("stopped", 1)
    three, said = start(tmp_path, "first", 10)  # it had not begun
    assert said == "trains\n" and yaml.safe_load(RunFolder(tmp_path).config_file.read_text()) == {"steps": 10}
    three.kill()
    for process in (two, rank, three):
        process.communicate()
