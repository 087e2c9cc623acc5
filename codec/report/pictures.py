"""Parts of pictures side by side: original, decoded from our file, JPEG and AVIF of the same size."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from codec.evaluation.classical import CLASSICAL
from codec.evaluation.failures import FigureError, attempt
from codec.evaluation.results import Results
from codec.files.coding import decode
from codec.files.loaded import Bundle
from codec.metrics.quality import psnr
from codec.report.contact_sheet import INK, PAPER, made_by
from data.testsets import TestImage

WINDOW, LINE, GAP = 320, 24, 8  # pixels: the side of a part, what is written above it, what lies between
BESIDE = "jpeg", "avif"  # whose qualities go to 100; a slower AVIF would take a run's end four times as long


def _of_size(name: str, image: Tensor, num_bytes: int) -> tuple[Tensor, int]:
    """The picture through a classical codec at the quality whose file is nearest in size, and that size in bytes."""
    source, codec = Image.fromarray(image.permute(1, 2, 0).numpy()), CLASSICAL[name]
    codec.check()
    low, high = 1, 100
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


class _Part(NamedTuple):
    """A picture uint8 [3, H, W] and what is written above it."""

    caption: str
    image: Tensor


def _choose(results: Results) -> list[tuple[int, str]]:
    """Places of points, and names of pictures: of worst, middle and best quality, so that the sheet does not flatter.

    Of a codec with several rates they are shown at the lowest, the middle and the highest that was measured.
    """
    ranked = sorted(results.shown.images, key=lambda row: math.inf if row.psnr is None else row.psnr)
    points, pictures = ((0, number // 2, number - 1) for number in (len(results.points), len(ranked)))
    return list(dict.fromkeys((point, ranked[place].name) for point, place in zip(points, pictures, strict=True)))


def _told(image: Tensor, original: Tensor, num_bytes: int, name: str) -> _Part:
    return _Part(f"{8 * num_bytes / original[0].numel():.3f} bpp, {psnr(image, original):.2f} dB: {name}", image)


def _beside(name: str, original: Tensor, num_bytes: int) -> _Part:
    """What a classical codec makes of the picture in so many bytes; white, and why, where it cannot."""
    label = CLASSICAL[name].label
    try:
        image, size = attempt(partial(_of_size, name, original, num_bytes))
    except FigureError as error:  # of a side over 65,500 pixels, for one
        return _Part(f"{label}: {error}", torch.full_like(original, 255))
    return _told(image, original, size, label)


def write_pictures(bundle: Bundle, pictures: Sequence[TestImage], ours: Results, files: Path, path: Path) -> None:
    """A sheet of parts of pictures: original, decoded from our file, JPEG and AVIF of the same size.

    bundle: which decodes. ours: its results, by which the pictures are chosen. files: the folder of its .lic files. path: of
    the sheet, a PNG.
    """
    by_name = {picture.name: picture for picture in pictures}
    rows = []
    for point, name in _choose(ours):
        original, data = by_name[name].load(), (ours.points[point].files(files) / f"{name}.lic").read_bytes()
        decoded = _told(decode(bundle, data), original, len(data), ours.name)
        rows.append([_Part(f"{name}: original", original), decoded, *(_beside(other, original, len(data)) for other in BESIDE)])
    drawn = [_draw(row, *_detail(row[0].image)) for row in rows]
    sheet = Image.new("RGB", (drawn[0].width, sum(row.height for row in drawn)), PAPER)
    y = 0
    for row in drawn:
        sheet.paste(row, (0, y))
        y += row.height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, pnginfo=made_by())


def _draw(parts: Sequence[_Part], top: int, left: int) -> Image.Image:
    """A row of the sheet: the WINDOW at top and left of each picture below its caption, which ends with the cell."""
    windows = [part.image[:, top : top + WINDOW, left : left + WINDOW] for part in parts]
    row = Image.new("RGB", (len(parts) * (WINDOW + GAP) + GAP, LINE + windows[0].size(1) + GAP), PAPER)
    for column, (part, window) in enumerate(zip(parts, windows, strict=True)):
        cell = Image.new("RGB", (WINDOW, row.height), PAPER)
        ImageDraw.Draw(cell).text((0, 2), part.caption, INK, ImageFont.load_default(size=15))
        cell.paste(Image.fromarray(window.permute(1, 2, 0).contiguous().numpy()), (0, LINE))
        row.paste(cell, (GAP + column * (WINDOW + GAP), 0))
    return row
