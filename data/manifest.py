"""The record of a folder of maps: what they were made from, how, by which versions; a line a map.

Each shard has a file of its own, so that shards share nothing: `manifest.jsonl`, or `manifest-00003-of-00016.jsonl`. Its
first line says what all maps of the folder have in common: source, settings, and the versions of the libraries that made
them (several where one was updated in between). The others are {"image", "sha256", "regions"}. While maps are made, lines
are appended as they come; at the end they are sorted, so that the same maps have the same manifest.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from codec.types import UserError

FORMAT = 1


class Record(NamedTuple):
    """A map that is done: its picture's path below the root and SHA-256, and the number of its regions."""

    image: str
    sha256: str
    regions: int


def manifest_name(shard: tuple[int, int]) -> str:
    """The file of shard (index, count)."""
    index, count = shard
    return "manifest.jsonl" if count == 1 else f"manifest-{index:05d}-of-{count:05d}.jsonl"


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is no manifest of maps ({error}); expected what codec masks wrote; remove the folder {path.parent} and run it "
        "again"
    )


def _read(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """The first line and the records of a manifest; a last line that a kill cut off is left out."""
    try:
        head, *lines = [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if head["format"] != FORMAT:
            raise ValueError(f"format {head['format']}")
        return head, [Record(**line) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None


def _read_head(path: Path) -> dict[str, Any]:
    """The first line of a manifest alone."""
    with path.open() as file:
        line = file.readline()
    try:
        return json.loads(line)
    except ValueError as error:
        raise _damaged(path, error) from None


def recorded(maps: Path) -> dict[str, Record]:
    """The maps that the manifests of a folder name, by picture."""
    return {record.image: record for path in sorted(maps.glob("manifest*.jsonl")) for record in _read(path)[1]}


class Manifest:
    """The manifest of one shard, open to add to.

    head: source, settings and versions. Raises UserError where the folder has maps with other settings.
    """

    def __init__(self, maps: Path, shard: tuple[int, int], head: dict[str, Any]):
        self._path = maps / manifest_name(shard)
        check_same(maps, head["source"], head["settings"])
        before, self._records = _read(self._path) if self._path.exists() else ({"versions": {}}, [])
        used = before["versions"]
        versions = {name: sorted({*used.get(name, []), now}) for name, now in head["versions"].items()}
        self._head = {"format": FORMAT, **head, "versions": versions}
        self._write()  # before the first map: by this file a folder is known to hold maps

    def _write(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        lines = [self._head, *(record._asdict() for record in self._records)]
        temporary.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
        os.replace(temporary, self._path)

    def add(self, record: Record) -> None:
        """Append a line."""
        self._records.append(record)
        with self._path.open("a") as file:
            file.write(json.dumps(record._asdict(), sort_keys=True) + "\n")

    def finish(self) -> None:
        """Sort the lines; of several for one picture the last stays."""
        self._records = [record for _, record in sorted({record.image: record for record in self._records}.items())]
        self._write()


def check_same(maps: Path, source: str, settings: dict[str, Any]) -> None:
    """Raise UserError where a folder has maps from another source, or of other settings than those given."""
    asked = json.loads(json.dumps({"source": source, **settings}))
    for path in sorted(maps.glob("manifest*.jsonl")):
        head = _read_head(path)
        before = {"source": head["source"], **head["settings"]}
        other = [f"{key} {before.get(key)}, now {value}" for key, value in asked.items() if before.get(key) != value]
        if other:
            raise UserError(
                f"{maps} holds maps of other settings ({'; '.join(other)}); expected the same; set data.regions.maps to a new "
                "folder, or remove this one"
            )
