"""Files from the network: of a known hash and no larger than expected, or not there."""

import hashlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from codec.atomic import NO_SPACE, replacing
from codec.types import UnavailableError

BLOCK = 1 << 16
SECONDS = 30  # without an answer


def download(
    url: str, path: Path, sha256: str, most_bytes: int, remedy: str, report: Callable[[int, int], None] | None = None
) -> None:
    """Write the file at `url` to `path`, which gets its name once the file is whole and right.

    sha256: its hash in hexadecimal digits, or the first of them. most_bytes: no more are read. remedy: what to do without it,
    for messages. report(bytes so far, bytes in all or 0): called as they come.
    Raises UnavailableError without a network, and for any other file.
    """
    digest, done = hashlib.sha256(), 0
    try:
        with urlopen(url, timeout=SECONDS) as answer, replacing(path) as partial:  # without an answer no folder is made
            size = int(answer.headers.get("Content-Length") or 0)
            with partial.open("wb") as file:
                while size <= most_bytes and done <= most_bytes and (block := answer.read(BLOCK)):
                    file.write(block)
                    digest.update(block)
                    done += len(block)
                    if report is not None:
                        report(done, size)
            if max(size, done) > most_bytes:
                raise UnavailableError(f"{url} has more than {most_bytes} bytes; expected the known file; {remedy}")
            if not digest.hexdigest().startswith(sha256):
                raise UnavailableError(f"{url} is not the known file (its SHA-256 differs); nothing was kept; {remedy}")
    except UnavailableError:  # which is a ValueError, as that of a header is
        raise
    except (OSError, HTTPException, ValueError) as error:  # URLError is an OSError
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise UnavailableError(f"{url} could not be downloaded ({reason}); expected a network; {remedy}") from None
