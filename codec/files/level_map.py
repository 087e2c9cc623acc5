"""Where in a picture a file has how much quality: from a map of pixels to the levels of each place, and to the file and back.

The one map that travels with a picture, as in JPEG AI: those of SegPIC's regions stay with the encoder.

H W height and width of the picture, h w height and width of the latent y; a place is one position of it.
"""

import math
import zlib

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.files.loaded import Bundle
from codec.types import UserError, as_float, shown

GREYS = 4  # above black that a file tells apart: soft edges then cost 76 bytes for an ellipse on Kodak, of 16 greys 109
OFFSET, MOST = 25, 100  # of quality that white gets more, and may get
BAND = 64  # rows of places that are averaged together: in floats a map is four times as large
WBITS = -15  # DEFLATE without anything around it


def checked_offset(bundle: Bundle, offset: float) -> float:
    """The same as a plain number; UserError for a codec of one rate, an offset that is none, and one that makes no level."""
    if bundle.model.levels is None:
        raise UserError("a map of quality for a codec of one rate; expected one with levels; give another codec, or no map")
    number = math.nan if isinstance(offset, bool) else as_float(offset)
    if not 0 < number <= MOST:  # false for NaN too
        raise UserError(f"an offset of quality of {shown(offset)}; expected a number above 0, up to {MOST}; give another")
    count = bundle.model.levels.count
    if not most_levels_more(number, count):
        raise UserError(
            f"an offset of quality of {number:g}, less than half the step between two of {count} levels; expected more than "
            f"{MOST / 2 / (count - 1):.3g}; give a larger one"
        )
    return number


def _levels_more(greys: Tensor, offset: float, count: int) -> Tensor:
    """How many of `count` levels more there are, int64, where white gets an offset of quality; greys: black 0 to white 1."""
    return torch.round(greys * offset / MOST * (count - 1)).long()


def most_levels_more(offset: float, count: int) -> int:
    """How many of `count` levels more white has, where it gets an offset of quality."""
    return int(_levels_more(torch.ones(()), offset, count))


def level_offsets(bundle: Bundle, quality_map: Tensor, offset: float, size: tuple[int, int]) -> Tensor:
    """How many levels above the file's each place has that a quality map asks for, int64 [h, w].

    quality_map: uint8 [H, W]; white gets `offset` more, of a quality from 0 to 100, black nothing, and a place what its square
    has on average. size: (H, W) of the picture.
    Raises UserError as checked_offset does, and for a map of another size than the picture's.
    """
    offset = checked_offset(bundle, offset)
    model, levels = bundle.model, bundle.model.levels
    assert levels is not None
    (height, width), (rows, columns) = size, quality_map.shape
    if (rows, columns) != size:
        raise UserError(
            f"a map of quality of {columns}x{rows} for a picture of {width}x{height}, as it stands upright; expected the same "
            "size; give a map of the picture"
        )
    stride = model.latent_stride
    bands = [F.avg_pool2d(band[None].float(), stride, ceil_mode=True)[0] for band in quality_map.split(BAND * stride)]
    greys = torch.round(torch.cat(bands) / 255 * GREYS) / GREYS
    high, wide = model.latent_size(height, width)
    below, beside = (torch.arange(side).clamp(max=own - 1) for side, own in zip((high, wide), greys.shape, strict=True))
    return _levels_more(greys, offset, levels.count)[below[:, None], beside]  # padded as the picture is


def told_offsets(offsets: Tensor) -> str:
    """Why a file has no map although one asked for these offsets of its places, int64 [h, w]."""
    lowest, highest = int(offsets.min()), int(offsets.max())
    if lowest == highest:
        return f"its map of quality asks for {'the same everywhere' if highest else 'no more anywhere'}"
    return "its map of quality changes nothing, since no level is higher"


def packed(offsets: Tensor) -> bytes:
    """What a file holds of offsets int64 [h, w], each 0 to 255."""
    deflate = zlib.compressobj(9, wbits=WBITS)
    return deflate.compress(offsets.to(torch.uint8).numpy().tobytes()) + deflate.flush()


def unpacked(data: bytes, size: tuple[int, int], most: int) -> Tensor:
    """The offsets int64 [h, w] in what a file holds; size: (h, w).

    Raises UserError for anything that is no map of that size, or has an offset above `most`.
    """
    inflate, (height, width) = zlib.decompressobj(WBITS), size
    try:
        content = inflate.decompress(data, height * width + 1)  # no more, whatever it would grow to
    except zlib.error:
        content = b""
    if len(content) != height * width or not inflate.eof or inflate.unused_data or max(content) > most:
        raise UserError("the file is damaged: its map of levels is none; get the file again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).long().view(size)
