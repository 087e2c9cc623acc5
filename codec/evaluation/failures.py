"""What may go wrong with one figure of a measurement, and costs that figure alone."""

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
FAILURES = (OSError, ValueError, RuntimeError, MemoryError)  # of encoders, programs, networks, and of a GPU's memory


class FigureError(Exception):
    """A figure that cannot be had; its text says why, in one line."""


def attempt(step: Callable[[], Value]) -> Value:
    """What a step gives. Raises FigureError where what does the work refuses."""
    try:
        return step()
    except FAILURES as error:
        raise FigureError(" ".join(str(error).split()) or type(error).__name__) from error
