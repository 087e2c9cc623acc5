"""Cutting a picture and its region map alike: the same window, the same scale, the same mirror, centre upon centre.

H W height and width of a picture.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codec.types import UserError


class Window(NamedTuple):
    """What a crop shows: the square of `size` pixels at (top, left), brought to `side` pixels, mirrored or not."""

    top: int
    left: int
    size: int
    side: int
    mirrored: bool

    def cut_image(self, image: Tensor) -> Tensor:
        """The crop [3, side, side] of a picture [3, H, W]. Only what it shows is scaled, without aliasing."""
        cut = image[:, self.top : self.top + self.size, self.left : self.left + self.size]
        if self.size != self.side:
            cut = F.interpolate(cut[None], (self.side, self.side), mode="bilinear", antialias=True)[0]
        return cut.flip(2) if self.mirrored else cut

    def cut_map(self, ids: Tensor) -> Tensor:
        """The crop [side, side] of a map [H, W]: each pixel takes the id that lies under its centre."""
        cut = ids[self.top : self.top + self.size, self.left : self.left + self.size].numpy()
        if self.size != self.side:
            # Pixel i is centred on (i + 1/2) * size / side, as in interpolate; in integers, so that no rounding moves it.
            at = (2 * np.arange(self.side) + 1) * self.size // (2 * self.side)
            cut = cut.take(at, 0).take(at, 1)  # by NumPy: torch takes eight times as long for integers
        crop = torch.from_numpy(cut)
        return crop.flip(1) if self.mirrored else crop


def draw_window(height: int, width: int, side: int, scales: Sequence[float], rng: np.random.Generator) -> Window:
    """A random window on a picture of that size, shrunk by one of `scales`, at most 1; mirrored half the time.

    height, width: of the picture in pixels. side: of the crop. rng: all that is random. A scale at which the picture would be
    smaller than the crop is raised until it fits.
    Raises UserError where the picture itself is smaller.
    """
    shortest = min(height, width)
    if shortest < side:
        raise UserError(f"data.crop={side} from a picture of {width}x{height}; expected a smaller crop; set data.crop")
    size = min(shortest, round(side / rng.choice(scales)))
    top, left = (int(rng.integers(0, length - size + 1)) for length in (height, width))
    return Window(top, left, size, side, bool(rng.random() < 0.5))


def random_crop(image: Tensor, side: int, scales: Sequence[float], rng: np.random.Generator) -> Tensor:
    """The crop [3, side, side] that a random window shows of the picture [3, H, W]."""
    height, width = image.shape[1:]
    return draw_window(height, width, side, scales, rng).cut_image(image)


def smallest(ids: Tensor) -> Tensor:
    """Ids from 0 on in the smallest type that holds them: to be kept, or to go from process to process."""
    largest = int(ids.max())
    return ids.to(next(kind for kind in (torch.uint8, torch.int16, torch.int32) if largest <= torch.iinfo(kind).max))
