"""Whether results are what they say: the same files, pictures and codec, decoded and measured once more."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from codec.evaluation.measure import description_of, name_of, setting_of
from codec.evaluation.results import QUANTITIES, ImageRow, Results, hash_of_picture
from codec.files.bundle import load_bundle
from codec.files.coding import decode_latents, reconstruct
from codec.files.container import read_container
from codec.files.loaded import Bundle
from codec.metrics.quality import finite, ms_ssim, ms_ssim_db, psnr
from codec.types import UserError
from data.testsets import TestImage, TestSet

PSNR_TOLERANCE, MS_SSIM_TOLERANCE = 0.01, 1e-4  # latents are exact anywhere, the synthesis is rounded by each machine
COMPARED = ("file_bpp", "psnr", "ms_ssim", "ms_ssim_db")


def differences(results: Results, files: Path, bundle: Path, test_set: TestSet) -> Iterator[str]:
    """What is not as the results say, a line each; nothing where all is.

    files: the folder of the .lic files, named after their pictures. bundle: of the codec that wrote them.
    Raises UserError for results that say no hashes, and for a bundle that is no sound one.
    """
    if "bundle" not in results.made_by:
        raise UserError(
            f"results of {results.name} without hashes of what they were measured on; expected those of a bundle, "
            "which keep its files; measure them by codec eval"
        )
    codec, expected = load_bundle(bundle), results.made_by["bundle"]
    if codec.fingerprint.hex() != expected:
        yield f"{bundle}: its fingerprint is {codec.fingerprint.hex()}, the results are of {expected}"
        return
    told = name_of(codec), description_of(codec, results.made_by.get("device", ""))
    for key, said, own in zip(("name", "description"), (results.name, results.description), told, strict=True):
        if said != own:
            yield f"{key} '{said}', the bundle says '{own}'"
    pictures = {picture.name: picture for picture in test_set.pictures}
    for point in results.points:
        level = level if type(level := point.setting.get("level")) is int else None
        if point.setting not in (settings := _settings(codec, level)):
            yield f"setting {point.setting}, the bundle says {settings[0]}"
        at = f" at level {point.setting['level']}" if "level" in point.setting else ""
        measured = {row.name for row in point.images}
        yield from (f"{name}: the results have no such picture{at}" for name in pictures if name not in measured)
        for row in point.images:
            if row.name not in pictures:
                yield f"{row.name}: no such picture in {test_set.name}"
            else:
                there = point.files(files) / f"{row.name}.lic"
                yield from (f"{row.name}: {line}" for line in _of_picture(row, pictures[row.name], there, codec, level or 0))


def contradictions(results: Results, text: str) -> Iterator[str]:
    """What the document of results says beside its rows that is not what its rows give, a line each; text: as it was read."""
    said, given = json.loads(text), json.loads(results.to_json())
    for name, values in said.get("results", {}).items():
        if values != given["results"].get(name):
            yield f"results, {name}: {values}, and the pictures give {given['results'].get(name)}"
    for point, own in zip(said["points"], given["points"], strict=True):
        for name, value in point.get("means", {}).items():
            if value != own["means"].get(name):
                yield f"mean {name} {value}, and the pictures give {own['means'].get(name)}"


def told_alone(results: Results) -> list[str]:
    """The quantities that the results have and no measuring again compares."""
    rows = [row for point in results.points for row in point.images]
    names = [name for name in QUANTITIES if name not in COMPARED and any(getattr(row, name) is not None for row in rows)]
    names += [name for name in ("fid", "kid") if any(name in point.of_set for point in results.points)]
    kept = [name for name in ("not_computed", "measured_with") if getattr(results, name)]
    return [*names, *results.costs, "streams", *kept, *(name for name in results.made_by if name != "bundle")]


def _settings(codec: Bundle, level: int | None) -> list[dict[str, Any]]:
    """What a point can say that it was trained for.

    A bundle with levels and a rate target that does not say the levels' own had its one target in results, beside its ladder.
    """
    facts = codec.header["facts"]
    config = facts.get("config", {})
    found = [setting_of(codec, level)]
    if level is not None and config.get("target_bpp") is not None and "target_bpp_by_level" not in facts:
        ladder = facts | {"config": config | {"target_bpp": None}}
        without = replace(codec, header=codec.header | {"facts": ladder})
        found.append(setting_of(without, level) | {"target_bpp": config["target_bpp"]})
    return found


def _of_picture(row: ImageRow, picture: TestImage, path: Path, codec: Bundle, level: int) -> Iterator[str]:
    """What of a row is not as it says. path: of the file of its picture, which codec wrote at a level, 0 where it has none."""
    original = picture.load()
    if hash_of_picture(original) != row.picture_sha256:
        yield "other pixels than were measured"
        return
    if not path.is_file():
        yield f"no file at {path}"
        return
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != row.file_sha256:
        yield f"{path} has other bytes than were measured"
        return
    if (of_file := read_container(data).level) != level:
        yield f"{path} is of level {of_file}, the results say {level}"
    latents, height, width = decode_latents(codec, data)
    decoded = reconstruct(codec, latents, height, width)
    if (width, height) != (row.width, row.height):
        yield f"{width}x{height}, the results say {row.width}x{row.height}"
    if 8 * len(data) / (height * width) != row.file_bpp:
        yield f"{8 * len(data) / (height * width):.6f} bpp, the results say {row.file_bpp}"
    for name, found, said, tolerance in (
        ("PSNR", finite(psnr(decoded, original)), row.psnr, PSNR_TOLERANCE),
        ("MS-SSIM", ms_ssim(decoded, original) if row.ms_ssim is not None else None, row.ms_ssim, MS_SSIM_TOLERANCE),
        ("MS-SSIM in dB", ms_ssim_db(row.ms_ssim), row.ms_ssim_db, 1e-9),  # of what the row itself says
    ):
        if (found is None) != (said is None) or (found is not None and said is not None and abs(found - said) > tolerance):
            yield f"{name} {found}, the results say {said}"
