"""A download is the known file, or nothing: of another hash, too long, of no end."""

import errno
import hashlib
import io
from email.message import Message
from urllib.error import URLError

import pytest

import codec.download
from codec.download import BLOCK, download
from codec.metrics.downloads import published_weights
from codec.types import UnavailableError

CONTENT = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Answer(io.BytesIO):
    """What a server says; read counts what was taken of it."""

    def __init__(self, content, length):
        super().__init__(content)
        self.headers = Message()
        if length is not None:
            self.headers["Content-Length"] = str(length)


@pytest.fixture
def answers(monkeypatch):
    def answer(content, length=None):
        given = Answer(content, length)
        monkeypatch.setattr(codec.download, "urlopen", lambda url, timeout: given)
        return given

    return answer


@pytest.mark.parametrize("digits", [8, 64])
def test_the_known_file_comes(tmp_path, answers, digits):
    answers(CONTENT, len(CONTENT))
    seen = []
    download("http://a/b", tmp_path / "deep" / "b", DIGEST[:digits], len(CONTENT), "", lambda *report: seen.append(report))
    assert (tmp_path / "deep" / "b").read_bytes() == CONTENT and seen[-1] == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    "content, length, words",
    [(CONTENT[1:], None, "not the known file"), (CONTENT, len(CONTENT) + 1, "more than"), (CONTENT * 9, None, "more than"),
     (CONTENT, "many", "could not be downloaded"), (b"", 0, "not the known file")],
)  # fmt: skip
def test_anything_else_is_one_line_and_leaves_nothing(tmp_path, answers, content, length, words):
    answer = answers(content, length)
    with pytest.raises(UnavailableError, match=words) as caught:
        download("http://a/b", tmp_path / "b", DIGEST, len(CONTENT), "copy it by hand")
    assert "http://a/b" in str(caught.value) and "by hand" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir()) and (answer.closed or answer.tell() <= len(CONTENT) + BLOCK)


def test_without_a_network_no_folder_is_made(tmp_path, monkeypatch):
    def refuse(url, timeout):
        raise URLError("Name or service not known")

    monkeypatch.setattr(codec.download, "urlopen", refuse)
    with pytest.raises(UnavailableError, match="expected a network; copy it by hand"):
        download("http://a/b", tmp_path / "datasets" / "b", DIGEST, len(CONTENT), "copy it by hand")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_no_missing_network(tmp_path, answers, monkeypatch):
    answers(CONTENT)

    def full(digest):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(codec.download, "replacing", full)
    with pytest.raises(OSError, match="No space left") as caught:
        download("http://a/b", tmp_path / "b", DIGEST, len(CONTENT), "copy it by hand")
    assert not isinstance(caught.value, UnavailableError)


def test_inception_and_lpips_have_their_hashes_in_their_names(tmp_path, answers, monkeypatch):
    """Another file under their address is refused, and not kept."""
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    for url in ("https://a/weights-inception-2015-12-05-6726825d.pth", "https://a/alexnet-owt-7be5be79.pth"):
        answers(CONTENT)
        with pytest.raises(UnavailableError, match="not the known file"):
            published_weights(url, "FID", "set a path")
    assert not list((tmp_path / "checkpoints").iterdir())
