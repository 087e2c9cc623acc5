"""How far a run is, in its folder, so that any process on any machine can read it: state.json."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from codec.atomic import write_atomically
from codec.runs.lock import is_held

Status = Literal["asked", "running", "stopped", "failed", "finished"]

OURS = re.compile(rb"^experiment_name:", re.MULTILINE)  # in the configuration of a training

OF_ANOTHER = "another process of this training failed: "  # before the line of the rank that failed first


class RunState(NamedTuple):
    """What a run does, or where it ended.

    step: the last that was told of, of `steps`. figures: the last that were logged, or those of a finished run.
    why: what it failed of last, in one line; failures: how many times in a row of that. updated: seconds since 1970.
    """

    status: Status
    step: int = 0
    steps: int | None = None
    steps_per_second: float | None = None
    figures: Mapping[str, float] = {}
    why: str | None = None
    failures: int = 0
    updated: float = 0.0

    def failed(self, why: str) -> "RunState":
        """The state after another failure, whichever rank was the first to fail."""
        why = why.removeprefix(OF_ANOTHER)
        return self._replace(status="failed", why=why, failures=self.failures + 1 if why == self.why else 1)

    @property
    def seconds_left(self) -> float | None:
        """Until its last step, where it runs."""
        if self.status != "running" or self.steps is None or not self.steps_per_second:
            return None
        return (self.steps - self.step) / self.steps_per_second


def write_state(folder: Path, state: RunState) -> None:
    """Write the state, whole; on the disk at once unless the next comes in a moment."""
    content = json.dumps(state._replace(updated=time.time())._asdict(), indent=1)
    write_atomically(folder / "state.json", content.encode(), durable=state.status != "running")


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # empty: the power went while it ran
        return {}
    return said if isinstance(said, dict) else {}


def _said(folder: Path) -> dict[str, Any]:
    """What a run's state.json says; nothing where it has none, or one of somebody else's."""
    said = _read(folder / "state.json")
    return said if said.get("status") in get_args(Status) else {}


def _has_config(folder: Path) -> bool:
    """Whether there is a configuration as a training writes it, not any file of that name."""
    try:
        return OURS.search((folder / "config.yaml").read_bytes()) is not None
    except OSError:
        return False


def read_state(folder: Path) -> RunState | None:
    """The state of the run in a folder, stopped where it ran and nobody has its lock; None where there is no run."""
    said = _said(folder)
    if not said:  # a run of before there were states
        if not _has_config(folder):
            return None
        return RunState("finished" if _read(folder / "run.json").get("finished") else "stopped")
    state = RunState(**{name: said[name] for name in RunState._fields if name in said})
    return state._replace(status="stopped") if state.status == "running" and not is_held(folder) else state


def find_runs(root: Path) -> Iterator[Path]:
    """The folders of runs at and below `root`, sorted, without those whose names begin with a dot.

    Links are followed, each folder once.
    """
    seen = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        real = os.path.realpath(folder)
        is_run = bool({"config.yaml", "state.json"} & set(files)) and (bool(_said(Path(folder))) or _has_config(Path(folder)))
        if real in seen or is_run:
            inner.clear()
        if is_run and real not in seen:
            yield Path(folder)
        seen.add(real)


def ask(folder: Path) -> None:
    """Say in a run's folder that it is asked for, as a point of a sweep that waits; what runs or is finished stays so."""
    state = read_state(folder) or RunState("asked")
    if state.status not in ("running", "finished"):
        write_state(folder, state._replace(status="asked"))
