"""`codec compress` and `codec decompress`: files in, files out, and what a mistake leaves behind."""

import os
import subprocess
import sys
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, live_codec
from PIL import Image

from codec.cli import main
from codec.commands import compress as command
from codec.commands.compress import compress, decompress
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, encode
from codec.files.container import MAX_PIXELS
from codec.files.progress import Progress
from codec.report.contact_sheet import Panel, write_contact_sheet
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


def asked(source: Path, out: Path, codec: Path | None, force: bool = False, resume: bool = False) -> Namespace:
    return Namespace(
        input=source, output=out, codec=codec, force=force, resume=resume, grid=None, device="cpu", batch=None,
        max_pixels=MAX_PIXELS, max_memory=None, quality=None, bpp=None, max_bytes=None, psnr=None, roi=None, roi_offset=None,
        roi_regions=None,
    )  # fmt: skip


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


def test_names_that_differ_in_their_suffix_alone_keep_it(bundle, tmp_path):
    for name in ("a.png", "a.jpg", "b.png"):
        save_picture(tmp_path / "in" / name)
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle)) == 0
    assert left_in(tmp_path / "coded") == {"a.png.lic", "a.jpg.lic", "b.lic"}
    assert decompress(asked(tmp_path / "coded", tmp_path / "out", bundle)) == 0
    assert left_in(tmp_path / "out") == {"a.png.png", "a.jpg.png", "b.png"}


@pytest.mark.parametrize("names, complaint", [
    (("a.jpg", "a.png", "a.png.bmp"), "would both be called a.png"), (("x" * 251 + ".jpg", "x" * 251 + ".png"), "rename it"),
])  # fmt: skip
def test_names_that_cannot_be_told_apart_are_refused_before_any_coding(bundle, tmp_path, names, complaint):
    for name in names:
        save_picture(tmp_path / "in" / name)
    with pytest.raises(UserError, match=complaint):
        compress(asked(tmp_path / "in", tmp_path / "coded", bundle))
    assert not (tmp_path / "coded").exists()


def test_names_of_any_length_and_in_no_encoding_go_there_and_back(bundle, tmp_path):
    stems = {"x" * 251, os.fsdecode(b"caf\xe9"), "ü" * 125, "-", "a b'c\"d"}
    for stem in stems:
        save_picture(tmp_path / "in" / f"{stem}.png")
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle)) == 0
    assert decompress(asked(tmp_path / "coded", tmp_path / "out", bundle)) == 0
    assert left_in(tmp_path / "out") == {f"{stem}.png" for stem in stems}


def test_what_was_stopped_goes_on_with_what_is_missing(bundle, tmp_path, capsys):
    for name in ("a.png", "b.png", "c.png"):
        save_picture(tmp_path / "in" / name)
    compress(asked(tmp_path / "in", tmp_path / "coded", bundle))
    whole = {name: (tmp_path / "coded" / name).read_bytes() for name in left_in(tmp_path / "coded")}
    kept = (tmp_path / "coded" / "a.lic").stat().st_mtime_ns
    (tmp_path / "coded" / "b.lic").unlink()
    (tmp_path / "coded" / ".codec-0123456789abcdef.tmp").write_bytes(b"half a file")  # which a kill leaves
    with pytest.raises(UserError, match=r"a.lic is there already \(2 files\).*--resume to go on"):
        compress(asked(tmp_path / "in", tmp_path / "coded", bundle))
    capsys.readouterr()
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle, resume=True)) == 0
    assert "1 of 1 files in" in (said := capsys.readouterr().out) and "beside 2 found there" in said
    assert {name: (tmp_path / "coded" / name).read_bytes() for name in whole} == whole
    assert (tmp_path / "coded" / "a.lic").stat().st_mtime_ns == kept
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle, resume=True)) == 0
    assert "0 of 0 files in" in capsys.readouterr().out
    for _ in range(2):
        assert decompress(asked(tmp_path / "coded", tmp_path / "out", bundle, resume=True)) == 0
    assert left_in(tmp_path / "out") == {"a.png", "b.png", "c.png"}


def test_nothing_goes_on_from_the_files_of_another_codec(bundle, tmp_path):
    save_picture(tmp_path / "in" / "a.png")
    save_picture(tmp_path / "in" / "b.png")
    compress(asked(tmp_path / "in" / "a.png", tmp_path / "a.lic", write_bundle(tmp_path / "other.safetensors", seed=1)))
    (tmp_path / "coded").mkdir()
    (tmp_path / "a.lic").rename(tmp_path / "coded" / "a.lic")
    with pytest.raises(UserError, match="a.lic is there already, and not by this codec.*--force"):
        compress(asked(tmp_path / "in", tmp_path / "coded", bundle, resume=True))


def test_whoever_reads_the_output_may_stop(bundle, tmp_path):
    for number in range(40):
        save_picture(tmp_path / "in" / f"{number:02}.png", 16, 16)
    words = f"{sys.executable} -m codec compress {tmp_path}/in {tmp_path}/coded --codec {bundle}"
    done = subprocess.run(
        ["bash", "-c", words + " | head -n 2; echo ${PIPESTATUS[0]}"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.stderr == "" and len(done.stdout.splitlines()) == 3
    assert done.stdout.splitlines()[-1] in ("0", "141")  # 0 where all was said before


ODD = {  # by what they are: how many, and the ends of their names
    "cut": 2, "empty": 2, "a page": 2, "too deep": 2, "AppleDouble": 2, "hidden": 2, "Thumbs.db": 1, "text": 3, "drawn": 2,
    "link to nothing": 2,
}  # fmt: skip


def odd_files(folder: Path) -> None:
    """Twenty files of the ten kinds of ODD."""
    cut = save_picture(folder / "cut0.png").read_bytes()
    for n in range(2):
        (folder / f"cut{n}.png").write_bytes(cut[: len(cut) // 2])
        (folder / f"empty{n}.jpg").write_bytes(b"")
        (folder / f"page{n}.jpg").write_text("<html>404</html>")
        Image.fromarray(np.full((20, 30), 4000, dtype=np.uint16)).save(folder / f"deep{n}.tif")
        (folder / f"._photo{n}.png").write_bytes(b"\0\5\x16\7")
        (folder / f".hidden{n}.png").write_bytes(cut)
        write_contact_sheet(
            [Panel("a", torch.zeros(3, 20, 30, dtype=torch.uint8), np.zeros((20, 30), int))], folder / f"s{n}.png"
        )
        os.symlink(folder / "nothing", folder / f"gone{n}.png")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    for name in ("notes.txt", "list.json", "list.csv"):
        (folder / name).write_text("{}")


def test_a_folder_of_200_mixed_files(bundle, tmp_path, capsys):
    """180 sound ones of nine kinds, twenty odd ones in ten ways: what is passed over is one line, what fails is named."""
    suffixes = ("png", "jpg", "webp", "bmp", "tif", "avif", "jfif", "PNG", "JPEG")
    for number in range(180):
        save_picture(tmp_path / "in" / f"{number % 3}" / f"{number:03}.{suffixes[number % 9]}", 16, 16)
    odd_files(tmp_path / "in")
    assert sum(ODD.values()) == 20 and len([path for path in (tmp_path / "in").rglob("*") if not path.is_dir()]) == 200
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle)) == 1
    said = capsys.readouterr()
    first, *_, last = said.out.splitlines()
    assert first == (
        f"{tmp_path}/in: 188 pictures; passed over: 4 of other kinds (.db, .csv, .json, .txt), 2 AppleDouble (._), 2 hidden, "
        "2 links to nothing, 2 drawn by codec"
    )
    assert last.startswith("180 of 188 files in")
    assert len(left_in(tmp_path / "coded")) == 180
    assert len(said.err.splitlines()) == 8
    for name in ("cut0.png", "empty0.jpg", "page0.jpg", "deep0.tif"):
        assert name in said.err


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
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "in" / name)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "gone").symlink_to("nothing")
    for source, target in (("in/a.png", "file/a.lic"), ("in", "file"), ("in", "file/new"), ("in", "gone")):
        for force in (False, True):
            with pytest.raises(UserError, match=r"^[^\n]*(file|gone) is no folder[^\n]*name another$"):
                compress(asked(tmp_path / source, tmp_path / target, bundle, force=force))
    assert (tmp_path / "file").read_text() == "no folder" and capsys.readouterr().out == ""
    (tmp_path / "full").mkdir(mode=0o500)
    if not os.access(tmp_path / "full", os.W_OK):  # which root may write to
        with pytest.raises(UserError, match="check both"):
            compress(asked(tmp_path / "in" / "a.png", tmp_path / "full" / "a.lic", bundle))


def test_without_codec_the_shipped_one_is_taken(bundle, tmp_path, monkeypatch):
    source = save_picture(tmp_path / "in.png")
    monkeypatch.setattr(command, "SHIPPED", tmp_path / "missing.safetensors")
    with pytest.raises(UserError, match="ships no codec"):
        compress(asked(source, tmp_path / "a.lic", None))
    monkeypatch.setattr(command, "SHIPPED", bundle)
    assert compress(asked(source, tmp_path / "a.lic", None)) == 0


def test_what_never_ends_is_not_read(bundle, tmp_path):
    os.mkfifo(tmp_path / "pipe.lic")
    os.symlink("/dev/zero", tmp_path / "zero.lic")
    for name in ("pipe.lic", "zero.lic"):
        with pytest.raises(UserError, match="no file or folder at"):
            decompress(asked(tmp_path / name, tmp_path / "a.png", bundle))
    with pytest.raises(UserError, match="no .lic files in"):
        decompress(asked(tmp_path, tmp_path / "out", bundle))


def test_a_name_cannot_steer_a_terminal(bundle, tmp_path, capsys):
    save_picture(tmp_path / "in" / "a\x1b[2J\n\udcff.png")
    (tmp_path / "in" / "b\x1b[31m.png").write_bytes(b"no picture")
    assert compress(asked(tmp_path / "in", tmp_path / "out", bundle)) == 1
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err and "\\x1b[2J\\n" in shown.out and "\\x1b[31m" in shown.err
    assert main(["compress", str(tmp_path / "c\x1b[2J.png"), "a.lic"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, complaint",
    [(["compress", "", "out"], "an empty path"), (["compress", "a.png", "a.lic", "--grid", "4" * 5000 + "x4"], "such as 4x4"),
     (["compress", "a.png", "a.lic", "--grid", "300x4"], "1 to 255"),
     (["decompress", "a.lic", "a.png", "--max-pixels", "9" * 5000], "a whole number"),
     (["compress", "a.png", "a.lic", "--batch", "0"], "a whole number"),
     (["compress", "a.png", "a.lic", "--max-memory", "3X"], "such as 3G"),
     (["compress", "a" * 300 + ".png", "a.lic"], "name too long"),
     (["compress", "a.png", "a" * 300 + ".lic"], "name too long")],
)  # fmt: skip
def test_odd_words_are_one_line(tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)
    save_picture(tmp_path / "a.png")
    with suppress(SystemExit):
        assert main(words) == 2
    assert complaint in capsys.readouterr().err
    assert left_in(tmp_path) == {"a.png"}


def test_a_picture_over_the_limit_is_refused_and_the_next_is_done(bundle, tmp_path, capsys):
    for name, side in (("a", 64), ("b", 200), ("c", 64)):
        save_picture(tmp_path / "in" / f"{name}.png", side, side)
    assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle)) == 0
    limited = asked(tmp_path / "coded", tmp_path / "out", bundle)
    limited.max_pixels = 64 * 64
    assert decompress(limited) == 1
    assert left_in(tmp_path / "out") == {"a.png", "c.png"}
    assert "allow more with --max-pixels" in capsys.readouterr().err


def test_a_picture_beyond_the_memory_allowed_is_one_line_with_what_it_takes(bundle, tmp_path, capsys):
    """And with what the line says, it is coded."""
    source = save_picture(tmp_path / "in.png", 1500, 64)
    words = ["compress", str(source), str(tmp_path / "a.lic"), "--codec", str(bundle)]
    assert main([*words, "--max-memory", "100M"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "a picture of 64x1500 takes" in said and "0.1 GiB are allowed; say --max-memory" in said
    assert left_in(tmp_path) == {"in.png"}
    least = said.partition("--max-memory ")[2].partition(",")[0]
    assert main([*words, "--max-memory", f"{int(least.removesuffix('M')) + 64}M"]) == 0
    assert left_in(tmp_path) == {"in.png", "a.lic"}


@pytest.mark.parametrize("cores", [1, 2])
def test_files_of_a_folder_do_not_depend_on_the_number_of_cores(bundle, tmp_path, capsys, cores):
    """What is printed does not, either: in order, with one that fails among them."""
    for number in range(5):
        save_picture(tmp_path / "in" / f"{number}.png", 30 + number, 40)
    (tmp_path / "in" / "3.png").write_bytes(b"no picture")
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        assert compress(asked(tmp_path / "in", tmp_path / "coded", bundle)) == 1
        assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
    said = capsys.readouterr()
    starts = [line.partition(":")[0] for line in said.out.splitlines()[:-1]]
    assert starts == [f"[{n + 1}/5] {tmp_path}/coded/{n}.lic" for n in (0, 1, 2, 4)]
    assert said.out.splitlines()[-1].startswith("4 of 5 files in") and said.err.startswith(f"codec: {tmp_path}/in/3.png: ")
    codec = load_bundle(bundle)
    for number in (0, 1, 2, 4):
        file = (tmp_path / "coded" / f"{number}.lic").read_bytes()
        assert file == encode(codec, read_image(tmp_path / "in" / f"{number}.png")).file


def test_a_terminal_sees_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress = Progress(3)
    for _ in range(3):
        progress.hide()
        progress.show(2_000_000)
    said = capsys.readouterr().err
    assert "1 of 3" in said and "2 of 3" in said and "MP/s" in said and "0:00:00 left" in said
    assert "3 of 3" not in said and said.endswith("\r\x1b[K")
