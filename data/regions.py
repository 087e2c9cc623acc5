"""Region maps: one integer a pixel, class-agnostic; on disk a PNG named after its picture, in a folder of maps.

A folder of maps holds `a/b.png` for the picture `a/b.jpg` (8 bits where there are at most 256 regions, else 16), and the
manifests of those who made them (data/map_making.py). H W height and width of the picture, K number of regions.
"""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codec.types import UserError
from data.images import MAX_PIXELS

MAX_REGIONS = 2**16  # that a PNG can tell apart
MAP_MODES = ("L", "I;16")  # Pillow's names for one channel of 8 and of 16 bits


def map_path(maps: Path, relative: str) -> Path:
    """Where the map of a picture lies, by the picture's path below its root."""
    return maps / Path(relative).with_suffix(".png")


def _png(ids: np.ndarray) -> bytes:
    """A grey PNG of ids [H, W], of 8 bits or 16 with the high byte first.

    Rows are not filtered, as the PNG specification advises for pixels that are indices. Pillow filters them, and such
    files take twice as long to read and half as much again on the disk.
    """
    (height, width), depth = ids.shape, 8 * ids.itemsize
    rows = np.zeros((height, 1 + width * ids.itemsize), dtype=np.uint8)  # the first byte of a row names its filter
    rows[:, 1:] = ids.view(np.uint8).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def write_map(path: Path, ids: np.ndarray) -> None:
    """Write ids [H, W], 0..K-1, to a PNG; a kill leaves the old file or the new one.

    Raises UserError where there are more than a PNG can tell apart.
    """
    count = int(ids.max()) + 1
    assert ids.ndim == 2 and ids.min() >= 0
    if count > MAX_REGIONS:
        raise UserError(
            f"{count} regions for {path}; expected at most {MAX_REGIONS}; set data.regions.max_regions or a larger min_area"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for each map, not for each process: what a killed run leaves is replaced by the next. Only one process
    # makes a map at a time (data/map_making.py).
    temporary = path.with_suffix(".tmp")  # no longer than the name itself, which may be as long as can be
    temporary.write_bytes(_png(ids.astype(np.uint8 if count <= 256 else ">u2")))
    os.replace(temporary, path)


def read_map(path: Path) -> Tensor:
    """The map in a file, uint8 or int32 [H, W].

    Raises UserError for a file that is missing, damaged or no map, and before it is decoded for one of too many pixels.
    """
    # By Pillow: a tenth of a millisecond slower than torchvision, whose decoders are deprecated as of 0.29.
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            mode, ids = image.mode, np.array(image)
    except FileNotFoundError:
        raise UserError(f"no map at {path}; expected one for each picture; make it with codec masks") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{path} has over {MAX_PIXELS} pixels, more than any picture; expected a map of one; make it with codec masks"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # whatever its bytes lead a reader into, it is the file that is wrong
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path} is no map that can be read ({reason}); expected what codec masks wrote; remove it and run codec masks "
            "again"
        ) from None
    if mode not in MAP_MODES:
        raise UserError(
            f"{path} is a picture of mode {mode}; expected a map, of one channel and 8 or 16 bits; make it with codec masks"
        )
    return torch.from_numpy(ids if ids.dtype == np.uint8 else ids.astype(np.int32))


def relabel(ids: Tensor) -> Tensor:
    """Any integers from 0 on as dense ids 0..k-1 in the same order, int64 of the same shape."""
    flat = ids.flatten().int()
    table = torch.bincount(flat).bool().cumsum(0) - 1
    return table.index_select(0, flat).view(ids.shape)


def grid_map(height: int, width: int, rows: int, cols: int) -> Tensor:
    """The uniform partition into rows x cols rectangles, int64 [H, W]; their sides differ by at most a pixel."""
    row = torch.arange(height) * rows // height
    column = torch.arange(width) * cols // width
    return row[:, None] * cols + column


class GridRegions:
    """Regions without a map: the same grid on each crop, as SegPIC trains and codes without masks (4 x 4)."""

    def __init__(self, rows: int, cols: int):
        if rows < 1 or cols < 1:
            raise UserError(f"a grid of {rows} rows and {cols} cols; expected at least 1 each; set data.regions.rows and .cols")
        self.rows, self.cols = rows, cols

    def crop_map(self, side: int) -> Tensor:
        """The map of any crop, int64 [side, side]."""
        return grid_map(side, side, self.rows, self.cols)


class ExactRegions:
    """Regions without files: the source of the pictures makes the map with each picture, as dead leaves do."""


def no_regions() -> None:
    """No maps at all."""
    return None
