"""`codec compress` and `codec decompress`: files in, files out, and what a mistake leaves behind."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import live_codec
from PIL import Image

from codec.commands import compress as command
from codec.commands.compress import compress, decompress
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, encode
from codec.types import UserError
from data.images import read_image


def write_bundle(path: Path, seed: int = 0) -> Path:
    config = {"experiment_name": "small", "model": {"name": "mean_scale", "lmbda": 0.0067}, "steps": 0, "seed": seed}
    save_bundle(path, live_codec("mean_scale", seed=seed), {"config": config}, half=True)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("codec") / "codec.safetensors")


def save_picture(path: Path, height: int = 40, width: int = 33) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def asked(source: Path, out: Path, codec: Path | None, force: bool = False) -> Namespace:
    return Namespace(input=source, output=out, codec=codec, force=force, grid=None)


def left_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("height, width", [(1, 1), (17, 5), (64, 64), (70, 129)])
def test_a_file_goes_there_and_back(bundle, tmp_path, capsys, height, width):
    source = save_picture(tmp_path / "in.png", height, width)
    assert compress(asked(source, tmp_path / "a.lic", bundle)) == 0
    size = (tmp_path / "a.lic").stat().st_size
    said = capsys.readouterr().out
    assert f"{size} bytes" in said and f"{8 * size / (height * width):.3f} bpp" in said
    assert decompress(asked(tmp_path / "a.lic", tmp_path / "a.png", bundle)) == 0
    codec = load_bundle(bundle)
    expected = decode(codec, encode(codec, read_image(source)).file)
    assert torch.equal(read_image(tmp_path / "a.png"), expected)
    assert expected.shape == (3, height, width)
    assert left_in(tmp_path) == {"in.png", "a.lic", "a.png"}


def test_folders_keep_their_names(bundle, tmp_path):
    for name in ("a.png", "deep/er/b.jpg", "deep/c.webp"):
        save_picture(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle)) == 0
    assert left_in(tmp_path / "coded") == {"a.lic", "deep/er/b.lic", "deep/c.lic"}
    assert decompress(asked(tmp_path / "coded", tmp_path / "out", bundle)) == 0
    assert left_in(tmp_path / "out") == {"a.png", "deep/er/b.png", "deep/c.png"}


def test_a_file_into_a_folder_keeps_its_name(bundle, tmp_path):
    source = save_picture(tmp_path / "photo.png")
    (tmp_path / "there").mkdir()
    assert compress(asked(source, tmp_path / "there", bundle)) == 0
    assert left_in(tmp_path / "there") == {"photo.lic"}


def test_nothing_is_overwritten_without_force(bundle, tmp_path):
    source, target = save_picture(tmp_path / "in.png"), tmp_path / "a.lic"
    target.write_bytes(b"precious")
    with pytest.raises(UserError, match="--force"):
        compress(asked(source, target, bundle))
    assert target.read_bytes() == b"precious"
    assert compress(asked(source, target, bundle, force=True)) == 0
    assert target.read_bytes()[:3] == b"LIC"


def test_in_a_folder_what_fails_is_named_and_the_rest_is_done(bundle, tmp_path, capsys):
    for name in ("a.png", "b.png", "c.png"):
        save_picture(tmp_path / "in" / name)
    (tmp_path / "in" / "b.png").write_bytes(b"no picture")
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle)) == 1
    assert left_in(tmp_path / "coded") == {"a.lic", "c.lic"}
    assert "b.png" in capsys.readouterr().err
    damaged = tmp_path / "coded" / "a.lic"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert decompress(asked(tmp_path / "coded", tmp_path / "out", bundle)) == 1
    assert left_in(tmp_path / "out") == {"c.png"}
    assert "a.lic" in capsys.readouterr().err


def test_two_pictures_for_one_file_are_refused(bundle, tmp_path):
    save_picture(tmp_path / "in" / "a.png")
    save_picture(tmp_path / "in" / "a.jpg")
    with pytest.raises(UserError, match="would both become"):
        compress(asked(tmp_path / "in", tmp_path / "coded", bundle))
    assert not (tmp_path / "coded").exists()


def test_the_codec_of_another_file_is_one_line(bundle, tmp_path):
    other = write_bundle(tmp_path / "other.safetensors", seed=1)
    compress(asked(save_picture(tmp_path / "in.png"), tmp_path / "a.lic", bundle))
    with pytest.raises(UserError, match="written by codec"):
        decompress(asked(tmp_path / "a.lic", tmp_path / "a.png", other))
    assert not (tmp_path / "a.png").exists()


def test_mistakes_are_one_line(bundle, tmp_path):
    source = save_picture(tmp_path / "in.png")
    (tmp_path / "empty").mkdir()
    for work, given, codec, complaint in (
        (compress, tmp_path / "nowhere.png", bundle, "no file or folder at"),
        (compress, tmp_path / "empty", bundle, "no pictures in"),
        (decompress, tmp_path / "empty", bundle, "no .lic files in"),
        (compress, source, tmp_path / "no.safetensors", "no bundle at"),
        (compress, source, source, "not a bundle"),
        (decompress, source, bundle, "not a .lic file"),
        (compress, source, bundle, "ends in .lic"),
    ):
        with pytest.raises(UserError, match=complaint) as raised:
            suffix = ".png" if work is decompress or "ends in" in complaint else ".lic"
            work(asked(given, tmp_path / ("out" if given.is_dir() else f"out{suffix}"), codec))
        assert "\n" not in str(raised.value)
    assert left_in(tmp_path) == {"in.png"}


def test_the_picture_itself_is_never_written_over(bundle, tmp_path):
    source = save_picture(tmp_path / "in.png")
    before = source.read_bytes()
    with pytest.raises(UserError, match="ends in .lic"):
        compress(asked(source, source, bundle, force=True))
    assert source.read_bytes() == before


def test_what_the_file_system_refuses_is_one_line(bundle, tmp_path, capsys):
    save_picture(tmp_path / "in" / "a.png")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="check both"):
        compress(asked(tmp_path / "in" / "a.png", tmp_path / "file" / "a.lic", bundle))
    assert compress(asked(tmp_path / "in", tmp_path / "file", bundle)) == 1
    assert "a.png" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "no folder"


def test_without_codec_the_shipped_one_is_taken(bundle, tmp_path, monkeypatch):
    source = save_picture(tmp_path / "in.png")
    monkeypatch.setattr(command, "SHIPPED", tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match="ships no codec"):
        compress(asked(source, tmp_path / "a.lic", None))
    monkeypatch.setattr(command, "SHIPPED", bundle)
    assert compress(asked(source, tmp_path / "a.lic", None)) == 0
