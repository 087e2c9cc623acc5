"""Checkpoints from which a run goes on exactly where it was."""

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from codec.tracking import MetricsCsv


class SaveCheckpoints(Callback):
    """`last.ckpt` every `every` steps, at the end, and where a run is stopped; `best.ckpt` at the lowest val/loss.

    Where a validation falls on a step, the checkpoint is written behind it, with what the validation changed (the
    plateau's count); Lightning's own callback writes before it, and a resumed run would skip that validation.
    A file gets its name once it is whole, so a kill leaves the one before.
    """

    def __init__(self, folder: Path, every: int):
        self.folder, self.every = folder, every
        self._best = float("inf")
        self._saved_step = -1

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict["best"]

    def _save(self, trainer: lightning.Trainer, name: str) -> None:
        path, temporary = self.folder / name, self.folder / f"{name}.tmp"
        trainer.save_checkpoint(temporary)  # on every rank: it waits for all, and rank 0 writes
        if trainer.is_global_zero:
            temporary.replace(path)

    def _save_last(self, trainer: lightning.Trainer) -> None:
        if self._saved_step != trainer.global_step:
            self._save(trainer, "last.ckpt")
            self._saved_step = trainer.global_step

    def _validates_now(self, trainer: lightning.Trainer) -> bool:
        return trainer.global_step % int(trainer.val_check_interval) == 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._saved_step = trainer.global_step  # what a run resumes from is saved already
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.cut_after(trainer.global_step)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0 and not self._validates_now(trainer):
            self._save_last(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.fit_loop.epoch_loop._batches_that_stepped:
            return
        loss = float(trainer.callback_metrics["val/loss"])
        if loss < self._best:
            self._best = loss
            self._save(trainer, "best.ckpt")
        self._save_last(trainer)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._save_last(trainer)
