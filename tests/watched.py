"""A callback that writes down each step, waits where it is told to, and refuses one rate: +callbacks.watched._target_=…"""

import time
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

from codec.types import UserError


class Watched(Callback):
    """`steps` in a run's folder has each step that was trained, a line each.

    Before step `holds` the first rank waits while there is a file `hold` in the current folder; the run whose lambda is
    `refuses` fails at its second.
    """

    def __init__(self, refuses: float | None = None, holds: int = 2):
        self.refuses, self.holds = refuses, holds

    def on_train_batch_start(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_):
        if trainer.global_step == 1 and module.loss.lmbda == self.refuses:
            raise UserError("this rate; expected another; do that")
        while trainer.is_global_zero and trainer.global_step == self.holds and Path("hold").exists():
            (Path(trainer.default_root_dir) / "held").touch()
            time.sleep(0.05)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_):
        if trainer.is_global_zero:
            with (Path(trainer.default_root_dir) / "steps").open("a") as file:
                file.write(f"{trainer.global_step}\n")
