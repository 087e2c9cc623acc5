"""A run that is finished: asked for again it is shown, logged, measured; never trained again."""

import os
import shutil

import pytest
from conftest import TINY
from PIL import Image

from codec.cli import main
from codec.evaluation.results import Results
from codec.runs.lock import RunLock


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run, and what its command said."""
    folder = tmp_path_factory.mktemp("runs")
    environment = pytest.MonkeyPatch()
    environment.setenv("CODEC_RUNS", str(folder))
    assert main(["train", *TINY, "test.baselines=[]"]) == 0
    (run,) = (path.parent for path in folder.rglob("codec.safetensors"))
    yield run
    environment.undo()


def again(run, capsys, *words):
    """What the command says with other words beside; the weights must stay as they are."""
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in [run / "codec.safetensors", run / "checkpoints" / "last.ckpt"]}
    assert main(["train", *TINY, "test.baselines=[]", *words]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert {path.parent for path in run.parents[1].rglob("config.yaml")} == {run}
    return capsys.readouterr().out


def test_it_is_shown(run_folder, capsys):
    out = again(run_folder, capsys, "log_every=1", "trainer.accelerator=cpu", "model.N=8")
    assert "is finished: nothing to train" in out and "bpp" in out


def test_a_logger_gets_its_log(run_folder, capsys):
    out = again(run_folder, capsys, "logger=tensorboard")
    assert "to tensorboard" in out and list(run_folder.glob("tensorboard/events*"))
    assert "to tensorboard" not in again(run_folder, capsys, "logger=[csv,tensorboard]")  # once


def test_another_set_is_measured(run_folder, capsys, tmp_path):
    from skimage import data

    (tmp_path / "holiday").mkdir()
    shutil.copy(os.path.join(data.data_dir, "chelsea.png"), tmp_path / "holiday")
    again(run_folder, capsys, "test=folder", f"test.root={tmp_path / 'holiday'}")
    assert (run_folder / "results" / "holiday.json").is_file() and (run_folder / "results" / "photographs.json").is_file()


def test_more_measures_are_measured(run_folder, capsys):
    results, words = run_folder / "results" / "photographs.json", ["test.measures=[lpips]", "perceptual.lpips.weights=random"]
    assert "nothing to train" not in again(run_folder, capsys, *words)
    assert Results.read(results).measured_with.keys() == {"lpips"}
    assert "nothing to train" in again(run_folder, capsys, *words) and "nothing to train" in again(run_folder, capsys)


def test_a_set_of_the_same_name_and_other_pictures_is_refused(run_folder, capsys, tmp_path):
    for name in ("chelsea", "coffee"):
        (tmp_path / name / "val").mkdir(parents=True)
        Image.new("RGB", (64, 64), "red").save(tmp_path / name / "val" / f"{name}.png")
    words = [["test=folder", f"test.root={tmp_path / name / 'val'}"] for name in ("chelsea", "coffee")]
    again(run_folder, capsys, *words[0])
    before = (run_folder / "results" / "val.json").read_bytes()
    for command in (["train", *TINY], ["eval", f"run={run_folder}"]):
        assert main([*command, "test.baselines=[]", *words[1]]) == 2
        said = capsys.readouterr().err
        assert "val.json is of other pictures than the 1 that are now in the set 'val'" in said and said.count("\n") == 1
    assert (run_folder / "results" / "val.json").read_bytes() == before


def test_a_result_that_was_deleted_is_measured_again(run_folder, capsys):
    (run_folder / "results" / "photographs.json").unlink()
    again(run_folder, capsys)
    assert (run_folder / "results" / "photographs.json").is_file()


def test_it_is_not_measured_while_codec_eval_measures_it(run_folder, capsys):
    results = run_folder / "results" / "photographs.json"
    results.unlink()
    with RunLock(run_folder / "results", ".photographs.lock", "filled"):
        assert main(["train", *TINY, "test.baselines=[]"]) == 2
        assert "is being filled with results on photographs by process" in capsys.readouterr().err
    assert not results.exists()
    again(run_folder, capsys)
    assert results.is_file()


def test_a_command_that_was_refused_leaves_no_folder(run_folder, capsys):
    for words in (["model=wacnn", "model.N=25", "model.M=40"], ["data.crop=100"], ["init_from=nowhere"]):
        assert main(["train", *TINY, "test.baselines=[]", *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert {path.parent for path in run_folder.parents[1].rglob("config.yaml")} == {run_folder}
    assert not [path for path in run_folder.parent.iterdir() if path != run_folder]
