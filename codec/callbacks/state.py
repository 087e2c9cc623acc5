"""How far a training is, in its folder, for any process to read."""

import time
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from codec.runs.claim import Claim

SECONDS = 15.0  # between two writings, beside those of validations
FIGURES = ("train/loss", "train/bpp", "train/psnr", "val/loss")


class TellState(Callback):
    """Writes step, speed and the figures that were logged last, through the claim that this process has on its run."""

    def __init__(self, claim: Claim):
        self.claim = claim
        self._told = 0.0

    def _tell(self, trainer: lightning.Trainer) -> None:
        now = time.monotonic()
        speed = (trainer.global_step - self._first) / (now - self._begun)
        figures = {name: float(trainer.callback_metrics[name]) for name in FIGURES if name in trainer.callback_metrics}
        self.claim.running(trainer.global_step, trainer.max_steps, speed or None, figures)
        self._told = now

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._begun, self._first = time.monotonic() - 1e-9, trainer.global_step
        self._tell(trainer)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        logged = trainer.global_step % trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if logged and time.monotonic() - self._told > SECONDS:
            self._tell(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._tell(trainer)

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, error: BaseException) -> None:
        if isinstance(error, SystemExit):
            self.claim.stopped(trainer.global_step)
