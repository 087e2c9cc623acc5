"""The words of a command that Hydra composes: overrides, and the options that stand anywhere between them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from codec.runs.identity import NAMES
from codec.types import UserError

NUMBER = re.compile(r"[-+]?[\d._]+([eE][-+]?\d+)?")
SWEEP, SHOW, LIST = ("-m", "--multirun"), ("--cfg", "-c"), "--dry-run"
MEANT = {"eval": "run"}  # the key of a word that stands alone


@dataclass
class Words:
    """What was asked: overrides as Hydra reads them, whether they are swept, whether the configuration is to be shown.

    options: a folder with options of one's own, laid out as conf/, or None. lists: whether its runs are to be listed alone.
    """

    overrides: list[str] = field(default_factory=list)
    options: Path | None = None
    sweeps: bool = False
    shows: bool = False
    lists: bool = False


def parse_words(command: str, words: Sequence[str]) -> Words:
    """The parts of a command's line, wherever they stand in it.

    Raises UserError for an option that there is not, and for what is no override.
    """
    asked, rest = Words(), _not_restated(words)
    while rest:
        word = rest.pop(0)
        option, joined, value = word.partition("=")
        if _is_flag(asked, command, word):
            continue
        if option in SHOW:
            what = value if joined else (rest.pop(0) if rest else "")
            if what != "job":
                raise UserError(f"{option} {what}; expected {option} job, the configuration of the command; say that")
            asked.shows = True
        elif option in ("--config-dir", "-cd"):
            asked.options = _folder(value if joined else (rest.pop(0) if rest else ""))
        elif word.startswith("-"):
            raise UserError(f"no option {word}; expected key=value, -m, --cfg job or --config-dir FOLDER; see --help")
        else:
            asked.overrides.append(readable(command, word))
    if not asked.sweeps:
        for override in parsed(asked.overrides):
            _check_single(override)
    return asked


def _is_flag(asked: Words, command: str, word: str) -> bool:
    """Whether the word is an option without a value, which is noted."""
    if word in SWEEP:
        asked.sweeps = True
    elif word == LIST and command == "train":
        asked.lists = True
    else:
        return word == "--resolve"  # what is shown is resolved
    return True


def _not_restated(words: Sequence[str]) -> list[str]:
    """The words without those by which an agent of W&B that goes on with a run says its whole configuration again.

    These stand behind what was asked, as Python prints them: nodes as dictionaries, among them `_wandb` of W&B's own, which
    some versions say as `--_wandb`. What was swept is there by its own key, which has a dot or is that of a single value.
    """
    given = [(*word.partition("=")[::2], word) for word in words]
    if not any(value.startswith("{'") and "." not in key for key, value, _ in given):
        return list(words)
    kept: dict[str, str] = {}
    for key, value, word in given:
        if "." in key or not (value.startswith("{") or value == "None"):
            kept.setdefault(key, word)  # the first: what is said again has the same value
    return list(kept.values())


def _folder(name: str) -> Path:
    path = Path(name).expanduser().resolve()
    if not name or not path.is_dir():
        raise UserError(f"--config-dir {name}: no folder there; expected one with groups as in conf/; check the path")
    conf = Path(str(files("conf")))
    for option in sorted(conf.rglob("*.yaml")):  # ours are few, while their folder may hold anything
        if (own := path / option.relative_to(conf)).is_file():
            raise UserError(f"{own} has the name of an option of conf/, which Hydra takes in its place; rename yours")
    return path


def parsed(overrides: Sequence[str]) -> list[Override]:
    """The overrides by Hydra's own grammar."""
    return OverridesParser.create().parse_overrides(list(overrides))


def readable(command: str, word: str) -> str:
    """The word, with quotes around a value that Hydra's grammar cannot read: a path may hold any character.

    A home folder is written out, as shells do at the beginning of a word. Raises UserError for what is no override.
    """
    key, equals, value = word.partition("=")
    if key == "hydra.searchpath":
        raise UserError(f"{word}; expected a folder of options of your own as --config-dir FOLDER; say that")
    if value.startswith("~/"):
        word = f"{key}={Path(value).expanduser()}"
    elif key.lstrip("+") in NAMES and any(map(_reads_as_number, value.split(","))):
        word = f"{key}={','.join(repr(part) if _reads_as_number(part) else part for part in value.split(','))}"
    try:
        parsed([word])
    except OverrideParseException:
        key, equals, value = word.partition("=")
        if not equals or not key.strip("+~"):
            say = f"say {MEANT[command]}={word}" if command in MEANT else "see --help"
            raise UserError(f"{word} is no override; expected key=value; {say}") from None
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        quoted = f"{key}='{escaped}'"
        try:
            parsed([quoted])
        except OverrideParseException as error:
            raise UserError(f"{word} cannot be read ({error}); expected key=value; put quotes around the value") from None
        return quoted
    return word


def _reads_as_number(text: str) -> bool:
    """Whether Hydra makes a number of a text that looks like one; 007 and 1.10 are names that no number gives back."""
    if not NUMBER.fullmatch(text):
        return False
    return isinstance(parsed([f"key={text}"])[0].value(), (int, float))


def _check_single(override: Override) -> None:
    """Raise UserError for several values where there is one run."""
    if override.is_sweep_override():
        given = override.input_line
        key, _, value = (given or "").partition("=")
        raise UserError(
            f"{given} reads as several values; expected one; say -m for a run each, or '{key}=\"{value}\"' for a comma"
        )
