"""A check of exact arithmetic: what a codec's entropy networks make of symbols that are always the same."""

import zlib

import torch
from torch import Tensor

from codec.entropy.density import Density
from codec.entropy.gaussian import GaussianPrior
from codec.layers.exact import UNIT

LARGEST = 32  # of the symbols: as in real pictures, and enough for errors of float32 to move values of the grid


class CheckCoder:
    """A LatentCoder that makes symbols up, and keeps the CRC-32 of the scales and means that it is given in return."""

    def __init__(self) -> None:
        self.crc = 0
        self._made = 0

    def note(self, values: Tensor) -> None:
        """Take values into the CRC, as int64 in units of the grid: zeros of either sign are one."""
        units = torch.round(values.double() / UNIT).long().contiguous()
        self.crc = zlib.crc32(units.cpu().numpy().astype("<i8").tobytes(), self.crc)

    def _symbols(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """From -32 to 31, by the golden ratio's multiples: spread evenly, and not alike from place to place."""
        places = torch.arange(self._made, self._made + torch.Size(shape).numel())
        self._made += len(places)
        return ((places * 2654435769 % 2**32 >> 26) - LARGEST).float().reshape(shape).to(device)

    def factorized(
        self, name: str, z: Tensor | None, shape: tuple[int, ...], density: Density, present: Tensor | None = None
    ) -> Tensor:
        medians = density.medians().reshape(-1, *[1] * (len(shape) - 1))
        return self._symbols((1, *shape), medians.device) + medians

    def gaussian(
        self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior, first_channel: int = 0
    ) -> Tensor:
        self.note(scales)
        symbols = self._symbols(tuple(scales.shape), scales.device)
        if means is None:
            return symbols
        self.note(means)
        return symbols + means
