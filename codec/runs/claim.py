"""A run folder in the hands of one process, which says there how far it is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from codec.runs.lock import HeldError, RunLock, is_held
from codec.runs.state import RunState, Status, read_state, write_state
from codec.types import UserError


class Claim:
    """The right to write into a run folder while its lock is held; the first rank has it for all.

    told: one line on how the folder differs from what was asked, where that is no hindrance; or None.
    """

    def __init__(self, path: Path, lock: RunLock, told: str | None):
        self.told = told
        self._path, self._lock = path, lock
        self._state = read_state(path) or RunState("asked")

    def __enter__(self) -> "Claim":
        if self._state.status != "finished":
            self._say("asked")
        return self

    def _say(self, status: Status, **changes: Any) -> None:
        self._state = self._state._replace(status=status, **changes)
        write_state(self._path, self._state)

    def running(self, step: int, steps: int, steps_per_second: float | None, figures: Mapping[str, float]) -> None:
        """Say how far the training is. Raises UserError where another process has taken the folder over."""
        self._lock.touch()
        self._say("running", step=step, steps=steps, steps_per_second=steps_per_second, figures=dict(figures))

    def stopped(self, step: int) -> None:
        """Say from which step the run goes on when it is asked for again."""
        self._say("stopped", step=step)

    def finish(self, figures: Mapping[str, float]) -> None:
        """Say that training, coding and the report are done, and what was measured. Raises UserError as `running`."""
        self._lock.touch()
        self._say("finished", figures=dict(figures), why=None, failures=0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Say how the run ended, by an exception, before it was finished; a full disk hides no other error."""
        if error is not None and self._state.status != "finished" and self._lock.is_mine():
            with suppress(OSError):
                self._ended_by(error)

    def _ended_by(self, error: BaseException) -> None:
        """Stopped, as by Ctrl-C or a signal, or failed and why."""
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return self._say("stopped")
        self._state = self._state.failed(_line(error))
        write_state(self._path, self._state)


def _line(error: BaseException) -> str:
    mistake = UserError.behind(error)
    return " ".join((str(mistake) if mistake else f"{type(error).__name__}: {error}").split())[:500]


@contextmanager
def noting_failure(path: Path) -> Iterator[None]:
    """Around all that the first rank does: its folder says why it failed before it was claimed, if the run was asked for.

    As a point of a sweep is; a command that is refused otherwise leaves nothing.
    """
    try:
        yield
    except Exception as error:
        state = None if isinstance(error, HeldError) else read_state(path)
        if state is not None and state.status == "asked" and not is_held(path):
            write_state(path, state.failed(_line(error)))
        raise
