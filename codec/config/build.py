"""The parts of a training, built as its configuration says."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.config.networks import build_codec, build_discriminator
from codec.config.nodes import instantiate
from codec.losses.base import Loss
from codec.models import Codec
from codec.models.linear_start import start_as_transform_codec
from codec.modules.adversarial import AdversarialModule
from codec.modules.base import CodecModule
from codec.modules.rate_distortion import RateDistortionModule
from codec.runs.folder import RunFolder
from codec.runs.measured import Measured
from codec.runs.tracking import MetricsCsv, answer_agent, has_failed, held, log_again, log_measured, wants_all
from codec.training.fit import Training
from codec.training.precision import choose_precision
from codec.training.start import choose_init, find_start, start_from, start_levels
from codec.types import UserError
from data.module import ImageDataModule

START_CROPS = 128  # pictures from which init=pca takes its components
COMPILE_PAYS = 5000  # steps: compiling costs a minute or two and then saves about a third of a step


def build_data(cfg: DictConfig) -> ImageDataModule:
    """The pictures of training and validation.

    With manual optimisation Lightning accumulates nothing: there its batch has all parts of a step, which the module takes.
    """
    parts = 1 if cfg.adversarial is None else cfg.trainer.accumulate_grad_batches
    return instantiate(cfg.data, batch_size=cfg.data.batch_size * parts)


def build_module(cfg: DictConfig, data: ImageDataModule, folder: RunFolder) -> CodecModule:
    """The module, with a codec that has its starting weights; those of a run that resumes come from its checkpoint."""
    torch.manual_seed(cfg.seed)
    codec = build_codec(cfg)
    loss, schedule = _build_loss(cfg), instantiate(cfg.schedule)
    if not folder.last_checkpoint.exists():
        _start(cfg, codec, loss, data, folder)
    codec = codec.to(memory_format=torch.channels_last)
    if cfg.compile is True or (cfg.compile == "auto" and cfg.steps >= COMPILE_PAYS):
        for transform in codec.transforms():
            transform.compile()
    optim = {**cfg.optim, "optimizer": instantiate(cfg.optim.optimizer)}
    discriminator = build_discriminator(cfg)
    if discriminator is None:
        return RateDistortionModule(codec, loss, schedule, seed=cfg.seed, **optim)
    return AdversarialModule(
        codec, discriminator.to(memory_format=torch.channels_last), loss, schedule, beta=cfg.adversarial.beta,
        discriminator_lr=cfg.adversarial.discriminator_lr, accumulate=cfg.trainer.accumulate_grad_batches, seed=cfg.seed,
        **optim,
    )  # fmt: skip


def _build_loss(cfg: DictConfig) -> Loss:
    loss: Loss = instantiate(cfg.loss)
    if cfg.target_bpp is not None and not loss.steers:
        raise UserError(
            f"target_bpp={cfg.target_bpp} with a {type(loss).__name__}, which steers to no rate; expected a loss that does; "
            "set loss=mse, or no target_bpp"
        )
    return loss


def _start(cfg: DictConfig, codec: Codec, loss: Loss, data: ImageDataModule, folder: RunFolder) -> None:
    """Give the codec the weights that it begins with."""
    start_levels(codec, loss, cfg.model.lmbda)
    if cfg.init_from is not None:
        print(start_from(codec, find_start(Path(cfg.init_from), folder, cfg.target_bpp), loss))
    elif choose_init(cfg.init, codec, loss) == "pca":
        start_as_transform_codec(codec, data.sample_crops(START_CROPS), cfg.model.lmbda)


def build_loggers(cfg: DictConfig, folder: RunFolder, config: Mapping[str, Any]) -> list[Logger]:
    """metrics.csv, and what conf/logger chose beside it; on all ranks, of which only the first writes.

    config: the resolved configuration, as plain values.
    """
    return [MetricsCsv(folder.metrics_file), *(_logger(choice, folder, config) for choice in cfg.logger.values())]


def _logger(choice: DictConfig, folder: RunFolder, config: Mapping[str, Any]) -> Logger:
    logger = instantiate(choice)
    return logger(folder, config) if isinstance(logger, partial) else logger


def log_finished(
    cfg: DictConfig, folder: RunFolder, config: Mapping[str, Any], dataset: str, measured: Callable[[], Measured]
) -> None:
    """Give what a finished run left to the loggers of conf/logger that do not have it: its log, and what was measured.

    folder: of the run. config: as of build_loggers. dataset: name of the set of cfg.test. measured: computes what was measured
    on it.
    """
    loggers = build_loggers(cfg, folder, config)
    with held(loggers):
        logged = folder.facts().get("logged_to", [])
        for name, logger in zip(cfg.logger, loggers[1:], strict=True):
            if wants_all(logger) or name not in logged:
                log_again(folder.metrics_file, logger)
                if has_failed(logger):
                    continue
                logged = list(dict.fromkeys((*logged, name)))
                folder.update_facts(logged_to=logged)
                print(f"logged   {folder.metrics_file} to {name}")
        log_what_was_measured(cfg, folder, loggers, dataset, measured)
        answer_agent(loggers)


def log_what_was_measured(
    cfg: DictConfig, folder: RunFolder, loggers: Sequence[Logger], dataset: str, measured: Callable[[], Measured]
) -> None:
    """Give what was measured on a set to those of the loggers in cfg.logger that do not have it.

    loggers: of build_loggers. folder, dataset, measured: as of log_finished.
    """
    given: dict[str, list[str]] = folder.facts().get("measured_to", {})
    what: Measured | None = None
    for name, logger in zip(cfg.logger, loggers[1:], strict=True):
        had = [] if wants_all(logger) else given.get(name, [])
        if dataset in had:
            continue
        what = what or measured()
        log_measured(logger, what.without("codec") if had else what)
        if not has_failed(logger):
            given = given | {name: [*had, dataset]}
            folder.update_facts(measured_to=given)


def build_trainer(cfg: DictConfig, folder: RunFolder, loggers: list[Logger]) -> lightning.Trainer:
    """Lightning's trainer; what it has against the settings is the user's to mend."""
    parts = 1 if cfg.adversarial is not None else cfg.trainer.accumulate_grad_batches  # see build_data
    instead: dict[str, Any] = {"accumulate_grad_batches": parts}
    if cfg.trainer.strategy == "auto" and cfg.trainer.devices not in (1, "1"):
        # Its buffers are constants, and ranks with unlike numbers of validation pictures would wait for each other.
        instead["strategy"] = DDPStrategy(broadcast_buffers=False)
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.ema, use_buffers=False))
    callbacks.append(SaveCheckpoints(folder.checkpoints, cfg.save_every))  # the last: what the others do in a step is saved
    try:
        return instantiate(cfg.trainer, _partial_=True)(
            **instead,
            precision=choose_precision(cfg.precision, cfg.trainer.accelerator),
            max_steps=cfg.steps,
            max_epochs=-1,
            log_every_n_steps=cfg.log_every,
            val_check_interval=cfg.val_every * parts,  # Lightning counts micro-batches
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the batch sampler shards by rank itself
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            logger=loggers,
            callbacks=callbacks,
            default_root_dir=folder.path,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        given = " ".join(f"trainer.{key}={cfg.trainer[key]}" for key in ("accelerator", "devices", "num_nodes"))
        raise UserError(f"{given}: {error}; expected what Lightning takes, on devices that this machine has") from error


def build_training(cfg: DictConfig, config: Mapping[str, Any], folder: RunFolder) -> Training:
    """All parts of the training of `cfg`; config: the same, resolved, as plain values.

    Raises UserError for parts that do not fit, before the folder is there.
    """
    data = build_data(cfg)
    module = build_module(cfg, data, folder)
    return Training(build_trainer(cfg, folder, build_loggers(cfg, folder, config)), module, data, folder, config)
