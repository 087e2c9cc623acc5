"""How far a command on many files is, on a terminal."""

import sys
import time
from datetime import timedelta


class Progress:
    """A line on standard error, below what is printed; nothing where that is no terminal, as under nohup.

    num_files: of all.
    """

    def __init__(self, num_files: int):
        self._num_files = num_files
        self._begun = time.monotonic()
        self._pixels = self._done = 0
        self._shown = sys.stderr.isatty()

    def hide(self) -> None:
        """Make room for a line that is printed."""
        if self._shown and self._done:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, pixels: int) -> None:
        """Another file is done, of a picture of so many pixels."""
        self._done, self._pixels = self._done + 1, self._pixels + pixels
        if not self._shown or self._done == self._num_files:
            return
        seconds = time.monotonic() - self._begun
        left = timedelta(seconds=round(seconds / self._done * (self._num_files - self._done)))
        text = f"{self._done} of {self._num_files}  {self._pixels / 1e6 / seconds:.2f} MP/s  {left} left"
        print(text, end="", file=sys.stderr, flush=True)
