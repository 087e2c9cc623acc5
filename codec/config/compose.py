"""A command's configuration from its words, checked before anything heavy is imported."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from codec.config.command_line import Words, parse_words, parsed
from codec.config.keys import check_keys, check_moved
from codec.config.resolvers import register
from codec.runs.identity import NAMES
from codec.types import UserError

# Options that want a package, which the extra of their name installs.
EXTRAS = {
    ("hydra/launcher", "slurm"): "hydra_plugins.hydra_submitit_launcher",
    ("hydra/sweeper", "search"): "hydra_plugins.hydra_optuna_sweeper",
}


class _OwnOptions(SearchPathPlugin):
    """Where Hydra looks for options after conf/, while `configurations` says so."""

    folder: Path | None = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.folder is not None:
            search_path.append("command-line", f"file://{self.folder}")


@contextmanager
def configurations(options: Path | None = None) -> Iterator[None]:
    """Within it `compose` finds conf/, and options of one's own in a folder that is laid out as it."""
    register()
    if GlobalHydra.instance().is_initialized():  # in a job of hydra.main
        yield
        return
    Plugins.instance().register(_OwnOptions)
    _OwnOptions.folder = options
    try:
        with initialize_config_module("conf", version_base="1.3"):
            yield
    finally:
        _OwnOptions.folder = None


def points(words: Words) -> list[list[str]]:
    """The overrides of each point of a sweep, in Hydra's order; those of the one run without -m.

    Another sweeper than Hydra's own chooses its points as it goes: then it is what all of them share.
    """
    if not words.sweeps:
        return [words.overrides]
    if any(override.key_or_group == "hydra/sweeper" for override in parsed(words.overrides)):
        return [[o.input_line or "" for o in parsed(words.overrides) if not o.is_sweep_override()]]
    batches = BasicSweeper.split_arguments(parsed(words.overrides), max_batch_size=None)
    return [list(point) for batch in batches for point in batch]


def composed(command: str, overrides: Sequence[str]) -> tuple[DictConfig, Mapping[str, Any]]:
    """The configuration of one point and the option of each group; keys and choices checked.

    Raises UserError, in one line, for a key or a choice that there is not.
    """
    if command == "bench":
        overrides = _of_experiment(overrides)
    given = parsed(overrides)
    groups = _groups(GlobalHydra.instance().config_loader())
    of_groups = [override for override in given if _is_group(override, groups)]
    check_moved(command, of_groups)
    for override in of_groups:
        _check_choice(override)
    chosen = [override.input_line or "" for override in of_groups]
    try:
        check_keys(command, given, plain(compose(command, chosen), resolve=False), groups)
        cfg = compose(command, list(overrides), return_hydra_config=True)
    except yaml.YAMLError as error:  # of an option of the user's own
        raise UserError(f"{' '.join(str(error).split())}; expected YAML; mend that file") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{' '.join(str(error).split())}; see the keys with: codec {command} --cfg job") from None
    choices = dict(cfg.hydra.runtime.choices)
    if command == "train":
        _check_profile(choices)
    with open_dict(cfg):
        del cfg["hydra"]
        for key in NAMES:
            if isinstance(value := OmegaConf.select(cfg, key), (int, float)):
                OmegaConf.update(cfg, key, str(value))
    return cfg, choices


def _check_profile(choices: Mapping[str, Any]) -> None:
    """Raise UserError for a profile of an experiment without sizes for it: it would get the paper's in silence."""
    profile, experiment = choices.get("profile"), choices.get("experiment")
    sized = GlobalHydra.instance().config_loader().get_group_options("sizes/tiny")
    if profile is not None and experiment not in sized:
        raise UserError(f"profile={profile} of {experiment or 'the default run'}, which has one size; leave profile out")


def each_point(command: str, asked: Words) -> Iterator[DictConfig]:
    """The configuration of each point, or of the one, while Hydra knows conf/."""
    with configurations(asked.options):
        for overrides in points(asked):
            yield composed(command, overrides)[0]


def _of_experiment(overrides: Sequence[str]) -> list[str]:
    """What `codec bench` measures of an experiment: its model, at the experiment's and profile's size."""
    asked = [word for word in overrides if word.partition("=")[0] in ("experiment", "profile")]
    if not asked:
        return list(overrides)
    cfg, choices = composed("train", asked)
    model = [f"model.{key}={value}" for key, value in cfg.model.items() if key != "name"]
    return [f"model={choices['model']}", *model, *(word for word in overrides if word not in asked)]


def prepared(command: str, words: Sequence[str], check: Callable[[Mapping[str, Any]], None] | None = None) -> Words:
    """The words of a command, once all that they ask for composes and passes `check`; shown, where that was asked for.

    Raises UserError for the first mistake.
    """
    asked = parse_words(command, words)
    with configurations(asked.options):
        for number, overrides in enumerate(points(asked)):
            config = plain(composed(command, overrides)[0])
            if asked.shows:
                print(("---\n" if number else "") + yaml.safe_dump(config, sort_keys=False, allow_unicode=True), end="")
            elif check is not None:
                check(config)
    return asked


def plain(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """The configuration as plain values.

    Raises UserError where an interpolation leads nowhere, or a value is missing that must be given.
    """
    try:
        return OmegaConf.to_container(cfg, resolve=resolve, throw_on_missing=resolve)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        reason = str(error).splitlines()[0]
        raise UserError(f"{key}: {reason}; expected a value; set {key}" if key else reason) from None


def options_of(group: str) -> list[str]:
    """The names of the options of a group of conf/, while Hydra knows conf/."""
    return GlobalHydra.instance().config_loader().get_group_options(group)


@lru_cache(maxsize=1)
def _groups(loader: ConfigLoader) -> list[str]:
    """The names of all groups of conf/, such as model and data/regions."""
    found, places = [], [""]
    while places:
        place = places.pop()
        below = [f"{place}/{name}" if place else name for name in loader.list_groups(place)]
        found += below
        places += below
    return found


def _is_group(override: Override, groups: Sequence[str]) -> bool:
    return override.key_or_group.partition("@")[0] in groups


def _check_choice(override: Override) -> None:
    """Raise UserError for an option that its group does not have."""
    group = override.key_or_group.partition("@")[0]
    options = options_of(group)
    asked = override.value()
    for option in asked if isinstance(asked, list) else [asked]:
        package = EXTRAS.get((group, str(option)))
        if package is not None and find_spec(package) is None:
            raise UserError(f"{group}={option} without its packages; expected them; say pip install 'codec[{option}]'")
        if option is not None and str(option) not in options:
            near = next(iter(difflib.get_close_matches(str(option), options, n=1)), None)
            did = f"did you mean {near}? " if near else ""
            raise UserError(f"{group}={option}; {did}expected one of {', '.join(options)}; set {group}")
