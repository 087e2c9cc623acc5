"""What a run says of itself in its folder, read as plain values: configuration, state, log, versions, command.

The configuration is read as YAML alone, so that nothing of the environment gets into a page; what looks like a credential is
left out, whoever wrote it there.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from codec.runs.folder import RunFolder
from codec.runs.state import RunState, read_state

SECRET = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
SECRET_WORD = re.compile(r"(?i)^([^=]*(?:key|token|secret|passw|credential|auth)[^=]*)=.*$", re.DOTALL)
# Within a value: one of several in braces, a part of an address, and who asks for it.
SECRET_PART = re.compile(
    r"(?i)((?:key|token|secret|passw|credential|auth)\w*[\"']?\s*[:=]\s*)[^,}&\s]+|(?<=//)[^/@\s]*:[^/@\s]*(?=@)"
)
HIDDEN = "hidden"
NOT_COMPARED = ("logger", "hydra", "run_dir", "retry", "ladder")  # they change no figure, or follow from others
MOST_ROWS = 400  # of a log, in a page


class Run(NamedTuple):
    """A run as a page shows it.

    name: of its codec, as results have it. values: its configuration, dotted keys. log: the columns of its metrics.csv.
    """

    folder: RunFolder
    name: str
    values: Mapping[str, Any]
    state: RunState
    facts: Mapping[str, Any]
    log: Mapping[str, Sequence[float | None]]

    @property
    def setting(self) -> dict[str, float]:
        """λ and the rate target, as results have them."""
        return {
            name: float(value)
            for name, key in (("lmbda", "model.lmbda"), ("target_bpp", "target_bpp"))
            if isinstance(value := self.values.get(key), (int, float))
        }


def flat(config: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested dictionaries by their dotted keys; what looks like a credential is hidden."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from flat(value, f"{above}.{key}" if above else str(key))
    else:
        hidden = SECRET.search(above) and config is not None
        yield above, HIDDEN if hidden else without_secrets(config) if isinstance(config, str) else config


def without_secrets(text: str) -> str:
    """The text without what in it looks like a credential."""
    return SECRET_PART.sub(lambda part: (part[1] or "") + HIDDEN, text)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _log(folder: RunFolder) -> dict[str, list[float | None]]:
    """The columns of a metrics.csv, thinned to MOST_ROWS."""
    rows = folder.log()
    every = -(-len(rows) // MOST_ROWS) or 1
    kept = [row for place, row in enumerate(rows) if place % every == 0 or place == len(rows) - 1 or row.get("val/loss")]
    return {name: [_number(row[name]) for row in kept] for name in (kept[0] if kept else {})}


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < 1e300 else None  # neither NaN nor infinite: JSON has no word for them


def facts_of(folder: RunFolder) -> dict[str, Any]:
    """What its run.json says; nothing where that was cut."""
    try:
        return folder.facts()
    except json.JSONDecodeError:
        return {}


def read_run(folder: RunFolder) -> Run:
    """What the folder of a run says."""
    config = _yaml(folder.config_file)
    values = dict(flat(config)) if config else {}
    name = " ".join(dict.fromkeys(str(word) for word in (values.get("experiment_name"), values.get("model.name")) if word))
    state = read_state(folder.path) or RunState("asked")
    return Run(folder, name or folder.path.name, values, state, facts_of(folder), _log(folder))


def command_of(run: Run) -> str:
    """The command that made the run, for a shell: as it was given, or for a run of before that was kept, by its settings."""
    words = run.facts.get("command")
    if not words:
        given = [f"{key}={value}" for key, value in run.facts.get("given", {}).items()]
        experiment = run.values.get("experiment_name")
        words = ["train", *([f"experiment={experiment}"] if experiment not in (None, "quickstart") else []), *given]
    return "codec " + shlex.join(without_secrets(SECRET_WORD.sub(rf"\1={HIDDEN}", str(word))) for word in words)


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The keys whose values differ between the runs, with the value of each; None where a run has no such key."""
    keys = sorted({key for run in runs for key in run.values})
    compared = [key for key in keys if key.split(".")[0] not in NOT_COMPARED and not SECRET.search(key)]
    table = {key: [run.values.get(key) for run in runs] for key in compared}
    return {key: values for key, values in table.items() if len({repr(value) for value in values}) > 1}
