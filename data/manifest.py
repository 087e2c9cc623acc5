"""The record of a folder of maps: what they were made from, how, by which versions; a line a map.

Each shard has a file of its own, so that shards share nothing: `manifest.jsonl`, or `manifest-00003-of-00016.jsonl`. Its
first line says what all maps of the folder have in common: source, settings, and the versions of the libraries that made
them (several where one was updated in between). The others are {"image", "sha256", "regions"}. While maps are made, lines
are appended as they come, by the process that made the map; at the end they are sorted, so that the same maps have the
same manifest.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from codec.types import UserError

FORMAT = 1
BEGINNING = b'{"format": 1, "settings": '  # of every manifest; other people's have this name, too


class Record(NamedTuple):
    """A map that is done: its picture's path below the root and SHA-256, and the number of its regions."""

    image: str
    sha256: str
    regions: int


def holds_maps(folder: Path) -> bool:
    """Whether it is a folder of maps: the PNG files below it are no pictures."""
    return any(_begins_well(path) for path in folder.glob("manifest*.jsonl"))


def _begins_well(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(BEGINNING)) == BEGINNING


def manifest_name(shard: tuple[int, int]) -> str:
    """The file of shard (index, count)."""
    index, count = shard
    return "manifest.jsonl" if count == 1 else f"manifest-{index:05d}-of-{count:05d}.jsonl"


def _lines(path: Path) -> list[dict[str, Any]]:
    """A manifest: what its maps have in common, then a record a map; lines that a kill cut off are left out."""
    try:
        if not _begins_well(path):
            raise ValueError(f"it does not begin with {BEGINNING.decode()}")
        with path.open() as file:
            head, *records = file
        return [json.loads(head), *(record for line in records if (record := _whole(line)) is not None)]
    except ValueError as error:
        raise UserError(
            f"{path} is no manifest of maps ({error}); expected what codec masks wrote; set data.regions.maps to a new folder, "
            "or remove this one"
        ) from None


def _whole(line: str) -> dict[str, Any] | None:
    """What a line holds; None of a part of one, after which another process may have gone on."""
    try:
        return json.loads(line) if line.endswith("\n") else None
    except ValueError:
        return None


def recorded(maps: Path) -> dict[str, Record]:
    """The maps that the manifests of a folder name, by picture."""
    records = (Record(**line) for path in sorted(maps.glob("manifest*.jsonl")) for line in _lines(path)[1:])
    return {record.image: record for record in records}


class Manifest:
    """The manifest of one shard, to be added to by the processes that make its maps.

    head: source, settings and versions. Raises UserError where the folder has maps with other settings.
    """

    def __init__(self, maps: Path, shard: tuple[int, int], head: dict[str, Any]):
        self.path = maps / manifest_name(shard)
        check_same(maps, head["source"], head["settings"])
        before, *records = _lines(self.path) if self.path.exists() else [{"versions": {}}]
        self._records, used = [Record(**record) for record in records], before["versions"]
        versions = {name: sorted({*used.get(name, []), now}) for name, now in head["versions"].items()}
        self._head = {"format": FORMAT, **head, "versions": versions}
        self._write()  # before the first map: by this file a folder is known to hold maps

    def _write(self) -> None:
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        lines = [self._head, *(record._asdict() for record in self._records)]
        temporary.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
        os.replace(temporary, self.path)

    def finish(self, made: Sequence[Record]) -> None:
        """Sort the lines, those of the maps made now among them; of several for one picture the last stays."""
        records = {record.image: record for record in (*self._records, *made)}
        self._records = [record for _, record in sorted(records.items())]
        self._write()


def append_record(manifest: Path, record: Record) -> None:
    """Append a line for a map that lies there, in one piece, since several processes append."""
    with manifest.open("a") as file:
        file.write(json.dumps(record._asdict(), sort_keys=True) + "\n")


def check_same(maps: Path, source: str, settings: dict[str, Any]) -> None:
    """Raise UserError where a folder has maps from another source, or of other settings than those given."""
    asked = json.loads(json.dumps({"source": source, **settings}))
    for path in sorted(maps.glob("manifest*.jsonl")):
        head = _lines(path)[0]
        before = {"source": head["source"], **head["settings"]}
        other = [f"{key} {before.get(key)}, now {value}" for key, value in asked.items() if before.get(key) != value]
        if other:
            raise UserError(
                f"{maps} holds maps of other settings ({'; '.join(other)}); expected the same; set data.regions.maps to a new "
                "folder, or remove this one"
            )
