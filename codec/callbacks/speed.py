"""How fast a training is, for those who look at it while it runs."""

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from codec.runs.tracking import log_beside


class LogSpeed(Callback):
    """Pictures of all ranks a second since the row before, validations left out, as `train/images_per_second`.

    It is not in metrics.csv, which a stopped run writes as an uninterrupted one does.
    """

    def _begin(self, trainer: lightning.Trainer) -> None:
        self._since, self._step = time.monotonic(), trainer.global_step

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._begin(trainer)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = trainer.global_step - self._step
        if steps and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            parts = trainer.datamodule.batch_size * trainer.accumulate_grad_batches  # type: ignore[attr-defined]
            speed = steps * parts / (time.monotonic() - self._since)
            log_beside(trainer.loggers, {"train/images_per_second": speed}, trainer.global_step)
            self._begin(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._begin(trainer)
