"""Regions from PNG maps that exist already, such as BSDS500's human segmentations: each value is a region."""

import fnmatch
import glob
import os
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from codec.types import UserError
from data.partition import merge_small
from data.region_sources.label_files import read_labels
from data.region_sources.source import RegionSource


class FolderRegions(RegionSource):
    """Maps found by name.

    pngs: their folder. pattern: how a map is named there after its picture, with {folder}, {stem} and wildcards:
    "{folder}/{stem}.png", or "{folder}/{stem}_*.png" where several people drew each picture. draw: None takes the first by
    name, a number draws one of them, each number others. maps, min_area, max_regions: as in RegionSource
    and data.partition.
    """

    name = "folder"

    def __init__(
        self, pngs: str | Path, pattern: str, draw: int | None, maps: str | Path, min_area: int, max_regions: int | None
    ):
        rules = {"min_area": min_area, "max_regions": max_regions}
        super().__init__(maps, rules, {"pattern": pattern, "draw": draw})
        self.pngs, self.pattern, self.draw = Path(pngs), pattern, draw
        self._files: np.ndarray | None = None
        try:
            pattern.format(folder="", stem="")
        except (KeyError, IndexError, ValueError):
            raise UserError(
                f"pattern={pattern}; expected a name with {{folder}} and {{stem}}, such as {{folder}}/{{stem}}_*.png; set "
                "data.regions.pattern"
            ) from None

    def prepare(self) -> None:
        if self._files is not None:
            return
        # Listed once and sorted: a search of the folder for each picture would take squared time.
        found = [path.relative_to(self.pngs).as_posix() for path in self.pngs.rglob("*") if path.suffix.lower() == ".png"]
        if not found:
            raise UserError(f"no PNG files in {self.pngs}; expected a map for each picture; set data.regions.pngs")
        self._files = np.array(sorted(os.fsencode(name) for name in found))

    def describe(self) -> str:
        assert self._files is not None
        return f"{len(self._files)} PNG files in {self.pngs}"

    def _find(self, relative: str) -> list[str]:
        """The files that the pattern names for a picture, sorted."""
        assert self._files is not None
        name = PurePosixPath(relative)
        parts = {"folder": glob.escape(name.parent.as_posix()), "stem": glob.escape(name.stem)}
        pattern = os.path.normpath(self.pattern.format(**parts))
        prefix = os.fsencode(pattern[: min((pattern.index(sign) for sign in "*?[" if sign in pattern), default=len(pattern))])
        first = np.searchsorted(self._files, prefix)
        last = np.searchsorted(self._files, prefix + b"\xff")
        return fnmatch.filter((os.fsdecode(file) for file in self._files[first:last]), pattern)

    def region_map(self, image: Path, relative: str) -> np.ndarray:
        files = self._find(relative)
        if not files:
            raise UserError(f"no map in {self.pngs}; expected one named {self.pattern}")
        place = 0 if self.draw is None else zlib.crc32(f"{self.draw} {relative}".encode()) % len(files)
        return merge_small(read_labels(self.pngs / files[place]), **self.rules)
