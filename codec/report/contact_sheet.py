"""A sheet of small pictures with the borders of their regions: the quickest way to see whether maps are right."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from codec.types import MADE_BY, printable
from data.images import read_image
from data.manifest import Record
from data.regions import map_path, read_map

INK, PAPER, BORDER = (32, 32, 32), (255, 255, 255), (255, 255, 0)
COLUMNS, SIDE, LINE, GAP = 4, 320, 20, 6  # SIDE: the longer side of a small picture; all but COLUMNS in pixels
NUM_PANELS = 12  # of a sheet that stands for a whole set


class Panel(NamedTuple):
    """A picture uint8 [3, H, W], its map [H, W] and what is written above them."""

    caption: str
    image: Tensor
    ids: np.ndarray


def _small(panel: Panel) -> Image.Image:
    """The picture at most SIDE long, with a line where one region meets another."""
    height, width = panel.ids.shape
    size = [max(1, round(length * SIDE / max(height, width))) for length in (height, width)]
    pixels = F.interpolate(panel.image[None], size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy().copy()
    rows, columns = ((2 * np.arange(n) + 1) * of // (2 * n) for n, of in zip(size, (height, width), strict=True))
    ids = panel.ids[rows][:, columns]
    edge = np.zeros(ids.shape, dtype=bool)
    edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edge[:-1] |= ids[:-1] != ids[1:]
    pixels[edge] = BORDER
    return Image.fromarray(pixels)


def made_by() -> PngInfo:
    """What marks a PNG as drawn here."""
    info = PngInfo()
    info.add_text(*MADE_BY)
    return info


def write_contact_sheet(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels, COLUMNS in a row, to a PNG."""
    small = [_small(panel) for panel in panels]
    rows = [range(first, min(first + COLUMNS, len(small))) for first in range(0, len(small), COLUMNS)]
    heights = [LINE + GAP + max(small[place].height for place in row) for row in rows]
    sheet = Image.new("RGB", (COLUMNS * (SIDE + GAP) + GAP, sum(heights) + GAP), PAPER)
    draw, font, y = ImageDraw.Draw(sheet), ImageFont.load_default(size=13), GAP
    for row, height in zip(rows, heights, strict=True):
        for column, place in enumerate(row):
            x = GAP + column * (SIDE + GAP)
            draw.text((x, y), panels[place].caption, INK, font)
            sheet.paste(small[place], (x, y + LINE))
        y += height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, pnginfo=made_by())


def write_sheet_of_set(records: Sequence[Record], root: Path, maps: Path, path: Path) -> None:
    """A contact sheet of pictures from all over the set: those of `records`, below root, with their maps below `maps`."""
    places = np.unique(np.linspace(0, len(records) - 1, NUM_PANELS).round().astype(int))
    panels = []
    for record in (records[place] for place in places):
        caption = printable(f"{Path(record.image).stem}: {record.regions} regions")
        panels.append(Panel(caption, read_image(root / record.image), read_map(map_path(maps, record.image)).numpy()))
    write_contact_sheet(panels, path)
