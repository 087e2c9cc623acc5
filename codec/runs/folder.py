"""Run directories: a pure function of what was asked, so that asking again finds the run."""

import difflib
import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from codec.atomic import write_atomically
from codec.types import UserError

MAX_NAME = 120
PLAIN = re.compile(r"[A-Za-z0-9._-]+")


def _canonical(value: str) -> str:
    """One spelling for one value: 0.03 and 0.030 are the same run; what a folder name cannot hold is hashed."""
    parsed = yaml.safe_load(value) if value else ""
    if isinstance(parsed, str):
        with suppress(ValueError):
            parsed = float(parsed)  # YAML 1.1 takes 1e-4 for a word
    text = repr(parsed) if isinstance(parsed, float) else str(parsed)
    text = text.removesuffix(".0") if isinstance(parsed, float) else text
    return text if PLAIN.fullmatch(text) else hashlib.sha256(text.encode()).hexdigest()[:8]


def run_name(overrides: Sequence[str]) -> str:
    """The folder of a run asked for with these Hydra overrides, below the folder of its experiment.

    `key=value` becomes `key-value`, sorted; only letters, digits, dot, underscore and hyphen; `default` for none.
    """
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key != "experiment":
            parts.append(f"{re.sub(r'[^A-Za-z0-9._-]+', '_', key.lstrip('+~'))}-{_canonical(value)}")
    name = "_".join(sorted(parts)) or "default"
    if len(name) > MAX_NAME:
        name = name[: MAX_NAME - 9] + "-" + hashlib.sha256(name.encode()).hexdigest()[:8]
    return name


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
    """The folder of one run: what it was asked for, how far it came, what it left.

    Raises UserError where the folder holds a run of another configuration.
    """

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

    def claim(self, config: dict[str, Any]) -> None:
        """Write the resolved configuration, or hold it against the one that the folder was made with."""
        text = yaml.safe_dump(config, sort_keys=True)
        if self.config_file.exists():
            before = self.config_file.read_text()
            if before != text:
                changed = [
                    line
                    for line in difflib.unified_diff(before.splitlines(), text.splitlines(), lineterm="", n=0)
                    if line[:1] in "+-" and line[:3] not in ("+++", "---")
                ]
                raise UserError(
                    f"{self.path} holds a run of another configuration ({'; '.join(changed[:8])}); expected the same; "
                    "set run_dir to a new folder, or remove this one"
                )
            return
        write_atomically(self.config_file, text.encode())
        packages = ("codec", "torch", "torchvision", "lightning", "compressai", "constriction")
        self.update_facts(
            versions={name: version(name) for name in packages}, git_commit=_git_commit(),
            host={"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()},
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """What run.json holds; empty before the run has begun."""
        return json.loads(self.facts_file.read_text()) if self.facts_file.exists() else {}

    def update_facts(self, **facts: Any) -> None:
        """Add to run.json."""
        write_atomically(self.facts_file, json.dumps(self.facts() | facts, indent=1).encode())

    @property
    def finished(self) -> bool:
        """Whether training, coding and the report are done."""
        return bool(self.facts().get("finished"))
