"""Pictures to look at: the original and what each codec makes of it at nearly the same rate, small enough for a page."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codec.evaluation.classical import CLASSICAL
from codec.evaluation.failures import FigureError, attempt
from codec.evaluation.results import ImageRow, Point, hash_of_picture
from codec.files.bundle import SHIPPED, load_bundle
from codec.files.coding import decode, encode
from codec.files.loaded import Bundle
from codec.interface import PictureCodec
from codec.metrics.quality import finite, psnr
from codec.report.curves import Curve, CurvePoint
from codec.report.latents import BitMap, Channel, bit_map, main_channel
from codec.report.sources import Measured
from codec.runs.folder import RunFolder
from codec.types import UserError
from data.testsets import TestImage, TestSet

NUM_PICTURES, NUM_RATES = 3, 2
WINDOW = 768  # pixels: the longest side of what is shown of a picture
QUALITIES, FIDELITY = (90, 95, 98), 45.0  # of the AVIF that a page holds a picture as: the first so near to it, in dB
SPEED = 10  # of that AVIF: a quarter of the seconds of 8, at which it would be 4 % smaller
BUDGET = 10_000_000  # bytes of all pictures of a page, before base64

FindSet = Callable[[str], TestSet]
"""The test set of a name. Raises UserError where its pictures are not there."""


@dataclass(frozen=True)
class Shown:
    """What one codec made of a picture. data: a data: address. bpp, psnr: of its file. label: its setting."""

    codec: str
    label: str
    bpp: float | None
    psnr: float | None
    data: str


@dataclass
class Scene:
    """A picture at a rate. top, left: of the part that is shown, of width × height pixels; whole: whether that is all of it."""

    dataset: str
    picture: str
    rate: float
    width: int
    height: int
    top: int
    left: int
    whole: bool
    shown: list[Shown] = field(default_factory=list)
    bits: list[BitMap] = field(default_factory=list)
    latents: list[Channel] = field(default_factory=list)


@dataclass
class Comparison:
    """All scenes; left_out: what could not be shown, and why. fidelity: dB, the least of an embedded picture to the decoded."""

    scenes: list[Scene] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    fidelity: float = float("inf")
    num_bytes: int = 0


def _rows(point: CurvePoint) -> dict[str, ImageRow]:
    return {row.name: row for row in point.rows if row.file_bpp is not None}


def _pictures(curves: Sequence[Curve]) -> list[str]:
    """Worst, middle and best quality by the first codec, so that the choice does not flatter."""
    known = [point for curve in curves[:1] for point in curve.points if point.rows]
    rows = [row for row in known[len(known) // 2].rows if row.file_bpp is not None] if known else []
    ranked = sorted(rows, key=lambda row: math.inf if row.psnr is None else row.psnr)
    return [ranked[place].name for place in sorted({0, len(ranked) // 2, len(ranked) - 1}) if ranked][:NUM_PICTURES]


def _rates(curves: Sequence[Curve], picture: str) -> list[float]:
    """Bits per pixel of the picture at which codecs are compared: a low and a middle point of the first one."""
    rates = sorted(rows[picture].file_bpp or 0 for point in curves[0].points if picture in (rows := _rows(point)))
    return [rates[place] for place in sorted({len(rates) // 4, len(rates) // 2})][:NUM_RATES]


@lru_cache(2)  # of a large codec each takes a gigabyte
def _bundle(path: Path) -> Bundle:
    return load_bundle(path)


def _bundle_of(measured: Measured) -> Bundle:
    """The bundle that made results: of its run, or the shipped one, by its fingerprint."""
    said = measured.results.made_by.get("bundle") or measured.results.description
    for path in (RunFolder.of_results(measured.path).bundle, SHIPPED):
        if path.is_file() and _bundle(path).fingerprint.hex() in said:
            return _bundle(path)
    raise UserError(f"no bundle of {measured.path}: it is neither beside its run nor the shipped one")


def _window(image: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height, width of what is shown: everything, or of a large picture the part with the most contrast."""
    height, width = image.shape[1:]
    if max(height, width) <= WINDOW:
        return 0, 0, height, width
    h, w = min(height, WINDOW), min(width, WINDOW)
    grey, best = image.float().mean(0), (-1.0, 0, 0)
    for top in np.unique(np.linspace(0, height - h, 5).astype(int)):
        for left in np.unique(np.linspace(0, width - w, 5).astype(int)):
            best = max(best, (float(grey[top : top + h, left : left + w].std()), int(top), int(left)))
    return best[1], best[2], h, w


def _embedded(part: Tensor, comparison: Comparison) -> str:
    image = Image.fromarray(np.ascontiguousarray(part.permute(1, 2, 0).numpy()))
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "AVIF", quality=quality, subsampling="4:4:4", speed=SPEED)
        near = psnr(torch.from_numpy(np.array(Image.open(buffer).convert("RGB"))).permute(2, 0, 1), part)
        if near >= FIDELITY:
            break
    comparison.num_bytes += buffer.tell()
    comparison.fidelity = min(comparison.fidelity, near)
    return "data:image/avif;base64," + base64.b64encode(buffer.getvalue()).decode()


def _nearest(curve: Curve, scene: Scene) -> tuple[CurvePoint, ImageRow]:
    """The point of a trained codec whose rate of the picture is nearest to the scene's."""
    points = [(point, rows[scene.picture]) for point in curve.points if scene.picture in (rows := _rows(point))]
    if not points:
        raise UserError(f"no figures of {scene.picture}")
    return min(points, key=lambda found: abs(math.log((found[1].file_bpp or 1) / scene.rate)))


def _by_trained(curve: Curve, scene: Scene, original: Tensor) -> tuple[str, Tensor, int]:
    """Label, picture and bytes of a trained codec; its bit map and a latent go to the scene."""
    point, row = _nearest(curve, scene)
    if row.picture_sha256 is not None and row.picture_sha256 != hash_of_picture(original):
        raise UserError(f"{scene.picture} is another picture than was measured")
    assert point.measured is not None
    bundle, level = _bundle_of(point.measured), point.setting.get("level")
    path = Point(point.setting, []).files(point.measured.path.with_suffix("")) / f"{row.name}.lic"
    data = path.read_bytes() if path.is_file() else encode(bundle, original, level=level).file
    image = decode(bundle, data)
    found = PictureCodec(bundle).analyse(original, level=level)
    window = (scene.left, scene.top, scene.width, scene.height)
    scene.bits.append(bit_map(curve.name, bundle, found, original, window))
    if "y" in found.scales:
        scene.latents.append(main_channel(curve.name, found))
    return point.label, image, len(data)


def _setting_at(curve: Curve, scene: Scene) -> Any:
    """The setting of a classical codec for the scene's rate: of whole numbers one between those that were measured."""
    found = [(row.file_bpp, point.setting) for point in curve.points for row in point.rows if row.name == scene.picture]
    known = sorted((math.log(bpp), *setting.values()) for bpp, setting in found if bpp)
    if not known:
        raise UserError(f"no figures of {scene.picture}")
    wanted = math.log(scene.rate)
    nearest = min(known, key=lambda pair: abs(pair[0] - wanted))[1]
    if not all(isinstance(setting, int) for _, setting in known):
        return nearest
    return round(float(np.interp(wanted, [rate for rate, _ in known], [setting for _, setting in known])))


def _by_classical(curve: Curve, scene: Scene, original: Tensor) -> tuple[str, Tensor, int]:
    """Label, picture and bytes of a classical codec."""
    codec = next((codec for codec in CLASSICAL.values() if codec.label == curve.name), None)
    if codec is None:
        raise UserError("no such codec is here")
    codec.check()
    setting = _setting_at(curve, scene)
    source = Image.fromarray(original.permute(1, 2, 0).contiguous().numpy())
    data = attempt(partial(codec.encode, source, setting))
    decoded = np.array(attempt(partial(codec.decode, data)))
    return f"{codec.parameter} {setting}", torch.from_numpy(decoded).permute(2, 0, 1), len(data)


def _fill(scene: Scene, comparison: Comparison, curves: Sequence[Curve], original: Tensor) -> None:
    """Add to a scene the original and what each codec makes of it."""

    def part(image: Tensor) -> str:
        shown = image[:, scene.top : scene.top + scene.height, scene.left : scene.left + scene.width]
        return _embedded(shown, comparison)

    scene.shown.append(Shown("original", "", None, None, part(original)))
    for curve in curves:
        by = _by_trained if curve.kind == "trained" else _by_classical
        try:
            label, image, size = by(curve, scene, original)
        except (UserError, FigureError, OSError) as error:
            comparison.left_out.append(f"{scene.picture} by {curve.name}: {error}")
        else:
            scene.shown.append(
                Shown(curve.name, label, 8 * size / original[0].numel(), finite(psnr(image, original)), part(image))
            )


def _scenes(dataset: str, curves: Sequence[Curve], test_set: TestSet, comparison: Comparison) -> None:
    by_name: Mapping[str, TestImage] = {picture.name: picture for picture in test_set.pictures}
    for name in _pictures(curves):
        if name not in by_name:
            comparison.left_out.append(f"{name}: no such picture in {dataset}")
            continue
        original = by_name[name].load()
        top, left, height, width = _window(original)
        for rate in _rates(curves, name):
            if comparison.num_bytes > BUDGET:
                comparison.left_out.append(f"{name} at {rate:.3f} bpp: the page has its share of pictures")
                continue
            whole = (height, width) == tuple(original.shape[1:])
            scene = Scene(dataset, name, rate, width, height, top, left, whole)
            _fill(scene, comparison, curves, original)
            comparison.scenes.append(scene)
            maps = [one.map for one in scene.bits] + [m for one in scene.latents for m in one.maps.values()]
            comparison.num_bytes += sum(len(one) for one in maps) * 3 // 4


def compare(curves: Sequence[Curve], find_set: FindSet) -> Comparison:
    """The scenes of all sets whose pictures are there, until BUDGET is spent; only codecs that were measured by picture."""
    comparison = Comparison()
    for dataset in dict.fromkeys(curve.dataset for curve in curves):
        own = [c for c in curves if c.dataset == dataset and c.kind != "published" and any(p.rows for p in c.points)]
        own.sort(key=lambda curve: curve.kind != "trained")
        if own:
            try:
                _scenes(dataset, own, find_set(dataset), comparison)
            except UserError as error:
                comparison.left_out.append(f"the pictures of {dataset}: {error}")
    return comparison
