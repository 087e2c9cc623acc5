"""Parts of pictures side by side: original, decoded from our file, JPEG of the same size."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from codec.evaluation.classical import CLASSICAL
from codec.evaluation.failures import FigureError, attempt
from codec.evaluation.results import ImageRow, Results
from codec.files.coding import decode
from codec.files.loaded import Bundle
from codec.metrics.quality import psnr
from codec.report.contact_sheet import INK, PAPER, made_by
from data.testsets import TestImage

NUM_PICTURES = 3
WINDOW = 320  # pixels: the side of the part that a side-by-side picture shows


def _jpeg_at(image: Tensor, num_bytes: int) -> tuple[Tensor, int]:
    """The picture through JPEG at the quality whose file is nearest in size, and that size in bytes."""
    source, codec = Image.fromarray(image.permute(1, 2, 0).numpy()), CLASSICAL["jpeg"]
    low, high = 1, 95
    while high - low > 1:  # sizes grow with quality
        middle = (low + high) // 2
        low, high = (middle, high) if len(codec.encode(source, middle)) <= num_bytes else (low, middle)
    data = min((codec.encode(source, quality) for quality in (low, high)), key=lambda d: abs(len(d) - num_bytes))
    return torch.from_numpy(np.array(codec.decode(data))).permute(2, 0, 1), len(data)


def _detail(image: Tensor) -> tuple[int, int]:
    """Top and left of the part of uint8 [3, H, W] that is worth a look: near the middle, with the most contrast."""
    height, width = image.shape[1:]
    grey, best = image.float().mean(0), (0.0, 0, 0)
    for top in range(0, max(1, height - WINDOW + 1), 32):
        for left in range(0, max(1, width - WINDOW + 1), 32):
            away = abs(top + WINDOW / 2 - height / 2) / height + abs(left + WINDOW / 2 - width / 2) / width
            score = float(grey[top : top + WINDOW, left : left + WINDOW].std(correction=0)) * (1.2 - away)
            best = max(best, (score, top, left))
    return best[1], best[2]


def _choose(rows: Sequence[ImageRow]) -> list[str]:
    """The pictures to show: worst, middle and best quality, so that the sheet does not flatter."""
    ranked = sorted(rows, key=lambda row: row.psnr or 0)
    places = sorted({0, len(ranked) // 2, len(ranked) - 1})
    return [ranked[place].name for place in places][:NUM_PICTURES]


def write_pictures(bundle: Bundle, pictures: Sequence[TestImage], ours: Results, files: Path, path: Path) -> None:
    """A sheet of parts of pictures: original, decoded from our file, JPEG of the same size.

    bundle: which decodes. ours: its results, by which the pictures are chosen. files: the folder of its .lic files. path: of
    the sheet, a PNG.
    """
    by_name = {picture.name: picture for picture in pictures}
    font, line = ImageFont.load_default(size=15), 24
    rows = []
    for name in _choose(ours.shown.images):
        original, data = by_name[name].load(), (ours.shown.files(files) / f"{name}.lic").read_bytes()
        decoded = decode(bundle, data)
        pixels, (top, left) = original[0].numel(), _detail(original)
        try:
            jpeg, jpeg_bytes = attempt(partial(_jpeg_at, original, len(data)))
            beside = f"JPEG: {8 * jpeg_bytes / pixels:.3f} bpp, {psnr(jpeg, original):.2f} dB"
        except FigureError as error:  # of a side over 65,500 pixels, for one
            jpeg, beside = torch.full_like(original, 255), f"JPEG: {error}"
        captions = (
            f"{name}: original",
            f"{ours.name}: {8 * len(data) / pixels:.3f} bpp, {psnr(decoded, original):.2f} dB",
            beside,
        )
        parts = [image[:, top : top + WINDOW, left : left + WINDOW] for image in (original, decoded, jpeg)]
        rows.append((captions, parts))
    heights = [parts[0].size(1) + line + 8 for _, parts in rows]
    sheet = Image.new("RGB", (3 * (WINDOW + 8) + 8, sum(heights) + 8), PAPER)
    draw, y = ImageDraw.Draw(sheet), 8
    for (captions, parts), height in zip(rows, heights, strict=True):
        for column, (caption, part) in enumerate(zip(captions, parts, strict=True)):
            x = 8 + column * (WINDOW + 8)
            draw.text((x, y + 2), caption, INK, font)
            sheet.paste(Image.fromarray(part.permute(1, 2, 0).contiguous().numpy()), (x, y + line))
        y += height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, pnginfo=made_by())
