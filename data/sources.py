"""Where training crops come from: folders of photographs, scikit-image's own, dead leaves.

A source has a length, and `crop(index, side, rng)`: uint8 [3, side, side].
"""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from codec.types import UserError
from data.dead_leaves import DeadLeaves
from data.images import PictureCache, audit, list_images, read_image

# Photographs that scikit-image ships (no download); their origin and licences: skimage.data's documentation.
PHOTOGRAPHS = {
    "test": ["astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"],
    # Not motorcycle_right: it is the stereo partner of a test picture. Not the scans of pages and drawings.
    "train": ["brick.png", "camera.png", "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png",
              "moon.png", "retina.jpg"],
}  # fmt: skip


class Source(Protocol):
    """A set of pictures to cut training crops from."""

    def __len__(self) -> int: ...

    def crop(self, index: int, side: int, rng: np.random.Generator) -> Tensor:
        """A random crop, uint8 [3, side, side], of picture `index`; a function of index and rng alone."""
        ...


def photograph_paths(split: str) -> list[Path]:
    """The files of scikit-image's photographs, split "train" or "test"."""
    package = find_spec("skimage")  # found, not imported: importing takes longer than reading them
    assert package is not None and package.origin is not None
    return [Path(package.origin).parent / "data" / name for name in PHOTOGRAPHS[split]]


def random_crop(image: Tensor, side: int, scales: Sequence[float], rng: np.random.Generator) -> Tensor:
    """A crop of `side` from the picture [3, H, W] shrunk by one of `scales`, at most 1; flipped half the time.

    Only the part that the crop shows is shrunk. A scale at which the picture would be smaller than the crop is raised
    until it fits. Raises UserError where the picture itself is smaller.
    """
    shortest = min(image.shape[1:])
    if shortest < side:
        height, width = image.shape[1:]
        raise UserError(f"data.crop={side} from a picture of {width}x{height}; expected a smaller crop; set data.crop")
    window = min(shortest, round(side / rng.choice(scales)))
    top, left = (int(rng.integers(0, size - window + 1)) for size in image.shape[1:])
    cut = image[:, top : top + window, left : left + window]
    if window != side:
        cut = F.interpolate(cut[None], (side, side), mode="bilinear", antialias=True)[0]
    return cut.flip(2) if rng.random() < 0.5 else cut


class Photographs:
    """Crops of picture files, each crop at one of `scales`; the pictures decoded last are kept, up to 256 MiB."""

    def __init__(self, paths: Sequence[Path], scales: Sequence[float] = (1.0,)):
        if any(not 0 < scale <= 1 for scale in scales) or not len(scales):
            raise UserError(f"scales={list(scales)}; expected numbers above 0 and up to 1; set data.sources.*.scales")
        # One array: a list of a million paths would be copied into every worker, as its reference counts change.
        self._paths = np.array([os.fsencode(path) for path in paths])
        self.scales = list(scales)
        self._cache = PictureCache()

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int) -> Tensor:
        """Picture `index`, uint8 [3, H, W]."""
        image = self._cache.get(index)
        if image is None:
            image = read_image(Path(os.fsdecode(self._paths[index])))
            self._cache.put(index, image)
        return image

    def crop(self, index: int, side: int, rng: np.random.Generator) -> Tensor:
        return random_crop(self.load(index), side, self.scales, rng)


class Folder(Photographs):
    """Crops of the pictures below a folder; broken files and those smaller than `min_side` are named and left out."""

    def __init__(self, root: str | Path, min_side: int, scales: Sequence[float] = (1.0,)):
        super().__init__(audit(list_images(Path(root)), min_side), scales)


class Shipped(Photographs):
    """Crops of the photographs that scikit-image ships and the test set leaves out."""

    def __init__(self, scales: Sequence[float] = (1.0,)):
        super().__init__(photograph_paths("train"), scales)


class Leaves(DeadLeaves):
    """Crops of dead leaves; the pictures made last are kept, up to 256 MiB."""

    def __init__(self, num_pictures: int, size: int, seed: int):
        super().__init__(num_pictures, size, seed)
        self._cache = PictureCache()

    def crop(self, index: int, side: int, rng: np.random.Generator) -> Tensor:
        image = self._cache.get(index)
        if image is None:
            image = self.load(index)
            self._cache.put(index, image)
        return random_crop(image, side, (1.0,), rng)
