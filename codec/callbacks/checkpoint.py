"""Checkpoints from which a run goes on exactly where it was, and the stop that leaves one."""

import os
import shutil
import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from codec.atomic import replacing
from codec.runs.slurm import in_job, requeue
from codec.runs.tracking import MetricsCsv, is_first_rank


class SaveCheckpoints(Callback):
    """`last.ckpt` every `every` steps, at validations, at the end and where a run is stopped; `best.ckpt` at the lowest
    val/loss.

    Where a validation falls on a step, the checkpoint is written after it, with what the validation changed (the
    plateau's count); Lightning's own callback writes before it, and a resumed run would skip that validation.
    So a run can go on exactly from these two places only, and Ctrl-C and SIGTERM wait for the next of them; an error
    leaves the checkpoint before it. A file gets its name once it is whole: a kill leaves the one before, too.
    In a SLURM job SIGUSR1 (sbatch --signal=USR1@SECONDS) stops it likewise and puts the job back into the queue.
    """

    def __init__(self, folder: Path, every: int):
        self.folder, self.every = folder, every
        self._best = float("inf")
        self._saved_step = -1
        self._signal: int | None = None
        self._stops = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict["best"]

    def _save(self, trainer: lightning.Trainer) -> None:
        if self._saved_step == trainer.global_step:
            return
        path = self.folder / "last.ckpt"
        with replacing(path, durable=True) if trainer.is_global_zero else nullcontext(path) as target:
            trainer.save_checkpoint(target)  # on every rank: it waits for all, and the first writes
        self._saved_step = trainer.global_step

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == self._signal == signal.SIGINT:
            raise KeyboardInterrupt  # Ctrl-C again: at once, with the checkpoint that is there
        self._signal = number
        if is_first_rank():
            os.write(2, b"\nstopping after this step (Ctrl-C again: at once)\n")  # print is not safe in a handler

    def _stop_asked(self, trainer: lightning.Trainer) -> bool:
        """Whether a signal came in; several ranks ask each other where a step is logged, since it costs a wait."""
        if trainer.world_size == 1:
            return self._signal is not None
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        return trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._saved_step = trainer.global_step  # what a run resumes from is saved already
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCsv):
                logger.cut_after(trainer.global_step)
        self._signal, self._stops = None, False
        if threading.current_thread() is threading.main_thread():
            # In place of Lightning's, which ends a validation half-way; the trainer restores them when it is done.
            signal.signal(signal.SIGINT, self._on_signal)
            signal.signal(signal.SIGTERM, self._on_signal)
            if in_job():  # Lightning's saves in the middle of a step, each rank in another
                signal.signal(signal.SIGUSR1, self._on_signal)

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._stops:  # here and not where it was saved, so that the step is logged
            if trainer.is_global_zero:
                print(f"stopped at step {trainer.global_step}; the same command goes on from there", flush=True)
                if self._signal == signal.SIGUSR1:
                    requeue()
            raise SystemExit(128 + (self._signal or signal.SIGTERM))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # in the middle of a step
        self._stops = self._stop_asked(trainer)
        seen = trainer.fit_loop.total_batch_idx + 1  # over all epochs
        validates = seen % trainer.val_check_batch == 0  # type: ignore[operator]
        if (self._stops or trainer.global_step % self.every == 0) and not validates:
            self._save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        loss = float(trainer.callback_metrics["val/loss"])
        improved = loss < self._best
        self._best = min(loss, self._best)
        self._save(trainer)
        if improved and trainer.is_global_zero:
            with replacing(self.folder / "best.ckpt") as target:
                shutil.copyfile(self.folder / "last.ckpt", target)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._save(trainer)
