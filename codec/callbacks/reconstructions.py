"""Validation pictures as the codec gives them back, beside the originals."""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from codec.runs.tracking import log_picture
from codec.types import MADE_BY, Batch

LINE = 22  # pixels below a picture for its caption


def _with_caption(picture: Tensor, caption: str) -> Image.Image:
    """The picture, uint8 [3, H, W], with a line of text below it."""
    _, height, width = picture.shape
    sheet = Image.new("RGB", (width, height + LINE), "white")
    sheet.paste(to_pil_image(picture))
    ImageDraw.Draw(sheet).text((4, height + 2), caption, "black", ImageFont.load_default(size=14))
    return sheet


class SaveReconstructions(Callback):
    """The first validation pictures: original and reconstruction as PNG (the latest stays) and to the loggers.

    They go below the trainer's default_root_dir, to report/reconstructions. Captions hold the step, the estimated bpp and the
    PSNR; the axis is the step.
    """

    def __init__(self, num_pictures: int = 3):
        self.num_pictures = num_pictures

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: Any, batch: Batch,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        if not trainer.is_global_zero or batch_idx >= self.num_pictures:
            return
        pair = torch.cat((batch.image[0], outputs["x_hat"][0].to(batch.image)), dim=-1)
        picture = pair.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()
        caption = f"step {trainer.global_step}: {float(outputs['bpp']):.3f} bpp, {float(outputs['psnr']):.2f} dB"
        sheet = _with_caption(picture, caption)
        path = Path(trainer.default_root_dir) / "report" / "reconstructions" / f"validation_{batch_idx}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        info.add_text(*MADE_BY)
        sheet.save(path, pnginfo=info)
        log_picture(trainer.loggers, f"val/picture_{batch_idx}", pil_to_tensor(sheet), caption, trainer.global_step)
