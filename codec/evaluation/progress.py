"""How far a measurement is, in lines: for a terminal and a file alike, since other points of a sweep may write there, too."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")
QUIET_SECONDS = 15.0  # between two lines


def told(pictures: Sequence[T], doing: str) -> Iterator[T]:
    """The pictures; in between, where they take long, a line: what is done, with how many of them, and the time left."""
    begun = said = time.monotonic()
    for done, picture in enumerate(pictures):
        now = time.monotonic()
        if done and now - said >= QUIET_SECONDS:
            left = timedelta(seconds=round((now - begun) / done * (len(pictures) - done)))
            print(f"{doing}  {done} of {len(pictures)} pictures  {left} left", flush=True)
            said = now
        yield picture
