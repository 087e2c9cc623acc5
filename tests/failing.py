"""A callback that fails in one rank, for trainings by the command: +callbacks.failing._target_=failing.Failing …"""

import errno
import os
import signal
import time
from pathlib import Path

import lightning

from codec.types import UserError

FAILURES = {
    "refuses": UserError("a thing; expected another; do this"),
    "breaks": RuntimeError("broken"),
    "full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.csv"),
}


class Failing(lightning.Callback):
    """Fails in `rank` when `step` steps are made, as `how` of FAILURES, or is killed; writes when to a file."""

    def __init__(self, rank: int, how: str, step: int = 2):
        self.rank, self.how, self.step = rank, how, step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_rank == self.rank and trainer.global_step == self.step:
            Path("failed_at").write_text(str(time.time()))
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise FAILURES[self.how]
