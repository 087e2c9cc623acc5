"""Regions of a picture: averages of features over them, and prototypes back to every position.

B batch, C channels, H W height and width of the picture, h w of a feature map, K regions of the picture that has most.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.layers.mixed_precision import at_least_float32
from codec.types import UserError

AREA_FLOOR = 0.0005  # the published code adds it to the area of each region


MAX_CELLS = 255  # on each side of a grid: a file has a byte for each


class Grid(NamedTuple):
    """The uniform division into rows x cols cells, at any resolution: what coding uses, since the decoder has no map."""

    rows: int
    cols: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its prototypes."""
        return self.rows, self.cols

    @property
    def present(self) -> None:
        """Every cell is there."""
        return None

    def at(self, stride: int) -> "Grid":
        """The same cells at 1 / stride."""
        return self

    def pool(self, features: Tensor) -> Tensor:
        """The mean of features [B, C, h, w] over each cell, [B, C, rows, cols] in float32."""
        return F.adaptive_avg_pool2d(at_least_float32(features), self.shape)

    def expand(self, prototypes: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] with size (h, w): at each position the prototype of its cell."""
        return F.interpolate(prototypes, size, mode="nearest")


def read_grid(text: str, setting: str) -> Grid:
    """The grid that a text such as 4x4 names; setting: what the user sets to it, for messages.

    Raises UserError for another text, and for a grid that no file can name.
    """
    rows, _, cols = text.partition("x")
    if not all(side.isdecimal() and len(side) <= len(str(MAX_CELLS)) for side in (rows, cols)):
        raise UserError(f"{setting} {text[:20]}; expected rows and columns, such as 4x4; say {setting} 4x4")
    grid = Grid(int(rows), int(cols))
    check_grid(grid)
    return grid


def check_grid(grid: Grid) -> None:
    """Raise UserError for a grid that no file can name."""
    if not all(1 <= cells <= MAX_CELLS for cells in grid):
        raise UserError(f"a grid of {grid.rows}x{grid.cols} regions; expected 1 to {MAX_CELLS} on each side; set such a grid")


class RegionMap:
    """A map of regions for each picture of a batch, with a number of regions of its own for each.

    ids: int64 [B, h, w]; num_regions: K, more than any id. A region without a position has no prototype worth coding.
    """

    def __init__(self, ids: Tensor, num_regions: int):
        self.ids = ids
        self.num_regions = num_regions
        first = num_regions * torch.arange(len(ids), device=ids.device)
        self._rows = (ids + first[:, None, None]).flatten()  # each position's row in a table of all pictures' regions
        ones = torch.ones_like(self._rows, dtype=torch.float32)
        self._areas = ones.new_zeros(len(ids) * num_regions).index_add_(0, self._rows, ones)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of its prototypes."""
        return self.num_regions, 1

    @property
    def present(self) -> Tensor:
        """Which regions have a position, bool [B, 1, K, 1]."""
        return (self._areas > 0).view(len(self.ids), 1, self.num_regions, 1)

    def at(self, stride: int) -> "RegionMap":
        """The map at 1 / stride: the top left id of each square, as nearest-neighbour resizing takes it."""
        return RegionMap(self.ids[:, ::stride, ::stride], self.num_regions)

    def pool(self, features: Tensor) -> Tensor:
        """The mean of features [B, C, h, w] over each region, [B, C, K, 1] in float32; zero where a region is absent."""
        batch, channels = features.shape[:2]
        positions = at_least_float32(features).permute(0, 2, 3, 1).reshape(-1, channels)
        sums = positions.new_zeros(len(self._areas), channels).index_add_(0, self._rows, positions)
        means = sums / (self._areas + AREA_FLOOR).to(sums)[:, None]
        return means.view(batch, self.num_regions, channels, 1).transpose(1, 2)

    def expand(self, prototypes: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] with size (h, w), that of the map: at each position the prototype of its region."""
        assert tuple(self.ids.shape[1:]) == size
        table = prototypes.transpose(1, 2).reshape(len(self._areas), -1)
        return table.index_select(0, self._rows).view(*self.ids.shape, -1).permute(0, 3, 1, 2)


Regions = Grid | RegionMap
