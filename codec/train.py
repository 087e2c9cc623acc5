"""`codec train`: compose, train, export, code the test set for real, report; with -m, one run a point and one plot."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import EMAWeightAveraging
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.callbacks.progress import ShowProgress
from codec.callbacks.reconstructions import SaveReconstructions
from codec.bundle import load_weights, save_bundle
from codec.models import build_model
from codec.models.linear_start import start_as_transform_codec
from codec.modules.rate_distortion import RateDistortionModule
from codec.runs import RunFolder, run_name
from codec.tracking import make_loggers
from codec.types import UserError

START_CROPS = 128  # pictures from which init=pca takes its components
COMPILE_PAYS = 5000  # steps: compiling costs a minute or two and then saves about a third of a step

console = Console()


def width_at(lmbda: float, ladder: Sequence[float], num_narrow: int, narrow: int, wide: int) -> int:
    """The paper's width for a rate point: `narrow` up to the ladder's num_narrow-th lambda, `wide` beyond."""
    return narrow if lmbda <= math.sqrt(ladder[num_narrow - 1] * ladder[num_narrow]) else wide


OmegaConf.register_new_resolver("width_at", width_at, replace=True)
OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def choose_precision(asked: str, accelerator: str) -> str:
    """`auto` as bf16-mixed where the hardware multiplies bf16, 32-true elsewhere; else what was asked.

    Raises UserError for a precision that training does not support: fp16 has no place in entropy models.
    """
    if asked not in ("auto", "32-true", "bf16-mixed"):
        raise UserError(f"precision={asked}; expected auto, 32-true or bf16-mixed; set precision")
    if accelerator != "cpu" and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if asked == "auto":
        return "bf16-mixed" if fast else "32-true"
    if asked == "bf16-mixed" and not fast:
        console.print("[yellow]precision=bf16-mixed on hardware that does not multiply bf16: expect it to be far slower")
    return asked


def _check(cfg: DictConfig) -> None:
    """Raise UserError for settings that cannot work together."""
    if cfg.init not in ("pca", "random"):
        raise UserError(f"init={cfg.init}; expected pca or random; set init")
    low, high = min(cfg.ladder) / 10, max(cfg.ladder) * 10
    if not low <= cfg.model.lmbda <= high:
        raise UserError(
            f"model.lmbda={cfg.model.lmbda}; the published lambdas of this loss are {list(cfg.ladder)}; "
            "set model.lmbda near them, or another loss"
        )
    if cfg.steps < 1:
        raise UserError(f"steps={cfg.steps}; expected at least 1; set steps")


def _build_module(cfg: DictConfig, data: lightning.LightningDataModule, resumes: bool) -> RateDistortionModule:
    """The module with a codec that has its starting weights."""
    arguments = {k: v for k, v in cfg.model.items() if k not in ("name", "lmbda")}
    torch.manual_seed(cfg.seed)
    codec = build_model(cfg.model.name, **arguments)
    if cfg.init_from is not None:
        load_weights(codec, Path(cfg.init_from))
        console.print(f"weights from {cfg.init_from}")
    elif cfg.init == "pca" and not resumes:
        start_as_transform_codec(codec, data.sample_crops(START_CROPS), cfg.model.lmbda)
    codec = codec.to(memory_format=torch.channels_last)
    if cfg.compile is True or (cfg.compile == "auto" and cfg.steps >= COMPILE_PAYS):
        codec.g_a.compile()
        codec.g_s.compile()
    return RateDistortionModule(
        codec, instantiate(cfg.loss), instantiate(cfg.schedule), seed=cfg.seed, **cfg.optim
    )


def train(cfg: DictConfig, folder: RunFolder) -> RateDistortionModule:
    """Fit the codec of `cfg`, from where the folder's last checkpoint left it."""
    data = instantiate(cfg.data)
    resumes = folder.last_checkpoint.exists()
    module = _build_module(cfg, data, resumes)
    callbacks: list[lightning.Callback] = [
        ShowProgress(data.batch_size),
        SaveReconstructions(folder.report / "reconstructions"),
        SaveCheckpoints(folder.checkpoints, cfg.save_every),
    ]
    if cfg.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=cfg.ema, use_buffers=False))
    trainer = lightning.Trainer(
        **cfg.trainer,
        precision=choose_precision(cfg.precision, cfg.trainer.accelerator),  # type: ignore[arg-type]
        max_steps=cfg.steps,
        max_epochs=-1,
        log_every_n_steps=cfg.log_every,
        val_check_interval=cfg.val_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the batch sampler shards by rank itself
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=make_loggers(cfg.logger, folder, OmegaConf.to_container(cfg)),  # type: ignore[arg-type]
        callbacks=callbacks,
        default_root_dir=folder.path,
    )
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    trainer.fit(module, data, ckpt_path=folder.last_checkpoint if resumes else None)
    return module


def _run(cfg: DictConfig) -> None:
    """One run: train, export, measure, report; what is done already is not done again."""
    _check(cfg)
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
    asked = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(asked, dict)
    del asked["run_dir"]
    cfg = OmegaConf.create(asked)  # without interpolations from here on
    if rank_zero_only.rank == 0:
        folder.claim(asked)
    module = train(cfg, folder)
    if rank_zero_only.rank == 0:
        save_bundle(folder.bundle, module.codec, {"config": asked, "steps": cfg.steps}, half=True)


class SweepReport(Callback):
    """Hydra's callback behind a sweep: one rate-distortion plot over its points."""


@hydra.main(config_path="pkg://conf", config_name="train", version_base="1.3")
def _main(cfg: DictConfig) -> None:
    _run(cfg)


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, `-m` included."""
    sys.argv = ["codec train", *overrides]
    _main()
    return 0
