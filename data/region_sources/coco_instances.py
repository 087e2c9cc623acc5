"""Regions from COCO's instance annotations: polygons, RLE, compressed RLE, crowds (Lin et al. 2014).

A JSON of COCO train2017's size (860,000 annotations) becomes arrays of about 450 MB that all processes share.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from codec.types import UserError
from data.partition import partition
from data.region_sources.coco_json import Pictures, Ragged, read_coco
from data.region_sources.source import RegionSource

MIN_POLYGON = 6  # numbers: two corners enclose nothing, and pycocotools takes four numbers for a box
MAX_REACH = 4  # times the picture's longer side: pycocotools visits each point of an edge, wherever it runs


def run_lengths(counts: bytes) -> np.ndarray:
    """The lengths of the runs of a compressed RLE, from background on, column by column; int64.

    Base 32 in bytes from 48 on, low digits first: bit 5 says that more follow, bit 4 of the last one is the sign. From the
    fourth number on they are differences to the number before the last (pycocotools, rleFrString).
    """
    digits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    digits = digits[: ends[-1] + 1 if len(ends) else 0]
    place = np.arange(len(digits)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((digits & 31) << 5 * place, starts) if len(ends) else digits
    numbers -= np.where(digits[ends] & 16, 1 << 5 * (place[ends] + 1), 0)
    for series in (numbers[1::2], numbers[2::2]):
        np.cumsum(series, out=series)
    return numbers


def _parts(segmentation: Any, odd: set[str]) -> Iterator[dict[str, Any] | list[float]]:
    """The parts of a segmentation, however they are nested: RLE, or polygons as numbers x, y, x, y, ...

    odd: gets what COCO's own files do not have.
    """
    if not segmentation:
        odd.add("have no segmentation")
    elif isinstance(segmentation, dict):
        yield segmentation
    elif not isinstance(segmentation, list):
        raise TypeError(f"a segmentation that is {type(segmentation).__name__}")
    elif not isinstance(segmentation[0], (list, dict)):
        odd.add("have one polygon where several are expected")
        yield segmentation
    elif all(isinstance(corner, list) and len(corner) == 2 for corner in segmentation) and len(segmentation) > 2:
        odd.add("have corners as pairs")
        yield [number for corner in segmentation for number in corner]
    else:
        for part in segmentation:
            if isinstance(part, dict):
                odd.add("have RLE in a list")
                yield part
            elif part and isinstance(part[0], list):
                odd.add("have corners as pairs")
                yield [number for corner in part for number in corner]
            else:
                yield part


class _Packer:
    """Takes annotations one by one and holds their segmentations as arrays.

    A part is a polygon (float64 coordinates, as pycocotools computes in them) or a compressed RLE, as bytes.
    """

    def __init__(self) -> None:
        self.bytes = bytearray()
        self.part_lengths, self.part_is_rle, self.part_sizes = array("q"), bytearray(), array("q")
        self.num_parts, self.image_ids, self.ids = array("q"), array("q"), array("q")
        self.odd: Counter[str] = Counter()

    def add(self, annotation: dict[str, Any]) -> None:
        self.image_ids.append(int(annotation["image_id"]))
        if "id" in annotation:
            self.ids.append(int(annotation["id"]))
        found: set[str] = set()
        before = len(self.part_is_rle)
        for part in _parts(annotation.get("segmentation"), found):
            if isinstance(part, dict):
                self._add_rle(part)
            elif len(part) < MIN_POLYGON or len(part) % 2:
                found.add("have polygons that enclose nothing")
            else:
                self._add_part(array("d", part).tobytes(), False, (0, 0))
        self.num_parts.append(len(self.part_is_rle) - before)
        self.odd.update(found)

    def _add_rle(self, rle: dict[str, Any]) -> None:
        counts, size = rle["counts"], rle["size"]
        if not isinstance(counts, str):
            counts = coco_mask.frPyObjects(rle, *size)["counts"].decode()
        self._add_part(counts.encode(), True, size)

    def _add_part(self, content: bytes, is_rle: bool, size: Sequence[int]) -> None:
        height, width = size
        self.bytes += content
        self.part_lengths.append(len(content))
        self.part_is_rle.append(is_rle)
        self.part_sizes.extend((height, width))


class CocoInstances(RegionSource):
    """One region for each object, and one for what is left. A crowd is one object.

    annotations: the JSON file, such as annotations/instances_train2017.json. maps, min_area, max_regions, leftover: as in
    RegionSource and data.partition.
    """

    name = "coco_instances"
    packages = ("pycocotools",)

    def __init__(self, annotations: str | Path, maps: str | Path, min_area: int, max_regions: int | None, leftover: str):
        super().__init__(maps, {"min_area": min_area, "max_regions": max_regions, "leftover": leftover})
        self.annotations = Path(annotations)
        self._pictures: Pictures | None = None

    def prepare(self) -> None:
        if self._pictures is not None:
            return
        packer = _Packer()
        entries, self._sha256 = read_coco(self.annotations, packer.add)
        self._pictures = Pictures(entries)
        self._parts = Ragged(np.frombuffer(packer.bytes, dtype=np.uint8), packer.part_lengths)
        self._is_rle = np.frombuffer(packer.part_is_rle, dtype=bool)
        self._sizes = np.array(packer.part_sizes).reshape(-1, 2)
        self._starts = np.concatenate([[0], np.cumsum(packer.num_parts, dtype=np.int64)])
        places = self._pictures.places_of_ids(np.array(packer.image_ids))
        order = np.argsort(places, kind="stable")
        without = np.count_nonzero(places < 0)
        counts = np.bincount(places[places >= 0], minlength=len(self._pictures))
        self._of_picture = Ragged(order[without:], counts)
        num_twice = len(packer.ids) - len(np.unique(np.array(packer.ids)))
        self._odd = [
            *self._pictures.odd,
            *self._pictures.odd_annotations(places),
            *(f"{count} annotations {what}" for what, count in sorted(packer.odd.items())),
            *([f"{num_twice} annotations share their id with another"] * (num_twice > 0)),
        ]

    def describe(self) -> str:
        assert self._pictures is not None
        found = f"{len(self._pictures)} pictures and {len(self._starts) - 1} annotations in {self.annotations}"
        return "; ".join([found, *self._odd])

    def select(self, relatives: Sequence[str]) -> list[str]:
        assert self._pictures is not None
        return self._pictures.select(relatives, self.annotations)

    def settings(self) -> dict[str, Any]:
        return {**self.asked(), "annotations": self.annotations.name, "annotations_sha256": self._sha256}

    def region_map(self, image: Path, relative: str) -> np.ndarray:
        assert self._pictures is not None
        place = self._pictures.place(relative)
        assert place is not None
        height, width = int(self._pictures.heights[place]), int(self._pictures.widths[place])
        masks = [self._mask(annotation, height, width) for annotation in self._of_picture[place]]
        return partition(masks, height, width, **self.rules)

    def _mask(self, annotation: int, height: int, width: int) -> np.ndarray:
        """The mask of an annotation [H, W]: the union of its parts, empty where it has none."""
        parts = range(self._starts[annotation], self._starts[annotation + 1])
        if not parts:
            return np.zeros((height, width), dtype=np.uint8)
        rles = [self._parts[part].tobytes() for part in parts if self._is_rle[part]]
        for counts, part in zip(rles, (part for part in parts if self._is_rle[part]), strict=True):
            self._check_rle(counts, self._sizes[part].tolist(), height, width)
        polygons = [np.frombuffer(self._parts[part].tobytes()) for part in parts if not self._is_rle[part]]
        if not all((np.abs(polygon) <= MAX_REACH * max(height, width)).all() for polygon in polygons):  # nor is NaN
            raise UserError(f"a polygon far outside its picture of {width}x{height} in {self.annotations}; expected it inside")
        whole = [{"size": [height, width], "counts": counts} for counts in rles]
        return coco_mask.decode(coco_mask.merge(whole + (coco_mask.frPyObjects(polygons, height, width) if polygons else [])))

    def _check_rle(self, counts: bytes, size: list[int], height: int, width: int) -> None:
        """Raise UserError for an RLE that does not fill its picture: pycocotools would read beyond it, or not end."""
        runs = run_lengths(counts)
        if size != [height, width] or runs.min(initial=0) < 0 or runs.sum() != height * width:
            raise UserError(
                f"an RLE of {size[1]}x{size[0]}, {runs.sum()} pixels long, in {self.annotations}; expected its picture's "
                f"{width}x{height}"
            )
