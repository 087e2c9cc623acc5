"""`codec train`: compose, train, export, code the test set for real, report; with -m, one run a point and one plot."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from codec.config.build import build_training, log_finished
from codec.config.command_line import Words
from codec.config.compose import composed, plain
from codec.config.identity import identity, run_path
from codec.config.measurement import load_asked, load_test_set
from codec.config.sweep import note_point
from codec.report.of_run import finish_run, is_measured, show_run
from codec.runs.folder import RunFolder
from codec.runs.slurm import check_tasks
from codec.runs.tracking import is_first_rank
from codec.training.settings import check_settings
from codec.types import UserError

OF_SECOND_STAGE = ("experiment", "first_stage", "adversarial", "steps", "init_from", "run_dir")  # keys that end there


def _first_stage(cfg: DictConfig) -> Path:
    """The directory of the run that cfg.first_stage asks for: finished before, or now."""
    words = ["experiment=" + cfg.first_stage.experiment]
    for override in HydraConfig.get().overrides.task:
        key = override.partition("=")[0].lstrip("+~")
        if key == "first_stage.steps":
            words.append(override.removeprefix("first_stage."))
        elif key != "data.batch_size" and key.split(".")[0] not in OF_SECOND_STAGE:
            words.append(override)
    stage, choices = composed("train", words)
    path = run_path(stage, identity(stage, choices))
    if cfg.trainer.devices not in (1, "1") and not RunFolder(path).finished:
        raise UserError(
            f"both stages with trainer.devices={cfg.trainer.devices}; each further rank would start the command again; "
            f"expected one device, or a finished run at {path}; start experiment={cfg.first_stage.experiment} first"
        )
    print(f"first stage: {path}")
    _run(stage, choices)
    return path


def _run(cfg: DictConfig, choices: Mapping[str, Any]) -> float | None:
    """One run: train, export, measure, report; what is done already is not done again. Its last validation loss."""
    config = plain(cfg)
    check_settings(config)
    who = identity(cfg, choices)
    folder = RunFolder(run_path(cfg, who))
    test_set = load_test_set(cfg.test)
    note_point(folder, test_set.name, list(cfg.test.baselines))
    told = folder.check(who)
    if folder.finished and is_measured(folder, test_set.name, cfg.test.baselines):
        if is_first_rank():
            print(told or f"{folder.path} is finished: nothing to train")
            log_finished(cfg, folder, config)
            show_run(folder, test_set.name, cfg.test.baselines)
        return folder.facts().get("val_loss")
    measurement = load_asked(cfg, test_set)  # missing pictures and files are found now, not after the training
    if cfg.first_stage is not None and cfg.init_from is None and not folder.bundle.exists():
        cfg.init_from = str(_first_stage(cfg))
    training = None if folder.bundle.exists() else build_training(cfg, config, folder)
    if not is_first_rank():
        if training is not None:
            training.fit()
        return None
    with folder.claim(config, who) as claim:
        if claim.told:
            print(claim.told)
        if training is not None:
            training.run(claim)
        claim.finish(finish_run(folder, measurement, cfg.target_bpp))
    print(f"codec    {folder.bundle}\nlog      {folder.metrics_file}")
    return folder.facts().get("val_loss")


@contextmanager
def _started_as(command: str) -> Iterator[None]:
    """sys.argv as the user gave it, which is how Lightning starts further ranks; Hydra wants it without the command."""
    sys.argv.insert(1, command)
    try:
        yield
    finally:
        del sys.argv[1]


_mistakes: list[UserError] = []


@hydra.main(config_path="pkg://conf", config_name="train", version_base="1.3")
def _main(cfg: DictConfig) -> float | None:
    with _started_as("train"):
        try:
            check_tasks(cfg.trainer.devices, cfg.trainer.num_nodes)
            return _run(cfg, HydraConfig.get().runtime.choices)
        except Exception as error:  # a user's mistake ends this point of a sweep, not the sweep
            mistake = UserError.behind(error)
            if mistake is None:
                raise
            _mistakes.append(mistake)
            return None


def run(asked: Words) -> int:
    """The command, its words read and composed once already."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # an exception comes through, and codec.cli says it in one line
    _mistakes.clear()
    options = ["-m"] if asked.sweeps else []
    options += [] if asked.options is None else [f"--config-dir={asked.options}"]  # to Hydra, and to further ranks
    before, sys.argv = sys.argv, [sys.argv[0], *options, *asked.overrides]
    try:
        _main()
    finally:
        sys.argv = before
    if len(_mistakes) > 1:
        raise UserError(f"{len(_mistakes)} points of the sweep failed: {' | '.join(sorted({str(m) for m in _mistakes}))}")
    if _mistakes:
        raise _mistakes[0]
    return 0
