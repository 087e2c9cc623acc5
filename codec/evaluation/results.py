"""What a measurement leaves: a row a picture, means of the rows, as JSON and CSV.

The JSON also has CompressAI's layout (`results`: a list for each quantity), so that its plots read ours.
"""

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

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
        """The arithmetic mean of a quantity over the pictures that have it.

        None where none has, and where one of them failed: it would be that of another set.
        """
        if any(row.failed is not None for row in self.images):
            return None
        values = [value for row in self.images if (value := getattr(row, quantity)) is not None]
        return sum(values) / len(values) if values else None

    def seconds_per_megapixel(self, quantity: str) -> float | None:
        """Of one of the quantities in seconds: all pictures' over all their pixels, in millions; None as for mean."""
        if (mean := self.mean(quantity)) is None:
            return None
        rows = [row for row in self.images if getattr(row, quantity) is not None]
        return mean * len(rows) / sum(row.width * row.height for row in rows) * 1e6

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

    def curve(self) -> list[tuple[float, float]]:
        """(mean file bpp, mean PSNR) of each point, by rate."""
        pairs = [(point.mean("file_bpp"), point.mean("psnr")) for point in self.points]
        return sorted((bpp, psnr) for bpp, psnr in pairs if bpp is not None and psnr is not None)

    def image_curve(self, name: str) -> list[tuple[float, float]]:
        """(file bpp, PSNR) of one picture at each point, by rate."""
        rows = [row for point in self.points for row in point.images if row.name == name]
        return sorted((row.file_bpp, row.psnr) for row in rows if row.file_bpp is not None and row.psnr is not None)

    def to_json(self) -> str:
        """The document, with CompressAI's layout in it."""
        document = {
            "name": self.name,
            "description": self.description,
            "dataset": self.dataset,
            "results": {
                theirs: [point.mean(ours) for point in self.points]
                for theirs, ours in COMPRESSAI_NAMES.items()
                if all(point.mean(ours) is not None for point in self.points)
            },
            "not_computed": self.not_computed,
            "measured_with": self.measured_with,
            "made_by": self.made_by,
            "costs": self.costs,
            "points": [
                {
                    "setting": p.setting,
                    "means": p.means(),
                    "of_set": p.of_set,
                    "streams": {name: asdict(stream) for name, stream in p.streams.items()},
                    "images": [asdict(row) for row in p.images],
                }
                for p in self.points
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


def equal_pictures(points: Sequence[Point]) -> dict[str, str]:
    """Why PSNR is missing, for `not_computed`, where a picture came back exactly; else nothing."""
    num = sum(row.psnr is None and row.failed is None for point in points for row in point.images)
    return {"psnr": f"infinite in {num} rows: the picture came back exactly; left out of the means"} if num else {}


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
