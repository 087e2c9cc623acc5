"""COCO's annotation files as packed arrays: 450 MB of JSON become a few arrays that processes share, not millions of objects.

A file is parsed once, and no more than one entry of it is ever held as Python objects.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from codec.types import UserError, printable

SPACE = re.compile(r"[ \t\n\r]*")


class Entry(NamedTuple):
    """A picture as an annotation file lists it."""

    id: int
    name: str
    height: int
    width: int


def read_entries(path: Path, handlers: Mapping[str, Callable[[dict[str, Any]], None]]) -> str:
    """Hand each entry of the lists that an annotation file holds to the handler of its list; the file's SHA-256.

    Raises UserError for a file that is missing, no JSON, without one of the lists, or whose entries lack what a handler takes.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(
            f"no annotations at {path}; expected COCO's JSON file; set data.regions.annotations to where it lies"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    try:
        text = content.decode("utf-8-sig")  # Windows programs begin it with a mark
        del content  # as large as all the rest
        _walk(text, handlers)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is no annotation file of COCO's layout ({type(error).__name__}: {error}); expected a JSON object with the "
            f"lists {' and '.join(handlers)}; set data.regions.annotations"
        ) from None
    return digest


def _walk(text: str, handlers: Mapping[str, Callable[[dict[str, Any]], None]]) -> None:
    decode, found = json.JSONDecoder().raw_decode, set()
    place = _skip(text, 0, "{")
    while text[place] != "}":
        key, place = decode(text, _skip(text, place + 1, '"'))
        place = _skip(text, place, ":") + 1
        if key in handlers:
            place, handler = _skip(text, place, "["), handlers[key]
            found.add(key)
            if text[_skip(text, place + 1)] == "]":
                place = _skip(text, place + 1)
            while text[place] != "]":
                entry, place = decode(text, _skip(text, place + 1, "{"))
                handler(entry)
                place = _skip(text, place, ",]")
            place += 1
        else:
            _, place = decode(text, _skip(text, place))
        place = _skip(text, place, ",}")
    if found != handlers.keys():
        raise ValueError(f"no {' and '.join(sorted(handlers.keys() - found))}")


def _skip(text: str, place: int, expected: str = "") -> int:
    """The place of the next character that is no space. Raises ValueError unless it is one of those expected, if any."""
    match = SPACE.match(text, place)
    assert match is not None
    place = match.end()
    if place == len(text) or expected and text[place] not in expected:
        raise ValueError(f"no {' or '.join(expected) or 'value'} at character {place}")
    return place


def read_coco(path: Path, add_annotation: Callable[[dict[str, Any]], None]) -> tuple[list[Entry], str]:
    """The pictures that an annotation file lists, and its SHA-256; each annotation is handed on."""
    entries: list[Entry] = []

    def add_image(image: dict[str, Any]) -> None:
        entries.append(Entry(int(image["id"]), str(image["file_name"]), int(image["height"]), int(image["width"])))

    digest = read_entries(path, {"images": add_image, "annotations": add_annotation})
    return entries, digest


def some(names: Iterable[str]) -> str:
    """The first of several names, as a part of one line."""
    first = sorted(names)
    return printable(", ".join(first[:4]) + (", ..." if len(first) > 4 else ""))


class Ragged:
    """Rows of unlike length in one array: row i is values[starts[i] : starts[i + 1]]."""

    def __init__(self, values: np.ndarray, lengths: Iterable[int]):
        self.values = values
        self.starts = np.concatenate([[0], np.cumsum(np.fromiter(lengths, np.int64))])

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.starts[row] : self.starts[row + 1]]


UNLISTED, CONTESTED = -1, -2  # in place of a picture's place


class Pictures:
    """The pictures that an annotation file lists, by their place among them, as arrays.

    A file that is listed under several ids is one picture. Files that share an id are left out, and so is one that is listed
    with several sizes: no annotation can be told to be theirs. odd: what was found of that, in words with counts.
    """

    def __init__(self, entries: Sequence[Entry]):
        sizes: dict[str, set[tuple[int, int]]] = {}
        names: dict[int, set[str]] = {}
        for entry in entries:
            sizes.setdefault(entry.name, set()).add((entry.height, entry.width))
            names.setdefault(entry.id, set()).add(entry.name)
        contested = {name for of_id in names.values() if len(of_id) > 1 for name in of_id}
        unsure = {name for name, of_name in sizes.items() if len(of_name) > 1} - contested
        places = {name: place for place, name in enumerate(sizes)}
        self.heights, self.widths = np.array([min(of_name) for of_name in sizes.values()], dtype=np.int64).reshape(-1, 2).T
        self._ids = np.array(sorted(names), dtype=np.int64)
        of_ids = [CONTESTED if of_id & (contested | unsure) else places[min(of_id)] for _, of_id in sorted(names.items())]
        self._places = np.array(of_ids, dtype=np.int64)
        packed = np.array([os.fsencode(name) for name in sizes])
        self._by_name = np.argsort(packed)
        self._names = packed[self._by_name]
        self._left_out = np.array([name in contested or name in unsure for name in sizes], dtype=bool)
        num_further = sum(map(len, names.values())) - len(sizes)
        self.odd = [
            *([f"{len(contested)} pictures share their id with others and are left out ({some(contested)})"] * bool(contested)),
            *([f"{len(unsure)} pictures are listed with several sizes and left out ({some(unsure)})"] * bool(unsure)),
            *([f"{num_further} ids are further ones of pictures that have one"] * bool(num_further)),
        ]

    def __len__(self) -> int:
        return len(self.heights)

    def leave_out(self, places: Sequence[int]) -> list[str]:
        """Leave out the pictures of these places; their names."""
        self._left_out[places] = True
        return [os.fsdecode(name) for name, place in zip(self._names, self._by_name, strict=True) if place in set(places)]

    def place(self, relative: str) -> int | None:
        """The place of a picture, by its path below the root or else by its name alone; None where it is not listed."""
        for name in (relative, PurePosixPath(relative).name):
            wanted = os.fsencode(name)
            at = int(np.searchsorted(self._names, wanted)) if len(self) else 0
            if at < len(self) and self._names[at] == wanted:
                place = int(self._by_name[at])
                return None if self._left_out[place] else place
        return None

    def places_of_ids(self, ids: np.ndarray) -> np.ndarray:
        """The place of each picture id; UNLISTED, or CONTESTED where its picture is left out."""
        if not len(self):
            return np.full(len(ids), UNLISTED)
        at = np.searchsorted(self._ids, ids).clip(max=len(self._ids) - 1)
        return np.where(self._ids[at] == ids, self._places[at], UNLISTED)

    def odd_annotations(self, places: np.ndarray) -> list[str]:
        """What places_of_ids says of the annotations that belong to no picture, in words with counts."""
        unlisted, contested = (int(np.count_nonzero(places == state)) for state in (UNLISTED, CONTESTED))
        return [
            *([f"{unlisted} annotations are of pictures that are not listed"] * bool(unlisted)),
            *([f"{contested} annotations are of pictures that are left out"] * bool(contested)),
        ]

    def select(self, relatives: Sequence[str], annotations: Path) -> list[str]:
        """Those of the pictures that are listed.

        Raises UserError where none is, or one entry stands for two pictures.
        """
        listed = {name: place for name in relatives if (place := self.place(name)) is not None}
        if not listed:
            raise UserError(
                f"none of {len(relatives)} pictures, such as {relatives[0]}, is listed in {annotations}, which has "
                f"{len(self)}; expected the annotations of these pictures; set data.regions.annotations or "
                "data.sources.folder.root"
            )
        seen: dict[int, str] = {}
        for name, place in listed.items():
            if (other := seen.setdefault(place, name)) != name:
                raise UserError(
                    f"{other} and {name} are one entry of {annotations}; expected a picture for each; set "
                    "data.sources.folder.root to the folder of the annotated pictures"
                )
        return list(listed)
