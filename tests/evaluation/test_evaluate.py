"""Evaluation: what it reports is what lies in the files, and a wrong coder fails it."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import live_codec
from PIL import Image

from codec.commands import evaluate as command
from codec.commands.evaluate import evaluate, run
from codec.evaluation.results import Results
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, encode
from codec.metrics.perceptual import Lpips
from codec.metrics.quality import psnr
from codec.models.base import Latents
from codec.types import UserError
from data.testsets import TestImage


def write_bundle(path: Path) -> Path:
    config = {"experiment_name": "small", "model": {"name": "mean_scale", "lmbda": 0.0067}, "steps": 0}
    save_bundle(path, live_codec("mean_scale"), {"config": config}, half=True)
    return path


def picture(seed: int, height: int, width: int) -> TestImage:
    def load() -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)

    return TestImage(f"deep/p{seed}" if seed else "p0", load)


PICTURES = [picture(0, 170, 161), picture(1, 40, 70), picture(2, 1, 1)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("codec") / "codec.safetensors")


@pytest.fixture(scope="module")
def measured(bundle, tmp_path_factory) -> tuple[Results, Path]:
    folder = tmp_path_factory.mktemp("files")
    return evaluate(bundle, PICTURES, "folder", folder), folder


def test_an_estimate_that_the_tables_do_not_keep_is_said_in_one_line(bundle, tmp_path, capsys):
    evaluate(bundle, PICTURES[1:2], "folder", tmp_path)  # weights of no training
    (line,) = capsys.readouterr().out.splitlines()
    assert "off the rate at the coder's tables: symbols lie far beyond their predicted scales" in line


def test_rows_are_those_of_the_files(bundle, measured):
    results, folder = measured
    codec = load_bundle(bundle)
    assert [row.name for row in results.points[0].images] == ["p0", "deep/p1", "deep/p2"]
    for row, given in zip(results.points[0].images, PICTURES, strict=True):
        original, data = given.load(), (folder / f"{row.name}.lic").read_bytes()
        assert row.file_bpp == 8 * len(data) / (row.width * row.height)
        assert row.psnr == psnr(decode(codec, data), original)
        assert (row.height, row.width) == original.shape[1:]


def test_the_four_rates_are_in_order(measured):
    results, _ = measured
    for row in results.points[0].images:
        pixels = row.width * row.height
        assert 0 < 8 * 32 / pixels >= row.file_bpp - row.payload_bpp > 0
        assert abs(row.payload_bpp - row.table_bpp) <= 0.005 * row.table_bpp + 8 * 8 / pixels
        assert row.estimated_bpp > 0 and row.encode_seconds > 0 and row.decode_seconds > 0


def test_ms_ssim_of_small_pictures_is_missing_with_its_reason(measured):
    results, _ = measured
    large, *small = results.points[0].images
    assert large.ms_ssim is not None and large.ms_ssim_db is not None
    assert all(row.ms_ssim is None and row.ms_ssim_db is None for row in small)
    assert "161" in results.not_computed["ms_ssim"]


def test_the_setting_and_the_codec_are_told(bundle, measured):
    results, _ = measured
    assert results.points[0].setting == {"lmbda": 0.0067}
    assert results.name == "small mean_scale"
    assert load_bundle(bundle).fingerprint.hex() in results.description


def test_a_payload_beyond_its_tables_fails(bundle, tmp_path, monkeypatch):
    def wasteful(codec, image):
        encoded = encode(codec, image)
        return replace(encoded, bits_by_stream={"y": 8 * (encoded.payload_bytes / 1.02 - 9)})

    monkeypatch.setattr(command, "encode", wasteful)
    with pytest.raises(UserError, match="the coder is wrong"):
        evaluate(bundle, PICTURES[:1], "folder", tmp_path)


def test_latents_that_differ_fail(bundle, tmp_path, monkeypatch):
    def drifted(codec, image):
        encoded = encode(codec, image)
        return replace(encoded, latents=Latents(encoded.latents.y_hat + 2**-10))

    monkeypatch.setattr(command, "encode", drifted)
    with pytest.raises(UserError, match="other latents"):
        evaluate(bundle, PICTURES[:1], "folder", tmp_path)


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (48, 56, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.mark.filterwarnings("ignore:the estimated rate")
def test_the_command_leaves_files_results_plot_and_pictures(bundle, folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([f"codec={bundle}", "data=folder", f"data.root={folder}", f"out={out}", "baselines=[jpeg]"]) == 0
    left = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert left == {
        "folder.json", "folder.csv", "folder_jpeg.json", "folder_jpeg.csv", "folder_rd.png", "folder_pictures.png",
        "folder/a.lic", "folder/b.lic", "folder/c.lic",
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "mean" in said and "JPEG" in said
    ours = Results.read(out / "folder.json")
    assert [row.name for row in ours.points[0].images] == ["a", "b", "c"]
    assert json.loads((out / "folder.json").read_text())["results"]["bpp"] == [ours.points[0].mean("file_bpp")]


@pytest.mark.filterwarnings("ignore:the estimated rate")
def test_measures_that_were_asked_for(bundle, folder, tmp_path, capsys, monkeypatch):
    """Values and networks in results and output; a network that cannot be had leaves a column empty, and says why."""
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    asked = ["measures=[lpips,niqe]", "perceptual.lpips.net=squeeze", "perceptual.lpips.weights=random"]
    paths = [f"codec={bundle}", "data=folder", f"data.root={folder}", f"out={tmp_path / 'out'}", "baselines=[]"]
    assert run([*paths, *asked]) == 0
    said = capsys.readouterr().out
    assert "by lpips_squeeze_random" in said and "NIQE needs pyiqa" in said
    ours = Results.read(tmp_path / "out" / "folder.json")
    assert ours.measured_with == {"lpips": "lpips_squeeze_random"} and "pyiqa" in ours.not_computed["niqe"]
    for row in ours.points[0].images:
        decoded = decode(load_bundle(bundle), (tmp_path / "out" / "folder" / f"{row.name}.lic").read_bytes())
        original = torch.from_numpy(np.array(Image.open(folder / f"{row.name}.png"))).permute(2, 0, 1)
        expected = Lpips("squeeze", "random")(decoded[None] / 255, original[None] / 255)
        assert row.lpips == pytest.approx(float(expected)) and row.niqe is None
    with pytest.raises(UserError, match="unknown measure 'vmaf'"):
        run([*paths, "measures=[vmaf]"])


@pytest.mark.filterwarnings("ignore:the estimated rate")
def test_without_baselines(bundle, folder, tmp_path):
    assert run([f"codec={bundle}", "data=folder", f"data.root={folder}", f"out={tmp_path / 'out'}", "baselines=[]"]) == 0
    assert (tmp_path / "out" / "folder.json").is_file()


def test_mistakes_are_one_line(bundle, folder, tmp_path):
    data = ["data=folder", f"data.root={folder}", f"out={tmp_path / 'out'}"]
    for overrides, complaint in (
        (data, "neither run nor codec given"),
        ([*data, f"codec={bundle}", f"run={tmp_path}"], "both run and codec given"),
        ([*data, f"run={tmp_path / 'nowhere'}"], "no finished run at"),
        ([*data, f"codec={tmp_path / 'nowhere'}"], "no bundle at"),
        ([f"codec={bundle}", "data=kodak", f"data.root={tmp_path}"], "kodak"),
        ([*data, f"codec={bundle}", "baselines=[jpeg, bpg]"], "unknown baseline 'bpg'"),
    ):
        with pytest.raises(UserError, match=complaint) as raised:
            run(overrides)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()  # all of it shows before anything is coded
