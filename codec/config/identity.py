"""What a composed configuration is called: the folder of its run, by the values that set it apart from its experiment."""

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from codec.config.compose import plain
from codec.runs.folder import RunFolder
from codec.runs.identity import Identity, content_of
from codec.runs.naming import Composed, chosen_groups, identify

NOT_GIVEN = "not given"


def runs_folder() -> Path:
    """Where runs lie, each below the folder of its experiment."""
    return Path(os.environ.get("CODEC_RUNS", "runs"))


def identity(cfg: DictConfig, choices: Mapping[str, Any]) -> Identity:
    """What `cfg` was asked for: its name, and all that changes its weights.

    choices: the option of each group of its composition.
    """
    experiment = [f"experiment={choices['experiment']}"] if choices.get("experiment") else []

    def choices_with(groups: Mapping[str, Any]) -> Mapping[str, Any]:
        base = compose("train", [*experiment, *map(_override, groups.items())], return_hydra_config=True)
        return base.hydra.runtime.choices

    chosen = chosen_groups(choices, choices_with)
    with _no_environment():  # what it gives has a name, too
        default = compose("train", [*experiment, *map(_override, chosen.items())])
        for key in OmegaConf.missing_keys(default):  # what must be given has no default that it could be
            OmegaConf.update(default, key, NOT_GIVEN)
        base = _composed(default)

    def resolve(key: str, text: Any) -> Any:
        changed = copy.deepcopy(cfg)
        OmegaConf.update(changed, key, text, merge=False, force_add=True)
        value = OmegaConf.select(changed, key)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value

    return identify(_composed(cfg), base, chosen, resolve, _contents(cfg))


def run_path(cfg: DictConfig, identity: Identity) -> Path:
    """Where the run lies: where it was asked to, or below $CODEC_RUNS under its experiment and its name."""
    return Path(cfg.run_dir) if cfg.run_dir else runs_folder() / cfg.experiment_name / identity.name


def _composed(cfg: DictConfig) -> Composed:
    return Composed(plain(cfg), plain(cfg, resolve=False))


def _override(chosen: tuple[str, Any]) -> str:
    group, choice = chosen
    if choice is None:
        return f"~{group}"
    options = [str(option) for option in choice] if isinstance(choice, list | tuple) else str(choice)
    return f"{group}={options}"


def _contents(cfg: DictConfig) -> dict[str, str]:
    """A word for what is in the bundle that the run starts from, where it is there."""
    if cfg.init_from is None:
        return {}
    source = Path(cfg.init_from)
    bundle = RunFolder(source).bundle if source.is_dir() else source
    return {"init_from": content_of(bundle)} if bundle.is_file() else {}


@contextmanager
def _no_environment() -> Iterator[None]:
    kept = dict(os.environ)
    os.environ.clear()
    try:
        yield
    finally:
        os.environ.update(kept)
