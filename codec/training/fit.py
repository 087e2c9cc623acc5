"""The training itself, from where the folder's last checkpoint left it to its last step, and the codec that it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightning
from lightning.pytorch.accelerators import CPUAccelerator

from codec.callbacks.state import TellState
from codec.files.bundle import save_bundle
from codec.modules.base import CodecModule
from codec.runs.claim import Claim
from codec.runs.folder import RunFolder
from codec.training.machine import keep_freed_memory, told_load
from data.module import ImageDataModule

TOLD = ("experiment_name", "model", "steps", "seed", "target_bpp")  # in the bundle; no paths: a bundle travels


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
        checkpoint = self.folder.last_checkpoint
        self.trainer.fit(self.module, self.data, ckpt_path=checkpoint if checkpoint.exists() else None)

    def run(self, claim: Claim) -> None:
        """Train and export, on the first rank, which alone writes."""
        if line := told_load():
            print(line)
        self.folder.checkpoints.mkdir(parents=True, exist_ok=True)
        self.folder.update_facts(logged_to=list(self.config["logger"]))
        self.trainer.callbacks.append(TellState(claim))  # type: ignore[attr-defined]
        self.fit()
        if self.config["trainer"]["profiler"] is not None:
            print(self.trainer.profiler.summary())  # type: ignore[attr-defined]  # Lightning's own goes to a log that is off
        if "val/loss" in self.trainer.callback_metrics:
            self.folder.update_facts(val_loss=float(self.trainer.callback_metrics["val/loss"]))
        facts: dict[str, Any] = {"config": {key: self.config[key] for key in TOLD}}
        if self.module.loss.measured_with is not None:
            facts["trained_with"] = self.module.loss.measured_with
        save_bundle(self.folder.bundle, self.module.codec, facts, half=True)
