"""Whether a .lic file is what a command would write, by its header and its size: no picture is decoded."""

from pathlib import Path
from typing import NamedTuple

import torch

from codec.files.coding import chosen_grid, chosen_level, levels_of
from codec.files.container import read_container, read_file
from codec.files.level_map import most_levels_more
from codec.files.loaded import Bundle
from codec.files.quality import Wanted, level_of
from codec.layers.regions import Grid
from codec.types import UserError


class Kept(NamedTuple):
    """What a command that goes on would write, by which the files are checked that it keeps.

    bundle, grid, wanted: as codec.files.quality.begin_wanted. offset: of quality, by which maps beside them make places better;
    None where there are no maps.
    """

    bundle: Bundle
    grid: Grid | None
    wanted: Wanted
    offset: float | None

    def fault_of(self, path: Path) -> str | None:
        """Why a file is of another codec or wish, in words that follow "is there already,"; None where nothing tells."""
        if not path.is_file():  # but a folder, a pipe, which would be waited for, or a link to nothing
            return "and no file"
        try:
            data = read_file(path)
            file = read_container(data)
        except UserError:
            return "and not by this codec"
        if file.fingerprint != self.bundle.fingerprint:
            return "and not by this codec"
        if file.grid != chosen_grid(self.bundle, self.grid):
            return "for another grid of regions"
        if file.level_map is not None and self.offset is None:
            return "with a map of levels, and none is asked for now"
        most = self.wanted.most_bytes(file.height * file.width)
        if most is not None:
            return f"with {len(data)} bytes, and at most {most} are asked for now" if len(data) > most else None
        if self.wanted.psnr is not None or self.bundle.model.levels is None:
            return None
        level = chosen_level(self.bundle, level_of(self.bundle, self.wanted.quality)) or 0
        if self.offset is None:
            return None if file.level == level else f"at level {file.level}, and {level} is asked for now"
        count, highest = self.bundle.model.levels.count, int(torch.as_tensor(levels_of(self.bundle, file)).max())
        most = min(level + most_levels_more(self.offset, count), count - 1)
        if file.level < level or highest > most:
            return f"at level {file.level} to {highest}, and {level} to {most} is asked for now"
        return None

    @property
    def unchecked(self) -> str:
        """What fault_of cannot tell of the files that it lets pass, in words that follow "found there"."""
        within = (self.wanted.bpp, self.wanted.max_bytes) != (None, None)
        left = ["their PSNR"] * (self.wanted.psnr is not None) + ["whether larger ones would do"] * within
        words = " and ".join(left + ["their maps of quality"] * (self.offset is not None))
        return f" ({words} not checked)" if words else ""
