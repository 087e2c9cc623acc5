"""The classical codecs beside which a learned one is measured, and their measurement: real bytes, decoded again."""

import hashlib
import time
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codec.evaluation.classical_codecs import ClassicalCodec, ExternalCodec, PillowCodec
from codec.evaluation.failures import FigureError, attempt
from codec.evaluation.progress import told
from codec.evaluation.results import ImageRow, Point, Results, equal_pictures, failed_rows, hash_of_picture
from codec.metrics.quality import finite, psnr
from codec.types import UserError
from data.testsets import TestSet

CLASSICAL: dict[str, ClassicalCodec] = {
    "jpeg": PillowCodec(
        "JPEG", "quality", (4, 7, 10, 14, 18, 24, 32, 42, 54, 66, 78, 88, 95),
        "JPEG", ("jpg", "libjpeg_turbo", "mozjpeg"), {"optimize": True, "progressive": True},
    ),
    "webp": PillowCodec("WebP", "quality", (0, 5, 15, 30, 45, 60, 75, 85, 92), "WEBP", ("webp",), {"method": 4}),
    "avif": PillowCodec("AVIF", "quality", (10, 20, 30, 40, 50, 60, 70, 80), "AVIF", ("avif",), {"speed": 8}),
    "jpeg2000": PillowCodec(
        "JPEG 2000", "quality_layers", (240, 160, 110, 75, 50, 34, 23, 16, 11), "JPEG2000", ("jpg_2000",),
        {"irreversible": True, "mct": 1},  # Pillow leaves the colour transform out: 2 to 8 dB on Kodak
    ),
    "jxl": ExternalCodec(
        "JPEG XL", "distance", (15, 11, 8, 6, 4.5, 3.3, 2.4, 1.7, 1.2, 0.8),
        "cjxl {input} {output} -d {setting}", "djxl {input} {output}", "cjxl --version", ".jxl",
    ),
}  # fmt: skip


def classical_codec(name: str) -> ClassicalCodec:
    """The codec of that name.

    Raises UserError for a name that is not in CLASSICAL, or for one that this machine cannot run.
    """
    if name not in CLASSICAL:
        raise UserError(f"unknown baseline '{name}'; expected some of {', '.join(CLASSICAL)}; set test.baselines")
    CLASSICAL[name].check()
    return CLASSICAL[name]


def measure_classical(name: str, test_set: TestSet) -> Results:
    """The codec `name` at its whole ladder: file sizes as written, PSNR of what they decode to.

    A picture that it refuses, as WebP does one of 16,384 pixels, is a row that says why.
    Raises UserError as classical_codec does.
    """
    codec = classical_codec(name)
    rows: dict[Any, list[ImageRow]] = {setting: [] for setting in codec.ladder}
    for picture in told(test_set.pictures, f"{codec.label} on {test_set.name}"):
        original = picture.load()
        image = Image.fromarray(original.permute(1, 2, 0).numpy())
        for setting in codec.ladder:
            rows[setting].append(_row(codec, picture.name, image, original, setting))
    points = [Point({codec.parameter: setting}, rows[setting]) for setting in codec.ladder]
    missing = {"ms_ssim": "left out for classical codecs: it takes longer than all else"}
    return Results(codec.label, codec.describe(), test_set.name, points, missing | equal_pictures(points) | failed_rows(points))


def _row(codec: ClassicalCodec, name: str, image: Image.Image, original: Tensor, setting: Any) -> ImageRow:
    try:
        begun = time.perf_counter()
        data = attempt(lambda: codec.encode(image, setting))
        between = time.perf_counter()
        decoded = attempt(lambda: codec.decode(data))
        done = time.perf_counter()
        if decoded.size != image.size:
            raise FigureError(f"it came back as {decoded.size}; expected {image.size}")
    except FigureError as error:
        return ImageRow(name, image.width, image.height, file_bpp=None, psnr=None, failed=str(error))
    return ImageRow(
        name, image.width, image.height,
        file_bpp=8 * len(data) / (image.width * image.height),
        psnr=finite(psnr(torch.from_numpy(np.array(decoded)).permute(2, 0, 1), original)),
        encode_seconds=between - begun, decode_seconds=done - between,
        picture_sha256=hash_of_picture(original), file_sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
