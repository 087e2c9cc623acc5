"""Pictures to look at: the original and what each codec makes of it at nearly the same rate, small enough for a page."""

import base64
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from codec.evaluation.classical import CLASSICAL
from codec.evaluation.failures import FigureError, attempt
from codec.evaluation.results import ImageRow, Point, hash_of_picture
from codec.files.coding import decode, encode
from codec.interface import PictureCodec
from codec.metrics.quality import finite, psnr
from codec.report.bundles import bundle_of, wrote
from codec.report.curves import Curve
from codec.report.latents import BitMap, Channel, bit_map, main_channel
from codec.report.points import CurvePoint
from codec.types import UserError
from data.testsets import TestImage, TestSet

NUM_PICTURES, NUM_RATES = 3, 2
WINDOW = 768  # pixels: the longest side of what is shown of a picture
QUALITIES, FIDELITY = (90, 95, 98), 45.0  # of the AVIF that a page holds a picture as: the first so near to it, in dB
SPEED = 10  # of that AVIF: a quarter of the seconds of 8, at which it would be 4 % smaller
BUDGET = 13_000_000  # bytes of all pictures and maps as they lie in a page, which with the rest stays under 15 MB
FULL = f"the page has its share of pictures, {BUDGET / 1e6:.0f} MB"
OTHER = "the picture has other pixels than were measured; say by --pictures where those lie"

FindSet = Callable[[str], TestSet]
"""The test set of a name. Raises UserError where its pictures are not there."""


@dataclass(frozen=True)
class Shown:
    """What one codec made of a picture. data: a data: address. bpp, psnr: of its file. label: its setting.

    near: dB of what is in data to what was decoded, at most 99.
    """

    codec: str
    label: str
    bpp: float | None
    psnr: float | None
    data: str
    near: float


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

    @property
    def num_bytes(self) -> int:
        """Of its pictures and maps, as they lie in a page."""
        maps = [one.map for one in self.bits] + [one for channel in self.latents for one in channel.maps.values()]
        return sum(map(len, [one.data for one in self.shown] + maps))


@dataclass
class Comparison:
    """All scenes; left_out: what could not be shown, and why."""

    scenes: list[Scene] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def fidelity(self) -> float:
        """The least of an embedded picture to the decoded, in dB."""
        return min((one.near for scene in self.scenes for one in scene.shown), default=99.0)


def _rows(point: CurvePoint) -> dict[str, ImageRow]:
    return {row.name: row for row in point.rows if row.file_bpp is not None}


def _pictures(curves: Sequence[Curve]) -> list[str]:
    """Worst, middle and best quality by the first codec, so that the choice does not flatter."""
    known = [point for curve in curves[:1] for point in curve.points if point.rows]
    rows = [row for row in known[len(known) // 2].rows if row.file_bpp is not None] if known else []
    ranked = sorted(rows, key=lambda row: math.inf if row.psnr is None else row.psnr)
    return [ranked[place].name for place in sorted({0, len(ranked) // 2, len(ranked) - 1}) if ranked][:NUM_PICTURES]


def _rates(curves: Sequence[Curve], picture: str) -> list[float]:
    """Bits per pixel of the picture at which codecs are compared: a low and a middle point of the first one that has it."""
    of_curves = ([_rows(point)[picture].file_bpp or 0 for point in c.points if picture in _rows(point)] for c in curves)
    rates = sorted(next(filter(None, of_curves), []))
    return [rates[place] for place in sorted({len(rates) // 4, len(rates) // 2}) if rates][:NUM_RATES]


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


def _embedded(part: Tensor) -> tuple[str, float]:
    """A picture as a data: address, and how near in dB that is to it."""
    image = Image.fromarray(np.ascontiguousarray(part.permute(1, 2, 0).numpy()))
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "AVIF", quality=quality, subsampling="4:4:4", speed=SPEED)
        near = psnr(torch.from_numpy(np.array(Image.open(buffer).convert("RGB"))).permute(2, 0, 1), part)
        if near >= FIDELITY:
            break
    return "data:image/avif;base64," + base64.b64encode(buffer.getvalue()).decode(), min(near, 99.0)


def _nearest(curve: Curve, scene: Scene) -> tuple[CurvePoint, ImageRow]:
    """The point of a trained codec whose rate of the picture is nearest to the scene's."""
    points = [(point, rows[scene.picture]) for point in curve.points if scene.picture in (rows := _rows(point))]
    if not points:
        raise UserError(f"no figures of {scene.picture}")
    return min(points, key=lambda found: abs(math.log((found[1].file_bpp or 1) / scene.rate)))


def _by_trained(curve: Curve, scene: Scene, original: Tensor, codecs: Sequence[Path]) -> tuple[str, Tensor, int]:
    """Label, picture and bytes of a trained codec; its bit map and a latent go to the scene. codecs: see compare."""
    point, row = _nearest(curve, scene)
    assert point.measured is not None
    bundle, level = bundle_of(point.measured, codecs), point.setting.get("level")
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


def _fill(scene: Scene, curves: Sequence[Curve], original: Tensor, codecs: Sequence[Path], room: int) -> dict[str, str]:
    """Add to a scene the original and what each codec makes of it; by name of a codec, why it is not there.

    curves: the codecs. original: uint8 [3, H, W]. codecs: see compare. room: bytes that the scene may take.
    """

    def part(image: Tensor) -> tuple[str, float]:
        return _embedded(image[:, scene.top : scene.top + scene.height, scene.left : scene.left + scene.width])

    scene.shown.append(Shown("original", "", None, None, *part(original)))
    why = {}
    for curve in curves:
        by = partial(_by_trained, codecs=codecs) if curve.kind == "trained" else _by_classical
        own = replace(scene, shown=[], bits=[], latents=[])
        try:
            if scene.num_bytes > room:
                raise UserError(FULL)
            label, image, size = by(curve, own, original)
        except (UserError, FigureError, OSError) as error:
            why[curve.name] = str(error)
            continue
        bpp = 8 * size / original[0].numel()
        own.shown.append(Shown(curve.name, label, bpp, finite(psnr(image, original)), *part(image)))
        if scene.num_bytes + own.num_bytes > room:
            why[curve.name], room = FULL, 0  # those after it are not even tried
            continue
        scene.shown, scene.bits, scene.latents = scene.shown + own.shown, scene.bits + own.bits, scene.latents + own.latents
    return why


def _is_of(curve: Curve, name: str, original: Tensor, sha256: str) -> bool:
    """Whether the curve was measured on the original, wherever it has a picture of that name; sha256: of the original."""
    rows = [row for point in curve.points for row in point.rows if row.name == name]
    return all(row.picture_sha256 in (None, sha256) and (row.height, row.width) == tuple(original.shape[1:]) for row in rows)


def _scenes(curves: Sequence[Curve], test_set: TestSet, comparison: Comparison, codecs: Sequence[Path]) -> None:
    by_name: Mapping[str, TestImage] = {picture.name: picture for picture in test_set.pictures}
    missing: dict[tuple[str, str], dict[str, None]] = {}  # by codec and reason, of which pictures: each is told once
    full = False
    for name in _pictures(curves):
        if name not in by_name:
            comparison.left_out.append(f"{name}: no such picture in {curves[0].dataset}")
            continue
        original = by_name[name].load()
        top, left, height, width = _window(original)
        sha256 = hash_of_picture(original)
        of_it = [curve for curve in curves if _is_of(curve, name, original, sha256)]
        for curve in curves:
            if curve not in of_it:
                missing.setdefault((curve.name, OTHER), {})[name] = None
        for rate in _rates(of_it, name):
            at = f"{name} at {rate:.3f} bpp"
            if full:
                comparison.left_out.append(f"{at}: {FULL}")
                continue
            whole = (height, width) == tuple(original.shape[1:])
            scene = Scene(curves[0].dataset, name, rate, width, height, top, left, whole)
            why = _fill(scene, of_it, original, codecs, BUDGET - sum(one.num_bytes for one in comparison.scenes))
            for codec, reason in why.items():
                missing.setdefault((codec, reason), {})[at if reason == FULL else name] = None
            full = FULL in why.values()
            if len(scene.shown) > 1:
                comparison.scenes.append(scene)
    comparison.left_out += _told(missing)


def _told(missing: Mapping[tuple[str, str], Iterable[str]]) -> list[str]:
    """A line for each reason, of all codecs that lack the same pictures by it; missing: pictures by codec and reason."""
    same: dict[tuple[str, str], list[str]] = {}
    for (codec, reason), pictures in missing.items():
        same.setdefault((", ".join(pictures), reason), []).append(codec)
    return [f"{pictures} by {', '.join(codecs)}: {reason}" for (pictures, reason), codecs in same.items()]


def compare(curves: Sequence[Curve], find_set: FindSet, codecs: Sequence[Path] = ()) -> Comparison:
    """The scenes of all sets whose pictures are there, until BUDGET is spent; only codecs that were measured by picture.

    codecs: bundles of results that have theirs not beside their run.
    Raises UserError for one that is no bundle.
    """
    comparison = Comparison()
    measured = [point.measured for curve in curves for point in curve.points if point.measured is not None]
    for path in codecs:
        if not any([wrote(path, one) for one in measured]):
            comparison.left_out.append(f"--codec {path}: no results here were written by it")
    for dataset in dict.fromkeys(curve.dataset for curve in curves):
        own = [c for c in curves if c.dataset == dataset and c.kind != "published" and any(p.rows for p in c.points)]
        own.sort(key=lambda curve: curve.kind != "trained")
        if own:
            try:
                _scenes(own, find_set(dataset), comparison, codecs)
            except UserError as error:
                comparison.left_out.append(f"the pictures of {dataset}: {error}")
    return comparison
