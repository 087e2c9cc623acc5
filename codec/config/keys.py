"""Keys that a command has, and the ones that people type instead."""

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.utils import get_object

from codec.training.settings import OURS
from codec.types import UserError

# Keys that moved, and names that other tools have for what is here: the key that does it.
INSTEAD = {
    "train": {
        "logger.name": "logger",
        "logger.offline": "logger.wandb.offline",
        "logger.project": "logger.wandb.project",
        "optim.method": "optim, such as optim=adam",
        "warmup.steps": "first_stage.steps",
        "test.name": "test, such as test=kodak",
        "baselines": "test.baselines",
        "measures": "test.measures",
        "device": "test.device to measure, trainer=gpu to train",
        "data.root": "data=folder beside it, since the data that was chosen reads no files",
        "lmbda": "model.lmbda",
        "lambda": "model.lmbda",
        "lr": "optim.lr",
        "batch_size": "data.batch_size",
        "crop": "data.crop",
        "devices": "trainer.devices",
        "epochs": "steps",
        "resume": "the same command again, which resumes, or init_from, which takes weights alone",
        "ckpt_path": "the same command again, which resumes, or init_from, which takes weights alone",
        **{key: instead for key, instead in OURS.items() if key not in ("logger", "callbacks", "precision")},
        **{f"trainer.{key}": instead for key, instead in OURS.items()},
        **{
            key: f"trainer.{key}" for key in ("limit_train_batches", "limit_val_batches", "profiler", "accelerator", "strategy")
        },
    },
    "eval": {
        "data": "test, such as test=kodak or test=folder test.root=PHOTOS",
        "data.root": "test.root",
        "baselines": "test.baselines",
        "measures": "test.measures",
        "device": "test.device",
    },
}
OPEN = ("callbacks", "logger", "data.sources", "data.weights", "test.programs", "hydra")  # where names are the user's own


def dotted(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """All keys of a nested mapping, with dots, branches and leaves."""
    for key, value in config.items():
        yield above + str(key)
        if isinstance(value, Mapping):
            yield from dotted(value, f"{above}{key}.")


def check_moved(command: str, groups: Sequence[Override]) -> None:
    """Raise UserError for a group of another command, with what does it here: Hydra would offer that group's options."""
    for override in groups:
        key = override.key_or_group
        if key in INSTEAD.get(command, {}):
            raise UserError(f"{override.input_line}: codec {command} has no {key}; expected {INSTEAD[command][key]}; say that")


def check_keys(command: str, overrides: Sequence[Override], config: Mapping[str, Any], groups: Sequence[str]) -> None:
    """Raise UserError for the first key that the command does not have, with the nearest that it has.

    config: composed of the overrides of groups alone. groups: the names of all groups.
    """
    known = set(dotted(config))
    for override in overrides:
        key = override.key_or_group
        instead = INSTEAD.get(command, {}).get(key)
        if instead is not None and key not in known:
            raise UserError(f"{key} is not a key of codec {command}; expected {instead}; say that")
        if key in known or key.partition("@")[0] in groups or _is_open(key):
            continue
        if override.is_add() and _takes(config, key):
            continue
        _refuse(command, override, known, groups, config)


def _refuse(command: str, override: Override, known: set[str], groups: Sequence[str], config: Mapping[str, Any]) -> None:
    key = override.key_or_group
    if not override.is_add() and _takes(config, key):
        raise UserError(f"{key} is not in conf/; expected a plus before what only its class knows; say +{override.input_line}")
    near = _nearest(key, [*known, *groups])
    hint = f"did you mean {near}?" if near else f"see the keys with: codec {command} --cfg job"
    plus = "; + is for arguments of a class that conf/ names, such as +trainer.deterministic=true"
    raise UserError(f"codec {command} has no key {key}; {hint}{plus if override.is_add() else ''}")


def _nearest(key: str, known: Sequence[str]) -> str | None:
    """The known key that looks most like it: as a whole, or in its last part."""
    if found := difflib.get_close_matches(key, known, n=1, cutoff=0.75):
        return found[0]
    last = key.rpartition(".")[2]
    same = [other for other in known if other.rpartition(".")[2] == last]
    return min(same, key=len) if same else next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.5)), None)


def _is_open(key: str) -> bool:
    return any(key.startswith(f"{place}.") for place in OPEN)


def _takes(config: Mapping[str, Any], key: str) -> bool:
    """Whether the node above the key names a class or function that takes it as an argument."""
    above, _, argument = key.rpartition(".")
    node: Any = config
    for part in above.split(".") if above else []:
        node = node.get(part) if isinstance(node, Mapping) else None
    if not above or not isinstance(node, Mapping) or "_target_" not in node:
        return False
    parameters = inspect.signature(get_object(node["_target_"])).parameters
    return argument in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
