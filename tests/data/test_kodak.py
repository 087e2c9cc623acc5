"""Kodak is fetched from a server, checked, and never half there."""

import argparse
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from codec.commands import fetch
from codec.types import UserError
from data import kodak

FILES = {f"kodim0{number}.png": bytes([number]) * 1000 * number for number in (1, 2, 3)}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Tiny files under Kodak's names on a local server; returns the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setattr(kodak, "URL", f"http://127.0.0.1:{http.server_port}/{{name}}")
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setattr(kodak, "SHA256", sums)
    monkeypatch.setattr(fetch, "SHA256", sums)
    monkeypatch.setenv("no_proxy", "*")
    yield folder
    http.shutdown()
    http.server_close()


def run(root):
    return fetch.run(argparse.Namespace(name="kodak", root=root))


def test_the_command_fetches_what_is_missing_or_wrong(server, tmp_path, capsys):
    assert run(tmp_path / "sets") == 0
    folder = tmp_path / "sets" / "kodak"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert "3 fetched" in capsys.readouterr().out
    (folder / "kodim02.png").write_bytes(b"cut")
    assert run(tmp_path / "sets") == 0
    assert (folder / "kodim02.png").read_bytes() == FILES["kodim02.png"]
    assert "1 fetched" in capsys.readouterr().out


def test_progress_ends_at_the_whole_size(server, tmp_path):
    seen = {}
    assert kodak.fetch_kodak(tmp_path / "kodak", lambda name, done, size: seen.update({name: (done, size)})) == 3
    assert seen == {name: (len(content), len(content)) for name, content in FILES.items()}


def test_a_wrong_file_is_not_kept(server, tmp_path):
    (server / "kodim02.png").write_bytes(b"something else")
    with pytest.raises(UserError, match="kodim02.png is not the known file"):
        run(tmp_path / "sets")
    assert [path.name for path in (tmp_path / "sets" / "kodak").iterdir()] == ["kodim01.png"]  # whole ones stay
    (server / "kodim02.png").write_bytes(FILES["kodim02.png"])
    assert run(tmp_path / "sets") == 0


def test_without_a_network_one_line_names_the_url_and_the_place(server, tmp_path, monkeypatch):
    url = "http://127.0.0.1:9/{name}"  # where nobody answers
    monkeypatch.setattr(kodak, "URL", url)
    with pytest.raises(UserError) as caught:
        run(tmp_path / "sets")
    message = str(caught.value)
    assert url.format(name="kodim01.png") in message and str(tmp_path / "sets" / "kodak") in message
    assert "by hand" in message and "\n" not in message
    assert not (tmp_path / "sets").exists()  # nothing came, nothing is left


def test_a_file_that_the_server_lacks_is_one_line(server, tmp_path):
    (server / "kodim03.png").unlink()
    with pytest.raises(UserError, match="kodim03.png could not be downloaded"):
        run(tmp_path / "sets")


def test_the_sums_are_of_24_files():
    assert len(kodak.SHA256) == 24 and all(len(digest) == 64 for digest in kodak.SHA256.values())


def test_the_sums_are_those_of_the_real_files(shared):
    for path in kodak.kodak_paths(shared / "images" / "kodak"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == kodak.SHA256[path.name]
