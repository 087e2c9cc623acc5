"""The name of a run: what is otherwise in it than in its experiment, by value, so that asking again finds it."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from codec.runs.identity import Identity, canonical, identity_of, identity_values, pruned

MAX_NAME = 120
FIRST = ("model.lmbda", "target_bpp", "adversarial.beta", "optim.lr", "seed")  # whole where digits are not absurd
# Groups without a name of their own: the experiment is the folder above and has its sizes; the others change no weights, or
# by values that are named themselves (a debug run by its limits, and one with a profiler alone by nothing).
UNNAMED_GROUPS = ("experiment", "sizes", "logger", "test", "perceptual", "trainer", "callbacks", "debug", "hydra")
OVERLAYS = ("profile", "rate")  # they choose other groups
BETWEEN = "__"
KEY = re.compile(r"(?!_|.*__)[A-Za-z0-9._]+")
VALUE = re.compile(r"(?!_|.*__|.+-[0-9a-f]{8}$|absent$)[A-Za-z0-9._-]{1,40}(?<!_)")  # of no form that others are given
ABSENT = type("Absent", (), {})()

Resolve = Callable[[str, Any], Any]
"""The value that a text with interpolations has at a dotted key of the configuration that was asked for."""


class Composed(NamedTuple):
    """A configuration with its interpolations resolved, and as it was written; both plain."""

    values: Mapping[str, Any]
    raw: Mapping[str, Any]


def chosen_groups(choices: Mapping[str, Any], choices_with: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> dict[str, Any]:
    """The fewest groups that explain the choices of a composition, group -> choice, None where a group was taken out.

    choices_with: the choices of the experiment with such groups. One that only came with another, as an optimizer with a
    profile, is not among them.
    """
    chosen: dict[str, Any] = {}
    while True:
        default = choices_with(chosen)
        other = {group for group in {*choices, *default} - chosen.keys() if choices.get(group) != default.get(group)}
        named = [group for group in other if re.split("[/@]", group)[0] not in UNNAMED_GROUPS or group.endswith("@data.val")]
        if not named:
            return chosen
        group = min(named, key=lambda group: (group not in OVERLAYS, group))  # data before data/regions
        chosen[group] = choices.get(group)


def identify(
    asked: Composed, base: Composed, chosen: Mapping[str, Any], resolve: Resolve, contents: Mapping[str, str]
) -> Identity:
    """What a run was asked for, and the name that follows from it.

    base: the experiment with the groups in `chosen` and nothing else that was asked, composed as if no environment
    variable were set: what these give has a name, too. chosen: see `chosen_groups`.
    resolve: called where a value was given in place of an interpolation of the base.
    contents: for keys in BY_CONTENT that name a file, a word for what is in it.
    """
    wanted, default = identity_of(asked.values, contents), identity_of(base.values, {})
    values = dict(_given("", wanted, asked.raw, default, base.raw, resolve))
    first = {key: values.pop(key) for key in FIRST if key in values}
    groups = {_node(group): canonical(choice) for group, choice in sorted(chosen.items())}
    given = first | groups | dict(sorted(values.items()))
    return Identity(
        _fit([_part(key, text) for key, text in given.items()]), identity_values(asked.values, contents), given, contents
    )


def _node(group: str) -> str:
    """The node that a group fills: data.sources.photographs.regions for data/regions@data.sources.photographs.regions."""
    name, _, package = group.partition("@")
    return name.replace("/", ".") if package.startswith("_") or not package else package


def _given(
    key: str, asked: Any, raw: Any, default: Any, default_raw: Any, resolve: Resolve
) -> Iterator[tuple[str, str | None]]:
    """The keys at and below a node whose value is another than by default, each with its text or None for none.

    What is computed from other values counts once, where those stand: with equal interpolations nothing is given. A
    value in place of an interpolation is held against what that would be.
    """
    if _computed(default_raw):
        if raw == default_raw:
            return
        default = default_raw = pruned(resolve(key, default_raw), f"{key}.")
    if isinstance(asked, Mapping):
        for name in sorted({*asked, *(default if isinstance(default, Mapping) else ())}):
            here, here_raw, there, there_raw = (_child(node, name) for node in (asked, raw, default, default_raw))
            yield from _given(f"{key}.{name}" if key else name, here, here_raw, there, there_raw, resolve)
    elif asked is ABSENT and default is not ABSENT:
        yield key, None
    elif default is ABSENT or canonical(asked, key) != canonical(default, key):
        yield key, canonical(asked, key)


def _computed(raw: Any) -> bool:
    """Whether a value is written as an interpolation of others; what the environment gives is not."""
    if isinstance(raw, (list, tuple)):
        return any(map(_computed, raw))
    return isinstance(raw, str) and "${" in raw and "${oc.env:" not in raw


def _child(node: Any, name: str) -> Any:
    return node.get(name, ABSENT) if isinstance(node, Mapping) else ABSENT


def _fit(parts: list[str]) -> str:
    """The parts, those that come first whole, and eight digits for all where some have no room."""
    name = BETWEEN.join(parts)
    if len(name) <= MAX_NAME:
        return name or "default"
    digits = _digits(name)
    room, kept = MAX_NAME - len(digits), []
    for part in parts:
        if len(part) + len(BETWEEN) <= room:
            kept.append(part)
            room -= len(part) + len(BETWEEN)
    return BETWEEN.join([*kept, digits])


def _part(key: str, text: str | None) -> str:
    """`key-value`, which can be read in one way only; what would not fit or could be read otherwise ends in eight digits."""
    if text is None:
        text = shown = "absent"
    elif VALUE.fullmatch(text):
        shown = text
    else:
        shown = f"{_readable(text)}-{_digits(text)}"
    return f"{key}-{shown}" if KEY.fullmatch(key) else f"{_readable(key)}-{_readable(text)}-{_digits(f'{key}={text}')}"


def _readable(text: str) -> str:
    """What a folder's name can hold of a text: of a path the last name, of letters with accents the letters."""
    plain = unicodedata.normalize("NFKD", text.rsplit("/", 1)[-1]).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.")[:24] or "value"


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
