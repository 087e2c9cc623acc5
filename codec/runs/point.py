"""A point of a sweep: a training by a process of its own, whose every line says which point it is of."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TextIO

NAME, PARENT = "CODEC_POINT", "CODEC_SWEEP"  # in the environment: what the point is called, and which process started it
HELD = 75  # exit status of a point that needs what another process trains now: EX_TEMPFAIL of sysexits.h


class Point(NamedTuple):
    """A point of a sweep.

    number: from 1, of `total`, 0 where that is not known. model: its name. lmbda: as text. folder: of its run.
    words: the overrides of its command. devices, accelerator: Lightning's.
    """

    number: int
    total: int
    model: str
    lmbda: str
    folder: Path
    words: tuple[str, ...]
    devices: object = 1
    accelerator: str = "auto"

    @property
    def label(self) -> str:
        """What stands before each of its lines."""
        place = f"{self.number}/{self.total}" if self.total else str(self.number)
        return f"[{place}] {self.model} λ={self.lmbda}"


def command_of(point: Point, options: Path | None) -> list[str]:
    """The command that trains it; options: a folder of options of one's own."""
    more = [] if options is None else [f"--config-dir={options}"]
    return [sys.executable, "-m", "codec", "train", *more, *point.words]


def environment_of(point: Point) -> Mapping[str, str]:
    """What a process is told of the point that it trains."""
    return {NAME: point.label, PARENT: str(os.getpid()), "PYTHONUNBUFFERED": "1"}


class Named(io.TextIOBase):
    """Lines to a stream, each whole, with a name before it; no terminal, since other points write to it, too."""

    def __init__(self, stream: TextIO, name: str):
        self._stream, self._name, self._line = stream, name, ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._line = f"{self._line}{text}".split("\n")
        if lines:
            self._stream.write("".join(f"{self._name}  {line}".rstrip() + "\n" for line in lines))
            self._stream.flush()
        return len(text)


def be_point() -> None:
    """Where this process is one of a point: name each line, and stop, as by SIGTERM, when the sweep's process is gone."""
    name = os.environ.get(NAME)
    if name is None:
        return
    sys.stdout, sys.stderr = Named(sys.stdout, name), Named(sys.stderr, name)
    if os.environ.get(PARENT) == str(os.getppid()):
        threading.Thread(target=_stop_without, args=(os.getppid(),), daemon=True, name="sweep").start()


def _stop_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def is_point() -> bool:
    """Whether this process trains a point of a sweep."""
    return NAME in os.environ
