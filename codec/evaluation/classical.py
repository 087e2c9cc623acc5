"""The classical codecs beside which a learned one is measured, and their measurement: real bytes, decoded again."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codec.evaluation.classical_codecs import ClassicalCodec, PillowCodec
from codec.evaluation.failures import FigureError, attempt
from codec.evaluation.progress import told
from codec.evaluation.results import ImageRow, Point, Results, equal_pictures, failed_rows, hash_of_picture, small_pictures
from codec.metrics.quality import finite, ms_ssim, ms_ssim_db, psnr
from codec.types import UserError
from data.testsets import TestSet

YCBCR_420 = "YCbCr 4:2:0"


def _avif(label: str, options: dict[str, int]) -> PillowCodec:
    """AVIF at one of its speeds: the slower ones save bits, which a plot with the fastest alone would keep from its reader."""
    ladder = (10, 20, 30, 40, 50, 60, 70, 80)
    return PillowCodec(label, "quality", ladder, YCBCR_420, "AVIF", ("avif",), {"subsampling": "4:2:0"} | options)


def _webp(label: str, method: int) -> PillowCodec:
    return PillowCodec(label, "quality", (0, 5, 15, 30, 45, 60, 75, 85, 92), YCBCR_420, "WEBP", ("webp",), {"method": method})


CLASSICAL: dict[str, ClassicalCodec] = {
    "jpeg": PillowCodec(
        "JPEG", "quality", (4, 7, 10, 14, 18, 24, 32, 42, 54, 66, 78, 88, 95), YCBCR_420,
        "JPEG", ("jpg", "libjpeg_turbo", "mozjpeg"), {"optimize": True, "progressive": True, "subsampling": "4:2:0"},
    ),
    "webp": _webp("WebP", 4),
    "webp_slowest": _webp("WebP slowest", 6),
    "avif": _avif("AVIF", {"speed": 8}),
    "avif_default": _avif("AVIF default", {}),
    "avif_slowest": _avif("AVIF slowest", {"speed": 0}),
    "jpeg2000": PillowCodec(
        "JPEG 2000", "quality_layers", (240, 160, 110, 75, 50, 34, 23, 16, 11), "YCbCr 4:4:4 (ICT)", "JPEG2000", ("jpg_2000",),
        {"irreversible": True, "mct": 1},  # Pillow leaves the colour transform out: 2 to 8 dB on Kodak
    ),
    "jxl": PillowCodec("JPEG XL", "quality", (5, 10, 20, 30, 45, 60, 70, 80, 88, 93), "XYB 4:4:4", "JXL", (), {}),
    "heic": PillowCodec("HEIC", "quality", (5, 12, 20, 28, 36, 44, 52, 60), YCBCR_420, "HEIF", (), {"chroma": 420}),
}  # fmt: skip


def classical_codec(name: str, programs: Mapping[str, ClassicalCodec] = {}) -> ClassicalCodec:
    """The codec of that name, of CLASSICAL or of `programs`. Raises UserError for any other."""
    codecs = CLASSICAL | dict(programs)
    if name not in codecs:
        raise UserError(f"unknown baseline '{name}'; expected some of {', '.join(codecs)}; set test.baselines")
    return codecs[name]


def measure_classical(name: str, test_set: TestSet, programs: Mapping[str, ClassicalCodec] = {}) -> Results:
    """The codec `name` at its whole ladder: file sizes as written, PSNR and MS-SSIM as decoded.

    programs: see classical_codec. A picture that it refuses, as WebP does one of 16,384 pixels, is a row that says why.
    Raises UserError as classical_codec does, and UnavailableError where this machine cannot run it.
    """
    codec = classical_codec(name, programs)
    codec.check()
    rows: dict[Any, list[ImageRow]] = {setting: [] for setting in codec.ladder}
    for picture in told(test_set.pictures, f"{codec.label} on {test_set.name}"):
        original = picture.load()
        image = Image.fromarray(original.permute(1, 2, 0).numpy())
        for setting in codec.ladder:
            rows[setting].append(_row(codec, picture.name, image, original, setting))
    points = [Point({codec.parameter: setting}, rows[setting]) for setting in codec.ladder]
    missing = small_pictures(points) | equal_pictures(points) | failed_rows(points)
    return Results(codec.label, codec.describe(), test_set.name, points, missing, made_by=codec.made_by())


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
    picture = torch.from_numpy(np.array(decoded)).permute(2, 0, 1)
    similarity = ms_ssim(picture, original)
    return ImageRow(
        name, image.width, image.height,
        file_bpp=8 * len(data) / (image.width * image.height),
        psnr=finite(psnr(picture, original)),
        ms_ssim=similarity, ms_ssim_db=ms_ssim_db(similarity),
        encode_seconds=between - begun, decode_seconds=done - between,
        picture_sha256=hash_of_picture(original), file_sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip
