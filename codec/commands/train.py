"""`codec train`: compose, train, export, code the test set for real, report."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from codec.config.build import build_loggers, build_training, log_finished, log_what_was_measured
from codec.config.command_line import Words
from codec.config.compose import composed, plain
from codec.config.identity import identity, run_path
from codec.config.measurement import is_measured_as_asked, load_asked, load_test_set
from codec.report.of_run import finish_run, show_run
from codec.report.to_loggers import measured_on
from codec.runs.claim import noting_failure
from codec.runs.folder import RunFolder
from codec.runs.identity import Identity
from codec.runs.lock import HeldError
from codec.runs.point import HELD, is_point
from codec.runs.ranks import ending_together
from codec.runs.slurm import check_tasks, join_step
from codec.runs.tracking import held, is_first_rank
from codec.runs.wandb_run import outside_sweep
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
    with outside_sweep():  # a run of W&B is one training
        _run(stage, choices)
    return path


def _run(cfg: DictConfig, choices: Mapping[str, Any]) -> None:
    """One run: train, export, measure, report; what is done already is not done again."""
    config = plain(cfg)
    check_settings(config)
    config["logger"] = plain(cfg, resolve=False)["logger"]  # a secret of the environment reaches neither disk nor a logger
    who = identity(cfg, choices)
    folder = RunFolder(run_path(cfg, who))
    with noting_failure(folder.path) if is_first_rank() else nullcontext():
        _train(cfg, config, who, folder)


def _train(cfg: DictConfig, config: Mapping[str, Any], who: Identity, folder: RunFolder) -> None:
    check_tasks(cfg.trainer.devices, cfg.trainer.num_nodes)
    test_set = load_test_set(cfg.test)
    told = folder.check(who)
    if folder.finished and is_measured_as_asked(folder, cfg, test_set):
        if is_first_rank():
            print(told or f"{folder.path} is finished: nothing to train")
            log_finished(cfg, folder, config, test_set.name, lambda: measured_on(folder, test_set, cfg.steps))
            show_run(folder, test_set.name, cfg.test.baselines)
        return
    if folder.bundle.exists() and not is_first_rank():
        return  # the first rank measures
    measurement = load_asked(cfg, test_set)  # missing pictures and files are found now, not after the training
    if cfg.first_stage is not None and cfg.init_from is None and not folder.bundle.exists():
        cfg.init_from = str(_first_stage(cfg))
    training = None if folder.bundle.exists() else build_training(cfg, config, folder)
    if not is_first_rank():
        if training is not None:
            training.fit()
        return
    loggers = build_loggers(cfg, folder, config) if training is None else training.trainer.loggers
    with folder.claim(config, who) as claim, held(loggers):
        if claim.told:
            print(claim.told)
        if training is not None:
            training.run(claim)
        claim.finish(finish_run(folder, measurement))
        log_what_was_measured(cfg, folder, loggers, test_set.name, lambda: measured_on(folder, test_set, cfg.steps))
    print(f"codec    {folder.bundle}\nlog      {folder.metrics_file}")


@contextmanager
def _started_as(command: str) -> Iterator[None]:
    """sys.argv as the user gave it, which is how Lightning starts further ranks; Hydra wants it without the command."""
    sys.argv.insert(1, command)
    try:
        yield
    finally:
        del sys.argv[1]


_failures: list[Exception] = []


@hydra.main(config_path="pkg://conf", config_name="train", version_base="1.3")
def _main(cfg: DictConfig) -> None:
    with _started_as("train"):
        try:
            _run(cfg, HydraConfig.get().runtime.choices)
        except Exception as error:  # Hydra would add a line of its own
            _failures.append(UserError.behind(error) or error)


def run(asked: Words) -> int:
    """The command, its words read and composed once already."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # an exception comes through, and codec.cli says it in one line
    _failures.clear()
    options = [] if asked.options is None else [f"--config-dir={asked.options}"]  # to Hydra, and to further ranks
    before, sys.argv = sys.argv, [sys.argv[0], *options, *asked.overrides]
    try:
        join_step()
        with ending_together():
            _main()
            if _failures:
                raise _failures[0]
    except HeldError as error:
        if not is_point():
            raise
        print(f"waits: {str(error).partition(';')[0]}", flush=True)
        return HELD
    finally:
        sys.argv = before
    return 0
