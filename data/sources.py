"""Where training crops come from: folders of photographs, scikit-image's own, dead leaves.

A source has a length, and `crop(index, side, rng)`: uint8 [3, side, side]. One that was given `regions` cuts the map of
each crop with it: `crop_with_regions(index, side, rng)`.
"""

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from codec.types import UserError
from data.crops import draw_window, random_crop, smallest
from data.dead_leaves import DeadLeaves
from data.folders import list_images
from data.images import PictureCache, audit, read_image
from data.map_making import make_missing_maps, with_regions
from data.region_sources.source import RegionSource
from data.regions import ExactRegions, GridRegions, map_path, read_map

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


@runtime_checkable
class MappedSource(Source, Protocol):
    """A source that can cut a crop's map of regions with it, if it was given any."""

    @property
    def has_regions(self) -> bool: ...

    def crop_with_regions(self, index: int, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """What crop gives, and its map [side, side]: one integer for each region, not dense."""
        ...


def photograph_paths(split: str) -> list[Path]:
    """The files of scikit-image's photographs, split "train" or "test"."""
    package = find_spec("skimage")  # found, not imported: importing takes longer than reading them
    assert package is not None and package.origin is not None
    return [Path(package.origin).parent / "data" / name for name in PHOTOGRAPHS[split]]


def _check_regions(regions: object | None, source: str, kinds: Mapping[str, type]) -> None:
    """Raise UserError for regions that a source cannot have; kinds: those that it can, by their names in conf."""
    if regions is not None and not isinstance(regions, tuple(kinds.values())):
        raise UserError(
            f"regions from {type(regions).__name__} for {source}; expected {', '.join(kinds)} or none; set data/regions, or "
            "data/regions@data.sources.NAME.regions for one source of a mixture"
        )


class Photographs:
    """Crops of picture files, each crop at one of `scales`; the pictures decoded last are kept, up to 256 MiB."""

    def __init__(self, paths: Sequence[Path], scales: Sequence[float] = (1.0,), regions: GridRegions | None = None):
        if any(not 0 < scale <= 1 for scale in scales) or not len(scales):
            raise UserError(f"scales={list(scales)}; expected numbers above 0 and up to 1; set data.sources.*.scales")
        self.scales = list(scales)
        self._grid = regions
        self._cache = PictureCache()
        self._hold(paths)

    def _hold(self, paths: Sequence[Path]) -> None:
        # One array: a list of a million paths would be copied into every worker, as its reference counts change.
        self._paths = np.array([os.fsencode(path) for path in paths])

    def _path(self, index: int) -> Path:
        return Path(os.fsdecode(self._paths[index]))

    @property
    def has_regions(self) -> bool:
        return self._grid is not None

    def __len__(self) -> int:
        return len(self._paths)

    def load(self, index: int) -> Tensor:
        """Picture `index`, uint8 [3, H, W]."""
        image = self._cache.get(index)
        if image is None:
            image = read_image(self._path(index))
            self._cache.put(index, image)
        return image

    def crop(self, index: int, side: int, rng: np.random.Generator) -> Tensor:
        return random_crop(self.load(index), side, self.scales, rng)

    def crop_with_regions(self, index: int, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        assert self._grid is not None
        return self.crop(index, side, rng), self._grid.crop_map(side)


class Folder(Photographs):
    """Crops of the pictures below a folder; broken files and those smaller than `min_side` are named and left out.

    regions: None, a grid on each crop, or a source of maps. With maps the pictures are those that it covers, and
    make_maps and then check_maps come before the first crop.
    """

    def __init__(
        self,
        root: str | Path,
        min_side: int,
        scales: Sequence[float] = (1.0,),
        regions: RegionSource | GridRegions | None = None,
    ):
        _check_regions(
            regions, "a folder of pictures", {"coco_panoptic": RegionSource, "sam": RegionSource, "grid": GridRegions}
        )
        self.root, self.min_side = Path(root), min_side
        self.region_source = regions if isinstance(regions, RegionSource) else None
        self._maps = None if self.region_source is None else self.region_source.maps
        paths = list_images(self.root)
        grid = regions if isinstance(regions, GridRegions) else None
        super().__init__(audit(paths, min_side) if self._maps is None else paths, scales, grid)

    @property
    def has_regions(self) -> bool:
        return self._maps is not None or super().has_regions

    def relatives(self) -> list[str]:
        """The paths of the pictures below the root."""
        return [self._path(index).relative_to(self.root).as_posix() for index in range(len(self))]

    def make_maps(self) -> None:
        """Make the maps that are missing; nothing where there are all, or none are wanted.

        Raises UserError with the command to run where the set is not small.
        """
        if self.region_source is not None:
            make_missing_maps(self.region_source, self.root, self.relatives())

    def check_maps(self) -> None:
        """Leave out the pictures that are broken, too small or without a sound map; they are named in one warning.

        From here on paths are all that is held, and all that a worker process gets.
        """
        if self.region_source is not None:
            maps, names = self.region_source.maps, with_regions(self.region_source, self.relatives())
            self._hold(audit([self.root / name for name in names], self.min_side, [map_path(maps, name) for name in names]))
            self.region_source = None

    def _map_path(self, index: int) -> Path:
        assert self._maps is not None
        return map_path(self._maps, self._path(index).relative_to(self.root).as_posix())

    def load_map(self, index: int) -> Tensor:
        """The map of picture `index`, uint8 or int32 [H, W]."""
        key = ("map", index)
        ids = self._cache.get(key)
        if ids is None:
            ids = read_map(self._map_path(index))
            self._cache.put(key, ids)
        return ids

    def crop_with_regions(self, index: int, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self._maps is None:
            return super().crop_with_regions(index, side, rng)
        image, ids = self.load(index), self.load_map(index)
        height, width = image.shape[1:]
        if ids.shape != (height, width):
            raise UserError(
                f"{self._map_path(index)} is {ids.shape[1]}x{ids.shape[0]} and its picture {width}x{height}; expected the "
                "same size; remove it and run codec masks again"
            )
        window = draw_window(height, width, side, self.scales, rng)
        return window.cut_image(image), window.cut_map(ids)


class SkimagePhotographs(Photographs):
    """Crops of the photographs that scikit-image ships and the test set leaves out."""

    def __init__(self, scales: Sequence[float] = (1.0,), regions: GridRegions | None = None):
        _check_regions(regions, "the photographs that ship", {"grid": GridRegions})
        super().__init__(photograph_paths("train"), scales, regions)


class Leaves(DeadLeaves):
    """Crops of dead leaves; the pictures made last are kept, up to 256 MiB.

    num_pictures, size, seed, drawn: see DeadLeaves. regions: None, a grid on each crop, or the exact map of the leaves.
    """

    def __init__(
        self, num_pictures: int, size: int, seed: int, regions: ExactRegions | GridRegions | None = None, drawn: bool = False
    ):
        _check_regions(regions, "dead leaves", {"dead_leaves": ExactRegions, "grid": GridRegions})
        super().__init__(num_pictures, size, seed, drawn)
        self._regions = regions
        self._cache = PictureCache()

    @property
    def has_regions(self) -> bool:
        return self._regions is not None

    def crop(self, index: int, side: int, rng: np.random.Generator) -> Tensor:
        image = self._cache.get(index)
        if image is None:
            image = self.load(index)
            self._cache.put(index, image)
        return random_crop(image, side, (1.0,), rng)

    def crop_with_regions(self, index: int, side: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if isinstance(self._regions, GridRegions):
            return self.crop(index, side, rng), self._regions.crop_map(side)
        image, ids = self._cache.get(index), self._cache.get(("map", index))
        if image is None or ids is None:
            image, ids = self.load_with_regions(index)
            self._cache.put(index, image)
            self._cache.put(("map", index), smallest(ids))
        window = draw_window(self.size, self.size, side, (1.0,), rng)
        return window.cut_image(image), window.cut_map(ids)
