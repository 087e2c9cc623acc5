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
from codec.callbacks.agreement import Agreement
from codec.runs.slurm import WARNINGS, hand_on, in_job
from codec.runs.tracking import cut_after, end_loggers_for_now, is_first_rank


class SaveCheckpoints(Callback):
    """`last.ckpt` every `every` steps, at validations, at the last step and where a run is stopped; `best.ckpt` at the lowest
    val/loss.

    It has to be the last callback, so that a checkpoint has what the others do in its step, such as a moving average.
    Where a validation falls on a step, the checkpoint is written after it, with what the validation changed (the
    plateau's count); Lightning's own callback writes before it, and a resumed run would skip that validation.
    So a run can go on exactly from these two places only, and Ctrl-C and SIGTERM wait for the next of them; an error
    leaves the checkpoint before it. A file gets its name once it is whole: a kill leaves the one before, too.
    In a SLURM job SIGUSR1 (sbatch --signal=USR1@SECONDS) stops it likewise and puts the job back into the queue; so does
    submitit's SIGUSR2, where submitit would do that itself.
    """

    def __init__(self, folder: Path, every: int):
        self.folder, self.every = folder, every
        self.best = float("inf")  # val/loss so far
        self._saved_step = -1
        self._signal = 0  # that this process got
        self._stops = 0  # the signal by which all ranks stop
        self._agreement: Agreement | None = None
        self._before: dict[int, Any] = {}  # handlers of signals

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

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
        if self._signal not in WARNINGS:  # SIGTERM follows it, where a step is long
            self._signal = number
        if is_first_rank():
            os.write(2, b"\nstopping after this step (Ctrl-C again: at once)\n")  # print is not safe in a handler

    def _heard(self) -> int:
        """The signal that came in, or 0; with several ranks to any of them, by the step before."""
        return self._signal if self._agreement is None else self._agreement(self._signal)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._saved_step = trainer.global_step  # what a run resumes from is saved already
        cut_after(trainer.loggers, trainer.global_step)
        self._signal = self._stops = 0
        self._agreement = Agreement() if trainer.world_size > 1 else None
        if threading.current_thread() is threading.main_thread():
            # In place of Lightning's, which ends a validation half-way, or saves in the middle of a step, each rank in another;
            # the trainer restores what was there when it is done.
            for number in (signal.SIGINT, signal.SIGTERM, *(WARNINGS if in_job() else ())):
                self._before[number] = signal.signal(number, self._on_signal)

    def _stop(self, trainer: lightning.Trainer, number: int) -> None:
        if trainer.is_global_zero:
            print(f"stopped at step {trainer.global_step}; the same command goes on from there", flush=True)
        if number in WARNINGS:
            end_loggers_for_now(trainer.loggers)
            hand_on(number, self._before.get(number))
        raise SystemExit(128 + number)

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        if self._stops:  # here and not where it was saved, so that the step is logged
            self._end_agreement()
            self._stop(trainer, self._stops)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # in the middle of a step
        self._stops = self._heard()
        seen = trainer.fit_loop.total_batch_idx + 1  # over all epochs
        validates = seen % trainer.val_check_batch == 0  # type: ignore[operator]
        due = trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps
        if (self._stops or due) and not validates:
            self._save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        loss = float(trainer.callback_metrics["val/loss"])
        improved = loss < self.best
        self.best = min(loss, self.best)
        self._save(trainer)
        if improved and trainer.is_global_zero:
            with replacing(self.folder / "best.ckpt") as target:
                shutil.copyfile(self.folder / "last.ckpt", target)

    def _end_agreement(self) -> None:
        if self._agreement is not None:
            self._agreement.close()

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._end_agreement()

    def on_fit_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self._signal:  # it came in or after the last steps
            self._stop(trainer, self._signal)
