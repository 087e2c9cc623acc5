"""How far a training is: step, rate, quality, speed and time left."""

import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.runs.validations import validated

QUIET_SECONDS = 15.0  # between lines where the output is no terminal


def _terms(values: Mapping[str, Any], when: str) -> str:
    return f"loss {values[f'{when}/loss']:.4f}  {values[f'{when}/bpp']:.3f} bpp  {values[f'{when}/psnr']:.2f} dB"


def _validation_terms(values: Mapping[str, Any]) -> str:
    """The same of a validation; of several rates the lowest and the highest."""
    points = validated(values)
    if len(points) < 2:
        return _terms(values, "val")
    (_, low, worst), (_, high, best) = points[0], points[-1]
    return f"loss {values['val/loss']:.4f}  {low:.3f} to {high:.3f} bpp  {worst:.2f} to {best:.2f} dB"


class ShowProgress(Callback):
    """One line that is redrawn on a terminal, plain lines elsewhere, and a line a validation; by the first rank alone.

    Values are those that the module logged last, so nothing here waits for the device at other steps. The speed counts the
    pictures of all ranks, of which the DataModule knows.
    """

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._said = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._begun, self._first = time.monotonic(), trainer.global_step
        if trainer.is_global_zero and sys.stdout.isatty():
            columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns)
            self._task = self._bar.add_task("", total=trainer.max_steps, completed=trainer.global_step)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # in the middle of a step
        if not trainer.is_global_zero or step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        now = time.monotonic()
        rate = (step - self._first) / (now - self._begun)
        batch_size = trainer.datamodule.batch_size  # type: ignore[attr-defined]
        values, images = trainer.callback_metrics, rate * batch_size * trainer.accumulate_grad_batches
        left = timedelta(seconds=round((trainer.max_steps - step) / rate))
        text = f"{_terms(values, 'train')}  {images:.0f} images/s  {left} left"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif now - self._said >= QUIET_SECONDS or step == trainer.max_steps:
            print(f"step {step} of {trainer.max_steps}  {text}", flush=True)
            self._said = now

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        values = trainer.callback_metrics
        loss = float(values["val/loss"])
        best = min([loss, *(saves.best for saves in trainer.callbacks if isinstance(saves, SaveCheckpoints))])  # type: ignore[attr-defined]
        line = f"validation at step {trainer.global_step}  {_validation_terms(values)}  best loss so far {best:.4f}"
        print(line, flush=True) if self._bar is None else self._bar.console.print(line)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: lightning.Trainer, module: lightning.LightningModule, error: BaseException) -> None:
        self._stop()
