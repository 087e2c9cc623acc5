"""A file is whole or not there, whoever else writes beside it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from codec.atomic import new_file, remove_unfinished, replacing, write_atomically

WRITER = """
import sys
from pathlib import Path
from codec.atomic import write_atomically
for _ in range(int(sys.argv[3])):
    write_atomically(Path(sys.argv[1]), sys.argv[2].encode() * 100_000)
"""


def test_the_file_and_its_folders_appear_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for durable, content in ((False, b"one"), (True, b"two")):
        write_atomically(path, content, durable=durable)
        assert path.read_bytes() == content
    assert [*path.parent.iterdir()] == [path]


def test_two_processes_that_write_one_file_never_mix(tmp_path):
    path = tmp_path / "file"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, letter, "100"]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {b"a" * 100_000, b"b" * 100_000} and seen
    assert [*tmp_path.iterdir()] == [path]


def test_an_error_leaves_the_file_before_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before" and [*tmp_path.iterdir()] == [path]


def test_a_users_own_file_and_a_link_of_that_name_stay(tmp_path):
    target, path = tmp_path / "target", tmp_path / "x"
    target.write_text("theirs")
    (tmp_path / "x.tmp").symlink_to(target)
    (tmp_path / "y.tmp").write_text("theirs, too")
    write_atomically(path, b"ours")
    write_atomically(tmp_path / "y", b"ours")
    assert target.read_text() == "theirs" and (tmp_path / "x.tmp").is_symlink()
    assert (tmp_path / "y.tmp").read_text() == "theirs, too"


@pytest.mark.parametrize("umask, rights", [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_rights_are_those_that_the_umask_leaves(tmp_path, umask, rights):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == rights


def test_a_name_as_long_as_the_disk_takes(tmp_path):
    write_atomically(tmp_path / ("x" * 255), b"whole")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"whole"


def test_what_a_kill_leaves_is_found_and_removed_and_nothing_else(tmp_path):
    theirs = tmp_path / "x.tmp"
    theirs.write_text("theirs")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "file", "a" * 200, "1000"])
    while not [path for path in tmp_path.iterdir() if path != theirs]:
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    new_file(tmp_path)  # wherever the kill came
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} <= {"x.tmp", "file"} and theirs.read_text() == "theirs"
