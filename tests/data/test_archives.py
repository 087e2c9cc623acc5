"""Test sets in archives: fetched from a server, checked, unpacked flat; and what is told where pictures are missing."""

import argparse
import hashlib
import io
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from conftest import REPOSITORY, configured
from PIL import Image

from codec.cli import COMMANDS, _parser
from codec.commands import fetch
from codec.config.measurement import load_test_set
from codec.types import UserError
from data.archives import ARCHIVES, FETCHED_TOGETHER, PLACED, Archive


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def png(grey: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 6), (grey, grey, grey)).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Two sets of two pictures on a local server, under the names of CLIC's."""
    folder = tmp_path / "served"
    folder.mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    for number, name in enumerate(("clic2020-professional", "clic2020-mobile")):
        path = folder / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for letter in "ab":
                archive.writestr(f"deep/../{letter}{number}.png", png(40 * number))
            archive.writestr("__MACOSX/deep/._a.png", b"none")
            archive.writestr("deep/readme.txt", b"none")
        data = path.read_bytes()
        url = f"http://127.0.0.1:{http.server_port}/{name}.zip"
        monkeypatch.setitem(ARCHIVES, name, Archive(url, hashlib.sha256(data).hexdigest(), len(data), 2))
    monkeypatch.setenv("no_proxy", "*")
    yield folder
    http.shutdown()
    http.server_close()


def run(name, root):
    return fetch.run(argparse.Namespace(name=name, root=root))


def of(name, root):
    return load_test_set(configured(f"test={name}", f"test.root={root}", command="eval").test)


def test_both_parts_come_and_are_the_set(served, tmp_path, capsys):
    root = tmp_path / "sets"
    assert run("clic2020-test", root) == 0 and "2 pictures fetched now" in capsys.readouterr().out
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == {
        f"clic2020-{part}/{own}"
        for n, part in enumerate(("professional", "mobile"))
        for own in (f"a{n}.png", f"b{n}.png", ".pictures.json")
    }
    both = of("clic2020-test", root)
    assert both.name == "clic2020-test" and [picture.name for picture in both.pictures] == ["a0", "b0", "a1", "b1"]
    assert both.pictures[2].load().float().mean() == 40
    assert [picture.name for picture in of("clic2020-mobile", root).pictures] == ["a1", "b1"]
    assert run("clic2020-test", root) == 0 and "no pictures fetched now" in capsys.readouterr().out


@pytest.fixture
def fetched(served, tmp_path):
    assert run("clic2020-mobile", tmp_path) == 0
    return tmp_path / "clic2020-mobile"


def test_hidden_files_are_no_pictures(fetched, served, tmp_path, capsys):
    (fetched / "._a1.png").write_bytes(b"a Mac's")
    (served / "clic2020-mobile.zip").unlink()
    assert run("clic2020-mobile", tmp_path) == 0 and "no pictures fetched now" in capsys.readouterr().out
    assert [picture.name for picture in of("clic2020-mobile", tmp_path).pictures] == ["a1", "b1"]


def test_pictures_of_another_set_are_named_and_nothing_is_fetched(fetched, served, tmp_path):
    (fetched / "mine.png").write_bytes(png(7))
    (served / "clic2020-mobile.zip").unlink()
    for ask in (run, of):
        with pytest.raises(UserError, match=r"holds 3 PNGs, and clic2020-mobile has 2; .* others \(mine.png first\)"):
            ask("clic2020-mobile", tmp_path)
    (fetched / ".pictures.json").unlink()
    for ask in (run, of):
        with pytest.raises(UserError, match="holds 3 PNGs, and clic2020-mobile has 2"):
            ask("clic2020-mobile", tmp_path)


@pytest.mark.parametrize("content", [png(40)[:-30], png(41), None])
def test_a_picture_that_is_broken_replaced_or_gone_comes_again_alone(fetched, tmp_path, capsys, content):
    right, path = (fetched / "b1.png").read_bytes(), fetched / "b1.png"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    if content is None or len(content) != len(right):
        with pytest.raises(UserError, match=r"1 of the 2 .* \(b1.png is missing or cut\); .* run: codec fetch clic2020-mobile"):
            of("clic2020-mobile", tmp_path)
    kept = (fetched / "a1.png").stat().st_ino
    capsys.readouterr()
    assert run("clic2020-mobile", tmp_path) == 0 and "1 pictures fetched now" in capsys.readouterr().out
    assert path.read_bytes() == right and (fetched / "a1.png").stat().st_ino == kept
    assert len(list(fetched.iterdir())) == 3


def test_a_kill_while_unpacking_leaves_whole_pictures(served, tmp_path, monkeypatch):
    def cut(source, target):
        target.write(source.read(20))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("data.archives.shutil", SimpleNamespace(copyfileobj=cut))
        run("clic2020-mobile", tmp_path)
    assert not list((tmp_path / "clic2020-mobile").glob("*.png"))
    assert run("clic2020-mobile", tmp_path) == 0 and len(of("clic2020-mobile", tmp_path).pictures) == 2


def test_what_was_fetched_before_manifests_is_counted(fetched, served, tmp_path, capsys):
    (fetched / ".pictures.json").unlink()
    (served / "clic2020-mobile.zip").unlink()
    capsys.readouterr()
    assert run("clic2020-mobile", tmp_path) == 0 and "no pictures fetched now" in capsys.readouterr().out
    assert len(of("clic2020-mobile", tmp_path).pictures) == 2


def test_a_file_that_is_not_the_known_one_leaves_nothing(served, tmp_path):
    path = served / "clic2020-mobile.zip"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="not the known file"):
        run("clic2020-mobile", tmp_path)
    assert not list((tmp_path / "clic2020-mobile").iterdir())


def test_missing_pictures_are_told_with_what_brings_them(tmp_path):
    with pytest.raises(UserError, match="0 of the 41 pictures .* run: codec fetch clic-professional-valid --root"):
        of("clic-professional-valid", tmp_path)
    with pytest.raises(
        UserError, match="0 of the 100 pictures of tecnick .* put the folder RGB/RGB_OR_1200x1200 of sourceforge"
    ):
        of("tecnick", tmp_path)


def test_every_set_is_a_choice_and_a_command():
    names = {*ARCHIVES, *FETCHED_TOGETHER}
    for name in names:
        assert _parser().parse_args(["fetch", name]).name == name
    assert "fetch" in COMMANDS
    assert all((REPOSITORY / "conf" / "test" / f"{name}.yaml").is_file() for name in (*names, *PLACED))
