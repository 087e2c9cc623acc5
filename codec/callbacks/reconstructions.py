"""Validation pictures as the codec gives them back, beside the originals."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torchvision.io import write_png

from codec.types import Batch

NUM_PICTURES = 3


class SaveReconstructions(Callback):
    """The first validation pictures: original and reconstruction as PNG (the latest stays) and to the loggers.

    folder: where the PNG files go. Captions hold estimated bpp and PSNR; the axis is the step.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Batch,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if not trainer.is_global_zero or batch_idx >= NUM_PICTURES:
            return
        pair = torch.cat((batch.image[0], outputs["x_hat"][0].to(batch.image)), dim=-1)
        picture = pair.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_png(picture, str(self.folder / f"validation_{batch_idx}.png"))
        caption = f"{float(outputs['bpp']):.3f} bpp, {float(outputs['psnr']):.2f} dB"
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                image = picture.permute(1, 2, 0).numpy()
                logger.log_image(f"val/picture_{batch_idx}", [image], step=trainer.global_step, caption=[caption])
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"val/picture_{batch_idx}", picture, trainer.global_step)
                logger.experiment.add_text(f"val/picture_{batch_idx}", caption, trainer.global_step)
