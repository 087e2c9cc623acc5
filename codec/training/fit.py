"""The training itself, from where the folder's last checkpoint left it to its last step, and the codec that it leaves."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from codec.callbacks.state import TellState
from codec.files.bundle import load_bundle, save_bundle
from codec.machine import keep_freed_memory, told_load
from codec.models import Codec
from codec.modules.base import CodecModule
from codec.runs.claim import Claim
from codec.runs.folder import RunFolder
from codec.runs.ranks import Place, explained, launch
from codec.runs.tracking import has_failed, start_loggers
from codec.saved_tensors import read_saved
from codec.types import UserError
from data.module import ImageDataModule

TOLD = ("experiment_name", "model", "steps", "seed", "target_bpp")  # in the bundle; no paths: a bundle travels

# What Lightning and the modules write of each training, and take back without a look at it.
PARTS: dict[str, type] = {
    "epoch": int, "global_step": int, "pytorch-lightning_version": str, "state_dict": dict, "loops": dict, "callbacks": dict,
    "optimizer_states": list, "lr_schedulers": list, "schedule": dict,
}  # fmt: skip


def check_checkpoint(path: Path, module: CodecModule) -> None:
    """Raise UserError for a checkpoint that is damaged, incomplete, of another network, or would have to be run."""
    expected, remedy = "a checkpoint of this run", "take best.ckpt in its place, or remove the run's folder to start again"
    content = read_saved(path, f"{expected}; {remedy}")
    parts = content if isinstance(content, dict) else {}
    wrong = [f"no {key}" for key, kind in PARTS.items() if not isinstance(parts.get(key), kind)]
    if not wrong:
        own, saved = module.state_dict(), parts["state_dict"]
        wrong = [
            f"no fitting {key}" for key in own if not isinstance(saved.get(key), Tensor) or saved[key].shape != own[key].shape
        ]
    if wrong:
        raise UserError(f"{path} has {', '.join(wrong[:4])} ({len(wrong)} parts); expected {expected}; {remedy}")


def _quantile_error(codec: Codec) -> float:
    """How far the quantiles of a codec are from where its densities have their tails and medians, in logits, on average."""
    return float(codec.auxiliary_loss().detach()) / sum(density.quantiles.numel() for _, density in codec.densities())


@dataclass(frozen=True)
class Training:
    """The parts of a training, put together: nothing is written yet.

    config: the resolved configuration, as plain values.
    """

    trainer: lightning.Trainer
    module: CodecModule
    data: ImageDataModule
    folder: RunFolder
    config: Mapping[str, Any]

    def fit(self) -> None:
        """Train, resuming where the folder has a checkpoint; on all ranks."""
        if isinstance(self.trainer.accelerator, CPUAccelerator):
            keep_freed_memory()
        checkpoint = self.folder.last_checkpoint if self.folder.last_checkpoint.exists() else None
        if checkpoint is not None:
            check_checkpoint(checkpoint, self.module)
        self._serve_ranks()
        try:
            self.trainer.fit(self.module, self.data, ckpt_path=checkpoint, weights_only=True)
        except Exception as error:
            # Lightning's watch over the ranks that it started would kill this one before it has said why.
            getattr(self.trainer.strategy.launcher, "procs", []).clear()
            explanation = explained(error)
            if explanation is error:
                raise
            raise explanation from error
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, WeightAveraging):
                # Once more: where the checkpoint is of the last step and only its export is missing, Lightning leaves it out.
                callback.on_train_end(self.trainer, self.module)

    def _serve_ranks(self) -> None:
        """Be there for the ranks that Lightning is about to start, so that they hear of an end."""
        environment = getattr(self.trainer.strategy, "cluster_environment", None)
        if self.trainer.world_size > 1 and environment is not None and not environment.creates_processes_externally:
            os.environ["MASTER_PORT"] = str(environment.main_port)  # else Lightning takes another at each look
            launch(Place(self.trainer.global_rank, self.trainer.world_size, environment.main_address, environment.main_port))

    def run(self, claim: Claim) -> None:
        """Train and export, on the first rank, which alone writes."""
        if line := told_load():
            print(line)
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        start_loggers(self.trainer.loggers)
        self.trainer.callbacks.append(TellState(claim))  # type: ignore[attr-defined]
        self.fit()
        loggers = zip(self.config["logger"], self.trainer.loggers[1:], strict=True)  # the first is metrics.csv
        self.folder.update_facts(logged_to=[name for name, logger in loggers if not has_failed(logger)])
        if self.config["trainer"]["profiler"] is not None:
            print(self.trainer.profiler.summary())  # type: ignore[attr-defined]  # Lightning's own goes to a log that is off
        if "val/loss" in self.trainer.callback_metrics:
            self.folder.update_facts(val_loss=float(self.trainer.callback_metrics["val/loss"]))
        loss = self.module.loss
        facts: dict[str, Any] = {"config": {key: self.config[key] for key in TOLD}}
        if loss.distortion_name is not None:
            facts["distortion"] = loss.distortion_name
        if loss.levels is not None:
            facts["lmbda_by_level"] = loss.levels.lmbdas
            if loss.levels.steers:
                facts["target_bpp_by_level"] = loss.levels.targets
        if loss.measured_with is not None:
            facts["trained_with"] = loss.measured_with
        save_bundle(self.folder.bundle, self.module.codec, facts, half=True)
        self.folder.update_facts(solved_quantile_error=_quantile_error(load_bundle(self.folder.bundle).model))
