"""JPEG, WebP, AVIF and JPEG 2000 on the same pictures, through Pillow: real bytes, decoded again."""

import io
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
import torch
from PIL import Image, features
from torch import Tensor

from codec.evaluation.results import ImageRow, Point, Results, equal_pictures
from codec.metrics.quality import finite, psnr
from codec.types import UserError
from data.testsets import TestSet


@dataclass(frozen=True)
class ClassicalCodec:
    """A format of Pillow's with the settings of its ladder, from low to high rate; all else is fixed in `options`.

    libraries: those that do the work, by the names of PIL.features.
    """

    label: str
    format: str
    parameter: str
    ladder: tuple[Any, ...]
    options: dict[str, Any]
    libraries: tuple[str, ...]

    def versions(self) -> dict[str, str | None]:
        """Of all that the bytes of a file depend on."""
        return {"pillow": PIL.__version__} | {name: features.version(name) for name in self.libraries}

    def encode(self, image: Image.Image, setting: Any) -> bytes:
        """The file at one setting of the ladder."""
        value = [setting] if self.parameter == "quality_layers" else setting
        buffer = io.BytesIO()
        image.save(buffer, self.format, **{self.parameter: value}, **self.options)
        return buffer.getvalue()


CLASSICAL = {
    "jpeg": ClassicalCodec(
        "JPEG",
        "JPEG",
        "quality",
        (4, 7, 10, 14, 18, 24, 32, 42, 54, 66, 78, 88, 95),
        {"optimize": True, "progressive": True},
        ("jpg", "libjpeg_turbo", "mozjpeg"),
    ),
    "webp": ClassicalCodec("WebP", "WEBP", "quality", (0, 5, 15, 30, 45, 60, 75, 85, 92), {"method": 4}, ("webp",)),
    "avif": ClassicalCodec("AVIF", "AVIF", "quality", (10, 20, 30, 40, 50, 60, 70, 80), {"speed": 8}, ("avif",)),
    "jpeg2000": ClassicalCodec(
        "JPEG 2000",
        "JPEG2000",
        "quality_layers",
        (240, 160, 110, 75, 50, 34, 23, 16, 11),
        {"irreversible": True, "mct": 1},  # Pillow leaves the colour transform out: 2 to 8 dB on Kodak
        ("jpg_2000",),
    ),
}


def classical_codec(name: str) -> ClassicalCodec:
    """The codec of that name.

    Raises UserError for a name that is not in CLASSICAL, or a format that this Pillow lacks.
    """
    if name not in CLASSICAL:
        raise UserError(f"unknown baseline '{name}'; expected some of {', '.join(CLASSICAL)}; set test.baselines")
    codec = CLASSICAL[name]
    if name in ("webp", "avif") and not features.check(name):
        raise UserError(f"this Pillow has no {codec.label}; expected Pillow 11.3 or newer; install it, or set test.baselines")
    return codec


def measure_classical(name: str, test_set: TestSet) -> Results:
    """The codec `name` at its whole ladder: file sizes as written, PSNR of what they decode to.

    Raises UserError as classical_codec does.
    """
    codec = classical_codec(name)
    rows: dict[Any, list[ImageRow]] = {setting: [] for setting in codec.ladder}
    for picture in test_set.pictures:
        original = picture.load()
        image = Image.fromarray(original.permute(1, 2, 0).numpy())
        for setting in codec.ladder:
            rows[setting].append(_row(codec, picture.name, image, original, setting))
    points = [Point({codec.parameter: setting}, rows[setting]) for setting in codec.ladder]
    options = ", ".join(f"{key}={value}" for key, value in codec.options.items())
    return Results(
        codec.label, f"Pillow {PIL.__version__}, {options}", test_set.name, points,
        {"ms_ssim": "left out for classical codecs: it takes longer than all else"} | equal_pictures(points),
    )  # fmt: skip


def _row(codec: ClassicalCodec, name: str, image: Image.Image, original: Tensor, setting: Any) -> ImageRow:
    begun = time.perf_counter()
    data = codec.encode(image, setting)
    between = time.perf_counter()
    decoded = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    done = time.perf_counter()
    return ImageRow(
        name, image.width, image.height,
        file_bpp=8 * len(data) / (image.width * image.height),
        psnr=finite(psnr(torch.from_numpy(decoded).permute(2, 0, 1), original)),
        encode_seconds=between - begun, decode_seconds=done - between,
    )  # fmt: skip
