"""Which files of a folder are pictures, and that none is passed over without a word."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from codec.evaluation.results import ImageRow, Point, Results
from codec.report.contact_sheet import Panel, write_contact_sheet
from codec.report.plots import write_rd_plot
from codec.types import UserError
from data import formats
from data.folders import list_images, own_names
from data.testsets import folder


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(20, 30).permute(1, 2, 0).numpy()).save(path)
    return path


def listed(root):
    return [os.fsdecode(path.relative_to(root)) for path in list_images(root)]


def test_what_systems_leave_beside_pictures_is_none_and_counted(tmp_path, capsys):
    """._NAME: python-pillow/Pillow#4807. Hidden folders of notebooks: pytorch/vision#2831."""
    save(tmp_path / "a.png")
    for name in ("._a.png", "__MACOSX/._a.png", ".b.png", ".DS_Store", "Thumbs.db", "notes.txt", "list.json", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    save(tmp_path / ".ipynb_checkpoints" / "a.png")
    os.symlink(tmp_path / "nothing.png", tmp_path / "gone.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert listed(tmp_path) == ["a.png"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path}: 1 pictures; passed over: ")
    for reason in ("2 AppleDouble (._)", "2 hidden", "4 of other kinds (", "1 hidden folders", "1 links to nothing",
                   "1 pipes or devices"):  # fmt: skip
        assert reason in line
    assert all(kind in line for kind in (".db", ".txt", ".json", "no suffix"))


def test_a_clean_folder_is_listed_without_a_word(tmp_path, capsys):
    save(tmp_path / "a.png")
    assert listed(tmp_path) == ["a.png"] and capsys.readouterr().out == ""


def test_every_suffix_that_is_read_counts_in_either_case(tmp_path):
    names = ["a.jfif", "b.bmp", "c.tif", "d.tiff", "e.avif", "f.JPG", "g.PNG", "h.TIF", "i.webp", "j.Jpeg"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert listed(tmp_path) == names


def test_what_needs_a_package_is_named_without_it_and_read_with_it(tmp_path, monkeypatch, capsys):
    save(tmp_path / "a.png")
    for name in ("b.heic", "c.HEIC", "d.jxl"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("data.folders.what_lacks", lambda suffix: {".heic": "pillow-heif", ".jxl": "a plugin"}.get(suffix))
    assert listed(tmp_path) == ["a.png"]
    assert "2 .heic without pillow-heif, 1 .jxl without a plugin" in capsys.readouterr().out
    monkeypatch.setattr("data.folders.what_lacks", lambda suffix: None)
    assert listed(tmp_path) == ["a.png", "b.heic", "c.HEIC", "d.jxl"]


def test_a_plugin_that_is_installed_reads(tmp_path, monkeypatch):
    """By a stand-in, which reads what begins as JPEG XL does as a grey pixel."""
    (tmp_path / "pillow_jxl.py").write_text(
        "from PIL import Image, ImageFile\n"
        "class JXL(ImageFile.ImageFile):\n"
        "    format = 'JXL'\n"
        "    def _open(self):\n"
        "        self._mode, self._size, self.tile = 'L', (1, 1), []\n"
        "    def load(self):\n"
        "        self.im = Image.new('L', (1, 1), 77).im\n"
        "Image.register_open('JXL', JXL, lambda head: head.startswith(b'\\xff\\x0a'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + bytes(20))
    formats.formats.cache_clear()
    try:
        from data.images import read_image

        assert formats.what_lacks(".jxl") is None and read_image(tmp_path / "a.jxl").tolist() == [[[77]]] * 3
    finally:
        formats.formats.cache_clear()
        Image.OPEN.pop("JXL", None)
        Image.ID[:] = [name for name in Image.ID if name != "JXL"]
        sys.modules.pop("pillow_jxl", None)


def test_linked_folders_are_followed_once(tmp_path, capsys):
    save(tmp_path / "elsewhere" / "a.png")
    save(tmp_path / "root" / "real" / "b.png")
    for name, target in (("in", "root"), ("again", "elsewhere"), ("linked", "elsewhere"), ("within", "root/real")):
        os.symlink(tmp_path / target, tmp_path / "root" / name)
    assert listed(tmp_path / "root") == ["again/a.png", "real/b.png"]
    assert "3 links to a folder that is read already" in capsys.readouterr().out


def test_a_folder_that_may_not_be_read_is_named(tmp_path, capsys, monkeypatch):
    save(tmp_path / "a.png")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert listed(tmp_path) == ["a.png"]
    assert "1 folders that cannot be read (Permission denied)" in capsys.readouterr().out


def test_what_is_drawn_here_is_no_picture(tmp_path, capsys):
    """Measured twice into the same folder, a set would hold its own plot."""
    save(tmp_path / "a.png")
    ours = Results("ours", "", "mine", [Point({}, [ImageRow("a", 30, 20, 1.0, 30.0)])])
    write_rd_plot([ours], [], tmp_path / "mine_rd.png")
    write_contact_sheet([Panel("a", picture(20, 30), np.zeros((20, 30), int))], tmp_path / "deep" / "sheet.png")
    assert listed(tmp_path) == ["a.png"]
    assert "2 drawn by codec" in capsys.readouterr().out


def test_names_are_their_own_without_the_suffix_where_that_tells_them_apart():
    names = own_names([Path(name) for name in ("a.png", "a.jpg", "b.png", "d/a.png")])
    assert [str(name) for name in names] == ["a.png", "a.jpg", "b", "d/a"]
    longest = "x" * 251
    assert own_names([Path(longest + ".png")]) == [Path(longest)]
    with pytest.raises(UserError, match="has 255 bytes, and .lic is to be added.*rename it"):
        own_names([Path(longest + ".png"), Path(longest + ".jpg")])
    with pytest.raises(UserError, match="a.png and a.png.bmp would both be called a.png.*rename one"):
        own_names([Path("a.jpg"), Path("a.png"), Path("a.png.bmp")])


def test_a_set_with_broken_pictures_is_named_before_anything_is_coded(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name)
    assert len(folder(tmp_path).pictures) == 3
    (tmp_path / "b.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"1 of 3 pictures cannot be read: b.png \(broken\).*test.root"):
        folder(tmp_path)


def test_names_in_no_encoding_are_names(tmp_path):
    save(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert [image.name for image in folder(tmp_path).pictures] == ["caf\\udce9"]
