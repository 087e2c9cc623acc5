"""Where the maps of a folder of pictures come from: what every source answers.

H W height and width of the picture.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.partition import check_rules


class RegionSource:
    """Where the maps of a folder of pictures come from.

    maps: the folder of maps. rules: what data.partition takes. options: what else the maps depend on and JSON can hold.
    Building one is cheap; what all pictures need, such as annotations, is read by `prepare`. It goes to other processes
    after that, by fork where there is such a thing: let it hold arrays, not many objects.
    """

    name: str  # in the manifest, and in conf/data/regions
    packages: Sequence[str] = ()  # whose versions the maps depend on
    in_processes = True  # whether several processes make maps faster than one

    def __init__(self, maps: str | Path, rules: dict[str, Any], options: dict[str, Any] | None = None):
        check_rules(**rules)
        self.maps, self.rules, self.options = Path(maps), rules, options or {}

    def prepare(self) -> None:
        """Read what all pictures need, once. Raises UserError where it is missing or damaged."""

    def describe(self) -> str:
        """What was read, in a few words. Comes after prepare."""
        return self.name

    def select(self, relatives: Sequence[str]) -> list[str]:
        """Those of the pictures (paths below their root) that this source knows; all, unless it says less.

        Comes after prepare. Raises UserError where it knows none.
        """
        return list(relatives)

    def asked(self) -> dict[str, Any]:
        """What the maps depend on, as far as it is known before prepare."""
        return {**self.rules, **self.options}

    def settings(self) -> dict[str, Any]:
        """All that the maps depend on, as JSON can hold it; files by their name and hash. Comes after prepare."""
        return self.asked()

    def region_map(self, image: Path, relative: str) -> np.ndarray:
        """The map of one picture, integers [H, W], ids dense from 0. Comes after prepare.

        Raises UserError where this picture has none; the others still get theirs.
        """
        raise NotImplementedError
