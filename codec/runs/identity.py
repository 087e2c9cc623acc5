"""What makes a run the run that it is: the values that change its weights, each in one spelling.

Configurations here are plain: nested dictionaries of numbers, words and lists; a dotted key names a value in them.
"""

import hashlib
import json
import math
import posixpath
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# What changes no weights, a whole node each; everything else does, a key of tomorrow included: at worst a run is
# trained twice, and never are two taken for one.
NOT_IDENTITY = frozenset({
    # Names of things whose values are compared themselves.
    "experiment_name", "profile", "ladder", "least_crop", "run_dir",
    # What is logged, shown and kept, how often, and what the finished codec is measured on.
    "log_every", "save_every", "logger", "callbacks.progress", "callbacks.reconstructions", "callbacks.speed",
    "callbacks.live", "test", "perceptual",
    # On what it runs: a sample and its noise depend on seed, step and place in the global batch, not on who draws them.
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "data.num_workers",
    # The same arithmetic by other kernels, equal but for rounding, as on another device; `precision` is not of these.
    "compile", "trainer.benchmark", "trainer.deterministic",
    # What looks on.
    "trainer.profiler", "trainer.detect_anomaly", "trainer.enable_progress_bar", "trainer.enable_model_summary",
    # How the command is given.
    "hydra", "retry",
})  # fmt: skip
# What is a name or a path, and stays the text that was given, although YAML reads 2024 and 1.10 as numbers.
NAMES = (
    "experiment_name", "run_dir", "tag", "init_from", "run", "codec", "out", "data.root", "data.val.root", "data.regions.maps",
    "test.name", "test.root", "logger.wandb.project", "logger.wandb.entity", "logger.wandb.group", "logger.wandb.name",
)  # fmt: skip
BY_CONTENT = ("init_from",)  # files that a run starts from: what is in them counts, not where they lie
NUMBER = re.compile(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?")
WORDS = ("true", "false", "null")


class Identity(NamedTuple):
    """What a run was asked for.

    name: of its folder, below that of its experiment. values: all that changes the weights, dotted key -> canonical text.
    given: what is otherwise than in the experiment, likewise, None for what is not there; node -> choice for groups.
    contents: for keys in BY_CONTENT that name a file, a word for what is in it, as from `content_of`.
    """

    name: str
    values: Mapping[str, str]
    given: Mapping[str, str | None]
    contents: Mapping[str, str]


def content_of(bundle: Path) -> str:
    """A word for what a bundle holds, wherever it lies and whatever it is called."""
    with bundle.open("rb") as file:
        return f"bundle-{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def canonical(value: Any, key: str = "") -> str:
    """One text for one value: 0.03, 0.030 and "3e-2" are the same, and 1 and 1.0, True and "true", photos/ and ./photos.

    key: where the value stands; a text in NAMES is no number.
    """
    if isinstance(value, str) and key in NAMES:
        return _path(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{_quoted(str(key))}:{_quoted(value[key])}' for key in sorted(value, key=str))}}}"
    return _word(str(value))


def _number(value: float) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return re.sub(r"e([-+])0*", lambda sign: "e" + sign[1].strip("+"), repr(value))


def _word(text: str) -> str:
    """A word for itself, a number or a word of YAML for its value, and a path without its detours, accents in one form."""
    if NUMBER.fullmatch(text) and math.isfinite(float(text)):  # YAML 1.1 takes 1e-4 for a word
        return _number(int(text) if text.lstrip("+-").isdecimal() else float(text))
    return text.lower() if text.lower() in WORDS else _path(text)


def _path(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    return posixpath.normpath(text) if "/" in text and "://" not in text else text


def _quoted(value: Any) -> str:
    """The canonical text within that of a list, where a comma in a word must not part it."""
    text = canonical(value)
    plain = not isinstance(value, str) or text in WORDS or NUMBER.fullmatch(text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def identity_of(config: Mapping[str, Any], contents: Mapping[str, str]) -> dict[str, Any]:
    """The part of a configuration that changes weights; a file to start from stands there by its content, or not at all."""
    by_content = {key: contents.get(key) for key in BY_CONTENT if config.get(key) is not None}
    known = {key: value for key, value in {**config, **by_content}.items() if key not in by_content or value is not None}
    return pruned(known)


def pruned(node: Any, above: str = "") -> Any:
    """What of a node changes weights; above: the key that it stands at, with a dot."""
    if not isinstance(node, Mapping):
        return node
    inner = {str(key): pruned(value, f"{above}{key}.") for key, value in node.items() if f"{above}{key}" not in NOT_IDENTITY}
    return {key: value for key, value in inner.items() if value != {}}  # a node without values is none


def _flat(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", canonical(value, f"{above}{key}")


def identity_values(config: Mapping[str, Any], contents: Mapping[str, str]) -> dict[str, str]:
    """All that changes the weights: dotted key -> canonical text."""
    return dict(_flat(identity_of(config, contents)))


def differences(before: Identity, asked: Identity) -> tuple[list[str], list[str]]:
    """What sets two runs apart, and what only their versions do: keys that one of them lacks and nobody gave."""
    apart: list[str] = []
    by_version: list[str] = []
    given = {key for key in {*before.given, *asked.given} if before.given.get(key) != asked.given.get(key)}
    for key in sorted({*before.values, *asked.values}):
        there, now = before.values.get(key), asked.values.get(key)
        if there == now:
            continue
        line = f"{key}: {'absent' if there is None else there} there, {'absent' if now is None else now} asked"
        lacks = before.values if there is None else asked.values
        same = None in (there, now) and not _above(key) & given and not _meets(key, lacks)
        (by_version if same else apart).append(line)
    return apart, by_version


def _above(key: str) -> set[str]:
    """The key and the nodes that it lies in."""
    parts = key.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts) + 1)}


def _meets(key: str, values: Mapping[str, str]) -> bool:
    """Whether a value stands where `key` has a node, or values below where it has one: of `adversarial: null` and a node."""
    return bool(_above(key) & values.keys()) or any(other.startswith(f"{key}.") for other in values)
