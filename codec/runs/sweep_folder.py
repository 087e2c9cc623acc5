"""The folder of a sweep: which runs its points are, for whoever sees the folder."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from codec.runs.point import Point


class Listed(NamedTuple):
    """A point as its sweep lists it: its number from 1, its λ as text, the folder of its run."""

    number: int
    lmbda: str
    folder: Path


def _row(line: str) -> dict[str, Any] | None:
    """A point as its line says it; None of a line that is written now, or was cut."""
    if not line.endswith("\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None


class SweepFolder:
    """A folder with `points.jsonl`, a line a point in their order; points are only ever added."""

    def __init__(self, path: Path):
        self.path = path
        self.list = path / "points.jsonl"
        self.plot = path / "rd.png"

    def add(self, points: Iterable[Point]) -> None:
        """List points, each run once, by as many processes as want to."""
        known = {listed.folder for listed in self.points()}
        self.path.mkdir(parents=True, exist_ok=True)
        lines = "" if self._ends_whole() else "\n"
        for point in points:
            folder = os.path.relpath(point.folder.absolute(), self.path.absolute())  # wherever the disk is mounted
            if self._at(folder) not in known:
                lines += json.dumps({"point": point.number, "lmbda": point.lmbda, "folder": folder}) + "\n"
        with self.list.open("a") as file:
            file.write(lines)

    def _ends_whole(self) -> bool:
        """Whether the list's last line is one, not cut as by a disk that was full."""
        return not self.list.exists() or self.list.read_bytes()[-1:] in (b"", b"\n")

    def points(self) -> list[Listed]:
        """The points by their numbers, each run once; none where there is no sweep."""
        if not self.list.exists():
            return []
        rows = [row for line in self.list.read_text().splitlines(keepends=True) if (row := _row(line)) is not None]
        listed = [Listed(row["point"], row["lmbda"], self._at(row["folder"])) for row in rows]
        return sorted({one.folder: one for one in reversed(listed)}.values())

    def _at(self, folder: str) -> Path:
        return Path(os.path.normpath(self.path / folder))
