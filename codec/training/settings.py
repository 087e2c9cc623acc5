"""What the numbers of a training must be, told in one line before anything heavy begins."""

import math
from collections.abc import Mapping
from typing import Any

from codec.types import UserError

COUNTS = ("steps", "val_every", "log_every", "save_every", "data.batch_size", "trainer.accumulate_grad_batches")
RATES = ("model.lmbda", "optim.lr", "optim.quantiles_lr")
WORDS = {
    "init": ("auto", "pca", "random"),
    "precision": ("auto", "32-true", "bf16-mixed", "64-true"),  # fp16 has no place in entropy models
    "compile": ("auto", True, False),
    "retry": (True, False),
}
PATHS = ("data.root", "test.root", "run_dir", "init_from")
OURS = {  # of Lightning's trainer, and what sets it here
    "max_steps": "steps",
    "max_epochs": "steps",
    "min_epochs": "steps",
    "min_steps": "steps",
    "max_time": "steps",
    "precision": "precision",
    "gradient_clip_val": "optim.clip_norm",
    "gradient_clip_algorithm": "optim.clip_norm",
    "log_every_n_steps": "log_every",
    "val_check_interval": "val_every",
    "check_val_every_n_epoch": "val_every",
    "logger": "logger",
    "callbacks": "callbacks",
    "default_root_dir": "run_dir",
    "overfit_batches": "data.overfit_batches",
    "fast_dev_run": "debug=one_batch",
    "enable_checkpointing": "save_every",
    "enable_progress_bar": "callbacks",
    "use_distributed_sampler": "no such setting: batches are sharded already",
    "num_sanity_val_steps": "no such setting: validation draws from the same randomness as training",
}


def value_at(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of nested plain values; None where there is none."""
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def check_settings(config: Mapping[str, Any]) -> None:
    """Raise UserError for numbers, words and paths of a resolved training configuration that cannot be meant."""
    _check_numbers(config)
    for key, words in WORDS.items():
        if config[key] not in words:
            expected = ", ".join(str(word).lower() for word in words)
            raise UserError(f"{key}={config[key]}; expected one of {expected}; set {key}")
    for key in PATHS:
        if not isinstance(value := value_at(config, key), str | None):
            raise UserError(f"{key}={value} is no path; expected one; put quotes inside quotes: '{key}=\"{value}\"'")
    for key in config["trainer"].keys() & OURS.keys():
        raise UserError(f"trainer.{key} is not set there; expected {OURS[key]}; set that")
    _check_for_loss(config)


def _check_numbers(config: Mapping[str, Any]) -> None:
    for key in COUNTS:
        if type(value := value_at(config, key)) is not int or value < 1:
            raise UserError(f"{key}={value}; expected a whole number, at least 1; set {key}")
    for key in RATES:
        if type(value := value_at(config, key)) not in (int, float) or not 0 < value < math.inf:
            raise UserError(f"{key}={value}; expected a number above 0; set {key}")
    if type(config["seed"]) is not int or config["seed"] < 0:
        raise UserError(f"seed={config['seed']}; expected a whole number, at least 0; set seed")
    ema = config["ema"]
    if ema is not None and not (isinstance(ema, float) and 0 < ema < 1):
        raise UserError(f"ema={ema}; expected null, or a number between 0 and 1 such as 0.999; set ema")
    parts, epoch = value_at(config, "trainer.accumulate_grad_batches"), value_at(config, "trainer.limit_train_batches")
    if isinstance(epoch, int) and epoch % parts:
        raise UserError(
            f"trainer.limit_train_batches={epoch} with accumulate_grad_batches={parts}; expected whole steps; set a multiple"
        )


def _check_for_loss(config: Mapping[str, Any]) -> None:
    """Raise UserError for crops that are too small for the loss, and for a lambda far from those that were published for it.

    A loss of one's own has no ladder.
    """
    least, crop = config.get("least_crop"), value_at(config, "data.crop")
    if least and crop < least:
        raise UserError(f"data.crop={crop} with this loss; expected at least {least}; set data.crop=256, or loss=mse")
    ladder = config.get("ladder")
    if not ladder:
        return
    for key in ("model.lmbda", "levels.lowest", "levels.highest"):
        lmbda = value_at(config, key)
        if isinstance(lmbda, float | int) and not min(ladder) / 10 <= lmbda <= max(ladder) * 10:
            raise UserError(
                f"{key}={lmbda}; the published lambdas of this loss are {list(ladder)}; set {key} near them, or another loss"
            )
