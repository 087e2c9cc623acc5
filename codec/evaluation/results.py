"""What a measurement leaves: a row a picture, means of the rows, as JSON and CSV.

The JSON also has CompressAI's layout (`results`: a list for each quantity), so that its plots read ours.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from codec.atomic import write_atomically
from codec.metrics.quality import MIN_MS_SSIM_SIDE
from codec.types import UserError

COMPRESSAI_NAMES = {
    "bpp": "file_bpp", "psnr-rgb": "psnr", "ms-ssim-rgb": "ms_ssim",
    "encoding_time": "encode_seconds", "decoding_time": "decode_seconds",
}  # fmt: skip


@dataclass(frozen=True)
class ImageRow:
    """One picture. Rates are in bits per pixel of the picture itself.

    estimated_bpp: by the continuous likelihood; table_bpp: by the coder's tables; payload_bpp: the range-coded bytes;
    file_bpp: the whole file. A classical codec has the last alone. encode_seconds, decode_seconds: the whole; of a learned
    codec also in analysis or synthesis (transform), with the latents and the range coder (entropy), and writing or reading the
    file. lpips, niqe: see Results.measured_with. None: not computed.
    failed: why there is nothing of this picture: its codec refused it. picture_sha256, file_sha256: hexadecimal, of its pixels
    (hash_of_picture) and of the coded file, by which `codec verify` knows them.
    """

    name: str
    width: int
    height: int
    file_bpp: float | None
    psnr: float | None
    estimated_bpp: float | None = None
    table_bpp: float | None = None
    payload_bpp: float | None = None
    ms_ssim: float | None = None
    ms_ssim_db: float | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    encode_transform_seconds: float | None = None
    encode_entropy_seconds: float | None = None
    encode_file_seconds: float | None = None
    decode_transform_seconds: float | None = None
    decode_entropy_seconds: float | None = None
    decode_file_seconds: float | None = None
    lpips: float | None = None
    niqe: float | None = None
    failed: str | None = None
    picture_sha256: str | None = None
    file_sha256: str | None = None


QUANTITIES = tuple(f.name for f in fields(ImageRow) if f.type == (float | None))  # of a row, that have means


@dataclass(frozen=True)
class StreamTotal:
    """Of one stream over all pictures: bits at the coder's tables, symbols, and those of them that lay beyond their table."""

    bits: float
    symbols: int
    escapes: int


@dataclass(frozen=True)
class Point:
    """One setting of a codec on all pictures.

    of_set: what the pictures have together: fid and kid where they were asked for, and num_patches, by which they go.
    streams: what each stream of a learned codec took of all pictures.
    """

    setting: dict[str, Any]
    images: list[ImageRow]
    of_set: dict[str, float] = field(default_factory=dict)
    streams: dict[str, StreamTotal] = field(default_factory=dict)

    def mean(self, quantity: str) -> float | None:
        """The arithmetic mean of a quantity over the pictures.

        None where one of them has none, or failed: a mean of the others would stand beside the rate of all. See without.
        """
        values = [getattr(row, quantity) for row in self.images]
        return sum(values) / len(values) if values and None not in values else None

    def without(self, names: Collection[str]) -> "Point":
        """The point of the other pictures alone; what all have together, as FID, stays that of all."""
        return replace(self, images=[row for row in self.images if row.name not in names]) if names else self

    def seconds_per_megapixel(self, quantity: str) -> float | None:
        """Of one of the quantities in seconds: all pictures' over all their pixels, in millions; None as for mean."""
        if (mean := self.mean(quantity)) is None:
            return None
        return mean * len(self.images) / sum(row.width * row.height for row in self.images) * 1e6

    def files(self, folder: Path) -> Path:
        """Where its .lic files lie, in the folder of the codec's: those of a codec with several rates by level."""
        return folder / f"level_{self.setting['level']}" if "level" in self.setting else folder

    def means(self) -> dict[str, float | None]:
        """The means of all quantities."""
        return {name: self.mean(name) for name in QUANTITIES}


@dataclass(frozen=True)
class Results:
    """A codec on a set of pictures, at one setting or at a ladder of them.

    not_computed: why a quantity is missing, by quantity. measured_with: the networks behind lpips, fid, kid and niqe.
    costs: of a learned codec, see codec/evaluation/costs.py: parameters, kmac_per_pixel_encode and _decode, peak_memory_bytes.
    made_by: of a learned codec, its bundle's fingerprint, the device, and the versions of this project and of torch; of a
    classical one, its settings, what it codes of colours, and the versions of what did it.
    """

    name: str
    description: str
    dataset: str
    points: list[Point]
    not_computed: dict[str, str] = field(default_factory=dict)
    measured_with: dict[str, str] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)

    @property
    def shown(self) -> Point:
        """The point that stands for all where there is room for one: the only one, or the middle."""
        return self.points[len(self.points) // 2]

    def are_of(self, names: Iterable[str]) -> bool:
        """Whether these are the pictures, by their names in the set, of each point."""
        wanted = sorted(names)
        return all(sorted(row.name for row in point.images) == wanted for point in self.points)

    def curve(self) -> list[tuple[float, float]]:
        """(mean file bpp, mean PSNR) of each point that has both, by rate; beside other codecs first over_same_pictures."""
        pairs = [(point.mean("file_bpp"), point.mean("psnr")) for point in self.points]
        return sorted((bpp, psnr) for bpp, psnr in pairs if bpp is not None and psnr is not None)

    def image_curve(self, name: str) -> list[tuple[float, float]]:
        """(file bpp, PSNR) of one picture at each point, by rate."""
        rows = [row for point in self.points for row in point.images if row.name == name]
        return sorted((row.file_bpp, row.psnr) for row in rows if row.file_bpp is not None and row.psnr is not None)

    def to_json(self) -> str:
        """The document, with CompressAI's layout in it; means are over the pictures that have PSNR at every point."""
        same = over_same_pictures([self])[0][0].points
        document = {
            "name": self.name,
            "description": self.description,
            "dataset": self.dataset,
            "results": {
                theirs: [point.mean(ours) for point in same]
                for theirs, ours in COMPRESSAI_NAMES.items()
                if all(point.mean(ours) is not None for point in same)
            },
            "not_computed": self.not_computed,
            "measured_with": self.measured_with,
            "made_by": self.made_by,
            "costs": self.costs,
            "points": [
                {
                    "setting": p.setting,
                    "means": over.means(),
                    "of_set": p.of_set,
                    "streams": {name: asdict(stream) for name, stream in p.streams.items()},
                    "images": [asdict(row) for row in p.images],
                }
                for p, over in zip(self.points, same, strict=True)
            ],
        }
        return json.dumps(document, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Results":
        """What to_json gave; ValueError, KeyError or TypeError for anything else."""
        document = json.loads(text)
        points = [
            Point(
                p["setting"], [ImageRow(**row) for row in p["images"]], p.get("of_set", {}),
                {name: StreamTotal(**stream) for name, stream in p.get("streams", {}).items()},
            )
            for p in document["points"]
        ]  # fmt: skip
        return cls(
            document["name"], document["description"], document["dataset"], points, document["not_computed"],
            document.get("measured_with", {}), document.get("made_by", {}), document.get("costs", {}),
        )  # fmt: skip

    def write(self, stem: Path) -> None:
        """Write stem.json and stem.csv."""
        settings = sorted({key for point in self.points for key in point.setting})
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, settings + [f.name for f in fields(ImageRow)])
        writer.writeheader()
        writer.writerows(point.setting | asdict(row) for point in self.points for row in point.images)
        write_atomically(stem.with_name(stem.name + ".csv"), table.getvalue().encode())
        write_atomically(stem.with_name(stem.name + ".json"), self.to_json().encode())

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What `write` wrote.

        Raises UserError for a file that is missing or something else.
        """
        try:
            return cls.from_json(path.read_text())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} holds no results ({error}); expected a JSON that `codec eval` wrote") from None


def hash_of_picture(image: Tensor) -> str:
    """SHA-256, in hexadecimal digits, of a picture's size and pixels, uint8 [3, H, W]: not of the file it came from."""
    digest = hashlib.sha256(json.dumps(list(image.shape)).encode())
    digest.update(image.contiguous().numpy().data)
    return digest.hexdigest()


class SamePictures(NamedTuple):
    """The pictures that means of a quantity leave out at all points, so that each is over the same; told: which they are."""

    left_out: frozenset[str] = frozenset()
    told: str = ""


def same_pictures(points: Iterable[Point], quantity: str) -> SamePictures:
    """What to leave out of the means of a quantity and of their rates: the pictures that lack it at any of the points.

    As one whose PSNR is infinite there, or that is too small for MS-SSIM. Points of which no picture has the quantity, as of a
    lossless codec, and those where one failed have no mean anyhow. Nothing is left out where nothing would be left.
    """
    sets = [point.images for point in points if not any(row.failed is not None for row in point.images)]
    sets = [rows for rows in sets if any(getattr(row, quantity) is not None for row in rows)]
    names = dict.fromkeys(row.name for rows in sets for row in rows)
    lacking = {row.name for rows in sets for row in rows if getattr(row, quantity) is None}
    if not lacking:
        return SamePictures()
    what = "came back exactly somewhere" if quantity == "psnr" else "without it somewhere"
    if len(lacking) == len(names):
        return SamePictures(told=f"only where none lacks it: all {len(names)} pictures {what}")
    first = [name for name in names if name in lacking]
    named = ", ".join(first[:3]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")
    return SamePictures(frozenset(lacking), f"over {len(names) - len(lacking)} of {len(names)} pictures: {named} {what}")


def over_same_pictures(compared: Sequence[Results]) -> tuple[list[Results], str]:
    """Results on one set over the pictures of which all have PSNR at every point, and what that leaves out; mostly nothing."""
    same = same_pictures([point for results in compared for point in results.points], "psnr")
    return [replace(one, points=[point.without(same.left_out) for point in one.points]) for one in compared], same.told


def equal_pictures(points: Sequence[Point]) -> dict[str, str]:
    """Why PSNR is missing, for `not_computed`, where a picture came back exactly; else nothing."""
    num = sum(row.psnr is None and row.failed is None for point in points for row in point.images)
    return {"psnr": f"infinite in {num} rows: the picture came back exactly; left out of means and their rates"} if num else {}


def small_pictures(points: Sequence[Point]) -> dict[str, str]:
    """Why MS-SSIM is missing, for `not_computed`, where pictures are too small for it; else nothing."""
    small = any(row.ms_ssim is None and row.failed is None for point in points for row in point.images)
    return {"ms_ssim": f"some pictures have a side under {MIN_MS_SSIM_SIDE} pixels"} if small else {}


def failed_rows(points: Sequence[Point]) -> dict[str, str]:
    """Why rows are empty, for `not_computed`, where pictures failed; else nothing."""
    reasons: dict[str, list[str]] = {}
    for point in points:
        setting = " ".join(map(str, point.setting.values()))
        for row in point.images:
            if row.failed is not None:
                reasons.setdefault(row.failed, []).append(f"{row.name} at {setting}")
    said = [f"{len(rows)} rows failed, {rows[0]} first: {reason}" for reason, rows in reasons.items()]
    return {"file_bpp": "; ".join(said)} if said else {}


def psnr_at_rate(curve: Sequence[tuple[float, float]], bpp: float) -> float | None:
    """PSNR in dB of a curve of (bpp, dB) at a rate, by interpolation over log rate; None beyond the curve's ends."""
    for (low, before), (high, after) in zip(curve, curve[1:], strict=False):
        if low <= bpp <= high:
            share = 0.0 if high == low else math.log(bpp / low) / math.log(high / low)
            return before + share * (after - before)
    return None
