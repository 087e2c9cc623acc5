"""Run directories: a pure function of what was asked, so that asking again finds the run."""

import csv
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from codec.atomic import remove_unfinished, write_atomically
from codec.runs.claim import Claim
from codec.runs.identity import Identity, differences, identity_values
from codec.runs.lock import RunLock
from codec.runs.state import read_state
from codec.types import UserError


def _git_commit() -> str | None:
    """The commit of the source tree that this code runs from, where it is one."""
    source = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


class RunFolder:
    """The folder of one run: what it was asked for, how far it came, what it left."""

    def __init__(self, path: Path):
        self.path = path
        self.config_file = path / "config.yaml"
        self.facts_file = path / "run.json"
        self.metrics_file = path / "metrics.csv"
        self.checkpoints = path / "checkpoints"
        self.last_checkpoint = path / "checkpoints" / "last.ckpt"
        self.bundle = path / "codec.safetensors"
        self.results = path / "results"
        self.report = path / "report"

    @classmethod
    def of_results(cls, path: Path) -> "RunFolder":
        """The folder in whose `results` the file lies, whichever folder it is named from."""
        return cls(path.absolute().parent.parent)

    @property
    def finished(self) -> bool:
        """Whether training, coding and the report are done."""
        state = read_state(self.path)
        return state is not None and state.status == "finished"

    @property
    def has_begun(self) -> bool:
        """Whether a step of it is left: a run that failed before its first is none."""
        if self.last_checkpoint.exists() or self.bundle.exists() or self.finished:
            return True
        if not self.metrics_file.exists():
            return False
        with self.metrics_file.open() as file:
            return len(list(islice(file, 2))) > 1

    def log(self) -> list[dict[str, str]]:
        """The rows of metrics.csv, by its columns, each value a number or empty.

        A line that is cut, has values without a column or no step is left out; what is no number counts as empty.
        """
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text().splitlines(keepends=True)
        rows = csv.DictReader(line for line in lines if line.endswith("\n"))
        whole = [row for row in rows if None not in row and None not in row.values() and row.get("step", "").isdecimal()]
        return [{name: text if _is_number(text) else "" for name, text in row.items()} for row in whole]

    def _identity(self) -> Identity:
        """What it was made with, by what this version takes for identity."""
        try:
            config = dict(yaml.safe_load(self.config_file.read_text()))
        except (yaml.YAMLError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.config_file} holds no configuration; expected it as it was written; remove the run"
            ) from error
        facts = self.facts()
        contents = facts.get("contents", {})
        return Identity(self.path.name, identity_values(config, contents), facts.get("given", {}), contents)

    def check(self, identity: Identity) -> str | None:
        """A line on how a run that is here differs from the one asked for, where that is no hindrance; writes nothing.

        A finished run is shown whatever it was made with, and keys that only one version knows, with their defaults,
        change nothing. Raises UserError where an unfinished run of another identity is here.
        """
        if not self.config_file.exists() or not self.has_begun:
            return None
        apart, by_version = differences(self._identity(), identity)
        if apart and not self.finished:
            raise UserError(
                f"{self.path} holds a run of another configuration ({_first(apart)}); expected the same; set run_dir to a new "
                "folder, or remove this one"
            )
        return f"{self.path} was made with other settings ({_first(apart + by_version)})" if apart or by_version else None

    @contextmanager
    def claim(self, config: Mapping[str, Any], identity: Identity) -> Iterator[Claim]:
        """The folder for this process alone, made where it is missing; for the first rank. Other ranks `check`.

        config: the whole resolved configuration, which is kept. What a run left that failed before its first step is
        written anew. How the run ends is noted where an exception ends it.
        Raises UserError as `check`, and where another process has the folder.
        """
        self.check(identity)  # a refused command leaves nothing
        self.path.mkdir(parents=True, exist_ok=True)
        with RunLock(self.path) as lock:
            told = self.check(identity)  # another may have begun it meanwhile
            for folder in (self.path, self.checkpoints):
                remove_unfinished(folder)
            if not self.has_begun:
                self._begin(config, identity)
            with Claim(self.path, lock, told) as claim:
                yield claim

    def _begin(self, config: Mapping[str, Any], identity: Identity) -> None:
        self.metrics_file.unlink(missing_ok=True)
        text = yaml.safe_dump(dict(config), sort_keys=True, allow_unicode=True)
        write_atomically(self.config_file, text.encode(), durable=True)
        packages = ("codec", "torch", "torchvision", "lightning", "compressai", "constriction")
        self._write_facts({
            "command": sys.argv[1:], "given": dict(identity.given), "contents": dict(identity.contents),
            "versions": {name: version(name) for name in packages}, "git_commit": _git_commit(),
            "host": {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()},
        })  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What run.json holds; empty before the run has begun."""
        return json.loads(self.facts_file.read_text()) if self.facts_file.exists() else {}

    def update_facts(self, **facts: Any) -> None:
        """Add to run.json."""
        self._write_facts(self.facts() | facts)

    def _write_facts(self, facts: Mapping[str, Any]) -> None:
        write_atomically(self.facts_file, json.dumps(facts, indent=1).encode(), durable=True)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _first(lines: Sequence[str]) -> str:
    """Eight of the lines as one, and how many more there are."""
    return "; ".join([*lines[:8], *([f"and {len(lines) - 8} more"] if len(lines) > 8 else [])])
