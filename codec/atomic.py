"""Files that are whole or not there: a kill, an error or a full disk leaves the file before."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # of a disk that takes no more; the last: ulimit -f
PREFIX, SUFFIX = ".codec-", ".tmp"  # around 16 random digits: nobody else's name, however long that of the file is


def new_file(folder: Path) -> Path:
    """A new, empty file in `folder` with a name of its own and the rights that the umask leaves; no link is followed."""
    while True:
        path = folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            return path
        except FileExistsError:
            continue


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """A new file beside `path`, to be filled by any means; it becomes `path` at the end, and goes away at an error.

    durable: wait until the disk has it, so that a power cut leaves the old file or the new one: for what a run goes on from.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_file(path.parent)
    try:
        yield temporary
        if durable:
            _to_disk(temporary)
        temporary.replace(path)
        if durable:
            _to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes, durable: bool = False) -> None:
    """Write the file and the folders above it, with the rights that the umask leaves."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(content)


def remove_unfinished(folder: Path) -> None:
    """Remove what killed writers left in `folder`; for one who knows that nobody else writes there now."""
    for path in folder.glob(f"{PREFIX}{'[0-9a-f]' * 16}{SUFFIX}"):
        path.unlink(missing_ok=True)
