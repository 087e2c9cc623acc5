"""A callback that makes a training wait at a moment, so that a test can do something to it there."""

import os
import time
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

import codec.evaluation.measure
import codec.training.fit

while os.path.exists(os.environ.get("HELD_IMPORTS", "")):  # names a file: while it is there, this is being imported
    time.sleep(0.05)


class Held(Callback):
    """The first rank waits while the run's folder has a file `hold` that names the moment, and says `held` there."""

    def _wait(self, trainer: lightning.Trainer, moment: str) -> None:
        hold, held = (Path(trainer.default_root_dir) / name for name in ("hold", "held"))
        while trainer.is_global_zero and hold.exists() and hold.read_text() == moment:
            held.write_text(moment)
            time.sleep(0.05)

    def on_before_optimizer_step(self, trainer, *_):
        self._wait(trainer, "training")

    def on_validation_batch_end(self, trainer, *_):
        self._wait(trainer, "validation")

    def on_fit_end(self, trainer, *_):
        export, decode = codec.training.fit.save_bundle, codec.evaluation.measure.decode_latents

        def export_slowly(*given, **options):
            self._wait(trainer, "export")
            export(*given, **options)

        def decode_slowly(*given, **options):
            self._wait(trainer, "evaluation")
            return decode(*given, **options)

        codec.training.fit.save_bundle = export_slowly
        codec.evaluation.measure.decode_latents = decode_slowly
