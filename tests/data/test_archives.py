"""Test sets in archives: fetched from a server, checked, unpacked flat; and what is told where pictures are missing."""

import argparse
import hashlib
import io
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

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
        f"clic2020-{part}/{letter}{n}.png" for n, part in enumerate(("professional", "mobile")) for letter in "ab"
    }
    both = of("clic2020-test", root)
    assert both.name == "clic2020-test" and [picture.name for picture in both.pictures] == ["a0", "b0", "a1", "b1"]
    assert both.pictures[2].load().float().mean() == 40
    assert [picture.name for picture in of("clic2020-mobile", root).pictures] == ["a1", "b1"]
    assert run("clic2020-test", root) == 0 and "no pictures fetched now" in capsys.readouterr().out


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
