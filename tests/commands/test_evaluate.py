"""`codec eval`: files, results, plot and pictures; mistakes before anything is coded."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import live_codec
from PIL import Image

from codec.cli import main
from codec.evaluation.results import Results
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode
from codec.metrics.perceptual import Lpips
from codec.runs.lock import RunLock


def write_bundle(path: Path) -> Path:
    config = {"experiment_name": "small", "model": {"name": "mean_scale", "lmbda": 0.0067}, "steps": 0}
    save_bundle(path, live_codec("mean_scale"), {"config": config}, half=True)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("codec") / "codec.safetensors")


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 56, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def test_the_command_leaves_files_results_plot_and_pictures(bundle, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["eval", f"codec={bundle}", "test=folder", f"test.root={folder}", f"out={out}", "test.baselines=[jpeg]"]) == 0
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {
        "pictures.json", "pictures.csv", "pictures_jpeg.json", "pictures_jpeg.csv", "pictures_rd.png", "pictures_pictures.png",
        "pictures/a.lic", "pictures/b.lic", "pictures/c.lic",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "mean" in said and "JPEG" in said
    ours = Results.read(out / "pictures.json")
    assert [row.name for row in ours.points[0].images] == ["a", "b", "c"]
    assert json.loads((out / "pictures.json").read_text())["results"]["bpp"] == [ours.points[0].mean("file_bpp")]


def test_a_folder_measured_twice_into_itself_is_the_same_set(bundle, folder, tmp_path, capsys):
    """Its plot and its sheet are no pictures; a name in no encoding, and a picture that WebP refuses, are pictures."""
    Image.new("RGB", (16384, 1), (9, 8, 7)).save(folder / os.fsdecode(b"wid\xe9.png"))
    words = ["eval", f"codec={bundle}", "test=folder", f"test.root={folder}", f"out={folder}", "test.baselines=[webp]"]
    rows = []
    for _ in range(2):
        assert main(words) == 0
        rows.append([(row.name, row.file_bpp) for row in Results.read(folder / "pictures.json").points[0].images])
    assert rows[0] == rows[1] and [name for name, _ in rows[0]] == ["a", "b", "c", "wid\\udce9"]
    said = capsys.readouterr().out
    assert "2 drawn by codec" in said and "WebP: 9 rows failed, wid\\udce9 at 0 first: " in said
    assert "16383" in (folder / "pictures_webp.csv").read_text()


def test_measures_that_were_asked_for(bundle, folder, tmp_path, capsys, monkeypatch):
    """Values and networks in results and output; a network that cannot be had leaves a column empty, and says why."""
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    asked = ["test.measures=[lpips,niqe]", "perceptual.lpips.net=squeeze", "perceptual.lpips.weights=random"]
    paths = [f"codec={bundle}", "test=folder", f"test.root={folder}", f"out={tmp_path / 'out'}", "test.baselines=[]"]
    assert main(["eval", *paths, *asked]) == 0
    said = capsys.readouterr().out
    assert "by lpips_squeeze_random" in said and "NIQE needs pyiqa" in said
    ours = Results.read(tmp_path / "out" / "pictures.json")
    assert ours.measured_with == {"lpips": "lpips_squeeze_random"} and "pyiqa" in ours.not_computed["niqe"]
    for row in ours.points[0].images:
        decoded = decode(load_bundle(bundle), (tmp_path / "out" / "pictures" / f"{row.name}.lic").read_bytes())
        original = torch.from_numpy(np.array(Image.open(folder / f"{row.name}.png"))).permute(2, 0, 1)
        expected = Lpips("squeeze", "random")(decoded[None] / 255, original[None] / 255)
        assert row.lpips == pytest.approx(float(expected)) and row.niqe is None
    assert main(["eval", *paths, "test.measures=[vmaf]"]) == 2
    assert "unknown measure 'vmaf'" in capsys.readouterr().err


def test_without_baselines(bundle, folder, tmp_path):
    assert (
        main(["eval", f"codec={bundle}", "test=folder", f"test.root={folder}", f"out={tmp_path / 'out'}", "test.baselines=[]"])
        == 0
    )
    assert (tmp_path / "out" / "pictures.json").is_file()


def test_results_of_another_codec_stay(bundle, folder, tmp_path, capsys, monkeypatch):
    """In the folder by default, too; those of the same codec are written again, and another set beside them."""
    monkeypatch.chdir(tmp_path)
    save_bundle(tmp_path / "other.safetensors", live_codec("mean_scale", seed=1), {}, half=True)
    words = ["test=folder", f"test.root={folder}", "test.baselines=[]"]
    assert main(["eval", f"codec={bundle}", *words]) == main(["eval", f"codec={bundle}", *words]) == 0
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["eval", "codec=other.safetensors", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    ours, theirs = (load_bundle(Path(path)).fingerprint.hex() for path in (bundle, "other.safetensors"))
    assert f"results/pictures.json has results of another codec (small mean_scale, bundle {ours})" in line
    assert f"other.safetensors (bundle {theirs})" in line and "set out" in line
    assert before == {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    assert main(["eval", "codec=other.safetensors", *words, "out=other"]) == 0
    assert main(["eval", "codec=other.safetensors", *words, "test.name=more"]) == 0


def test_two_at_once_do_not_mix_their_files(bundle, folder, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    words = ["eval", f"codec={bundle}", "test=folder", f"test.root={folder}", f"out={out}", "test.baselines=[]"]
    with RunLock(out, ".pictures.lock", "filled"):
        assert main(words) == 2
        assert "is being filled with results on pictures by process" in capsys.readouterr().err
        assert [path.name for path in out.iterdir()] == [".pictures.lock"]
        assert main([*words, "test.name=other"]) == 0


def test_results_in_a_runs_own_folder_are_of_the_same_run(bundle, folder, tmp_path):
    """Trained further, it is measured again."""
    run = tmp_path / "run"
    run.mkdir()
    words = ["eval", f"run={run}", "test=folder", f"test.root={folder}", "test.baselines=[]"]
    for seed in range(2):
        save_bundle(run / "codec.safetensors", live_codec("mean_scale", seed=seed), {}, half=True)
        assert main(words) == 0
    assert main([*words, f"out={run / 'results'}"]) == 0
    assert main(["eval", f"codec={bundle}", *words[2:], f"out={run / 'results'}"]) == 2


def test_mistakes_are_one_line(bundle, folder, tmp_path, capsys):
    asked = ["test=folder", f"test.root={folder}", f"out={tmp_path / 'out'}"]
    for overrides, complaint in (
        (asked, "neither run nor codec given"),
        ([*asked, f"codec={bundle}", f"run={tmp_path}"], "both run and codec given"),
        ([*asked, f"run={tmp_path / 'nowhere'}"], "no finished run at"),
        ([*asked, f"codec={tmp_path / 'nowhere'}"], "no bundle at"),
        ([f"codec={bundle}", "test=kodak", f"test.root={tmp_path}"], "kodak"),
        ([*asked, f"codec={bundle}", "test.baselines=[jpeg, gif]"], "unknown baseline 'gif'; .*heic, bpg, vtm, cjxl"),
        ([f"codec={bundle}", "test=folder"], "test.root: Missing.*set test.root"),
        ([f"codec={bundle}", "data=kodak"], "data=kodak: codec eval has no data; expected test, such as test=kodak"),
        ([f"codec={bundle}", "data=offline"], "data=offline: codec eval has no data; expected test, such as test=kodak"),
        ([f"codec={bundle}", "data.root=x"], "data.root is not a key of codec eval.*test.root"),
        ([f"codec={bundle}", "baselines=[jpeg]"], "expected test.baselines"),
        ([f"codec={bundle}", "measures=[fid]"], "expected test.measures"),
    ):
        assert main(["eval", *overrides]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(complaint, line), line
    assert not (tmp_path / "out").exists()  # all of it shows before anything is coded
