"""Where a codec spends the bits of a picture, and how well it predicts its latent: maps of bytes, for a page.

h w height and width of the latent.
"""

import base64
from dataclasses import dataclass

from torch import Tensor

from codec.entropy.gaussian import MIN_SCALE
from codec.files.coding import chosen_grid
from codec.files.loaded import Bundle
from codec.interface import Analysis


@dataclass(frozen=True)
class BitMap:
    """Where a codec spends the bits of its main latent: `map` has a byte a position, of 255 for `most` bits, over all channels.

    left, top, width, height: of the map, in shares of what is shown of the picture. shares: of the rate, by stream. grid: rows
    and columns of the regions that the codec adapts to, which divide the map: the picture with its padding.
    """

    codec: str
    bpp: float
    rows: int
    columns: int
    left: float
    top: float
    width: float
    height: float
    most: float
    map: str
    shares: dict[str, float]
    grid: tuple[int, int] | None


@dataclass(frozen=True)
class Channel:
    """The channel of the latent that varies most, as Ballé 2018, figure 2 has it: `maps` by name, base64 of h * w bytes.

    most: by name, what a byte of 255 stands for; 0 is at 0 for the scales, at 128 for what has a sign.
    """

    codec: str
    channel: int
    rows: int
    columns: int
    maps: dict[str, str]
    most: dict[str, float]


def _bytes(levels: Tensor) -> str:
    return base64.b64encode(levels.round().clamp(0, 255).byte().contiguous().numpy().tobytes()).decode()


def bit_map(codec: str, bundle: Bundle, found: Analysis, original: Tensor, window: tuple[int, int, int, int]) -> BitMap:
    """The map of a codec over a part of a picture.

    codec: its name. found: the bundle's analysis of original, uint8 [3, H, W]. window: left, top, width, height in pixels.
    """
    left, top, width, height = window
    total = float(sum(bits.sum() for bits in found.bits.values()))
    bits, stride = found.bits["y"], bundle.model.stride
    most = max(float(bits.max()), 1e-6)
    padded_height, padded_width = (-(-side // stride) * stride for side in original.shape[1:])
    grid = chosen_grid(bundle, None)
    return BitMap(
        codec, total / original[0].numel(), bits.size(0), bits.size(1),
        -left / width, -top / height, padded_width / width, padded_height / height,
        most, _bytes(255 * bits / most), {stream: float(of.sum()) / total for stream, of in found.bits.items()},
        None if grid is None else (grid.rows, grid.cols),
    )  # fmt: skip


def main_channel(codec: str, found: Analysis) -> Channel:
    """The channel of a codec that varies most; for one whose main latent is coded by Gaussians."""
    y, scales = found.values["y"], found.scales["y"]
    channel = int(y.flatten(1).var(1).argmax())
    value, scale = y[channel], scales[channel].clamp(min=MIN_SCALE)  # which they are coded with
    mean = found.means["y"][channel] if "y" in found.means else 0.0
    maps, most = {}, {}
    for name, tensor, signed in (("ŷ", value, True), ("σ", scale, False), ("(ŷ − μ) / σ", (value - mean) / scale, True)):
        most[name] = max(float(tensor.abs().max()), 1e-6)
        maps[name] = _bytes(128 + 127 * tensor / most[name] if signed else 255 * tensor / most[name])
    return Channel(codec, channel, y.size(1), y.size(2), maps, most)
