"""Regions from COCO's panoptic annotations: a PNG and a JSON entry for each picture (Kirillov et al. 2019)."""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codec.types import UserError
from data.partition import settle
from data.region_sources.coco_json import Pictures, Ragged, read_coco, some
from data.region_sources.label_files import read_labels
from data.region_sources.source import RegionSource


class CocoPanoptic(RegionSource):
    """One region for each thing and each stuff, and one for what has no label.

    annotations: the JSON file, such as annotations/panoptic_train2017.json. pngs: the folder of its PNG files, whose ids are
    R + 256 G + 65536 B. maps, min_area, max_regions, leftover: as in RegionSource and data.partition.
    """

    name = "coco_panoptic"

    def __init__(
        self,
        annotations: str | Path,
        pngs: str | Path,
        maps: str | Path,
        min_area: int,
        max_regions: int | None,
        leftover: str,
    ):
        super().__init__(maps, {"min_area": min_area, "max_regions": max_regions, "leftover": leftover})
        self.annotations, self.pngs = Path(annotations), Path(pngs)
        self._pictures: Pictures | None = None

    def prepare(self) -> None:
        if self._pictures is not None:
            return
        image_ids, num_segments, segments = array("q"), array("q"), array("q")
        files: list[str] = []

        def add_annotation(annotation: dict[str, Any]) -> None:
            image_ids.append(int(annotation["image_id"]))
            files.append(annotation["file_name"])
            num_segments.append(len(annotation["segments_info"]))
            segments.extend(segment["id"] for segment in annotation["segments_info"])

        entries, self._sha256 = read_coco(self.annotations, add_annotation)
        annotated = set(image_ids)
        self._pictures = Pictures([entry for entry in entries if entry.id in annotated])
        self._of_picture = np.full(len(self._pictures), -1)
        places = self._pictures.places_of_ids(np.array(image_ids))
        self._of_picture[places[places >= 0]] = np.flatnonzero(places >= 0)
        self._files = np.array([name.encode() for name in files])
        self._segments = Ragged(np.array(segments), num_segments)
        left_out = self._pictures.leave_out(self._contradicted(places))
        num_bare = len({entry.id for entry in entries} - annotated)
        self._odd = [
            *self._pictures.odd,
            *self._pictures.odd_annotations(places),
            *([f"{len(left_out)} pictures have several annotations and are left out ({some(left_out)})"] * bool(left_out)),
            *([f"{num_bare} ids have no annotation"] * bool(num_bare)),
        ]

    def _contradicted(self, places: np.ndarray) -> list[int]:
        """The places of pictures that have several annotations which do not say the same."""
        seen: dict[int, int] = {}
        wrong = set()
        for annotation, place in enumerate(places.tolist()):
            first = seen.setdefault(place, annotation)
            if place >= 0 and first != annotation and self._said(first) != self._said(annotation):
                wrong.add(place)
        return sorted(wrong)

    def _said(self, annotation: int) -> tuple[bytes, set[int]]:
        return bytes(self._files[annotation]), set(self._segments[annotation].tolist())

    def describe(self) -> str:
        assert self._pictures is not None
        found = f"{len(self._pictures)} pictures and {len(self._segments.values)} segments in {self.annotations}"
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
        annotation = self._of_picture[place]
        path = self.pngs / self._files[annotation].decode()
        labels = read_labels(path)
        listed = np.unique([0, *self._segments[annotation]])  # 0: no label
        places = np.searchsorted(listed, labels).clip(max=len(listed) - 1)
        strange = listed[places] != labels
        if strange.any():
            raise UserError(f"{path} has the id {labels[strange][0]}, which {self.annotations} lacks; expected one set's files")
        return settle(places, **self.rules)
