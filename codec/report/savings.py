"""What each codec of a report saves against any other: BD-rate over PSNR, MS-SSIM and LPIPS, BD-PSNR, and how sure it is."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from codec.evaluation.results import ImageRow
from codec.metrics.bd_rate import BDRate, Confidence, bd_quality, bd_rate, confidence
from codec.report.curves import LESS_IS_BETTER, Curve
from codec.report.points import OF_PICTURES, PUBLISHED_NETWORKS
from codec.types import UserError

OVER = ("psnr", "ms_ssim_db", "lpips")  # FID and KID have too few points anywhere
TELLING = 0.5  # points of percent: interpolations that differ by more are all told
METHODS = ("pchip", "akima", "cubic")


def _decibels_of(mean: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -10 * np.log10(1 - mean)


NAMES = {"psnr": "PSNR", "ms_ssim_db": "MS-SSIM", "lpips": "LPIPS"}
OF_MEAN = {"ms_ssim_db": _decibels_of}  # quantities that are not the mean of the pictures', but of their mean


class Saving(NamedTuple):
    """Of a codec against an anchor. None: cannot be said, and `why` not.

    percents: of each method. gain: BD-PSNR in dB, or of another quality. told: what to know of it.
    """

    rate: BDRate | None
    percents: dict[str, float] = {}
    gain: float | None = None
    interval: Confidence | None = None
    told: str = ""
    why: str = ""

    @property
    def methods_differ(self) -> bool:
        """Whether the percentages are further apart than TELLING."""
        return max(self.percents.values()) - min(self.percents.values()) > TELLING if self.percents else False


class _Compared(NamedTuple):
    """Two curves over the same pictures.

    pictures: of each [points, pictures, 2], bpp and quality; None where one is not known by picture. told: what to know of it.
    """

    anchor: list[tuple[float, float]]
    codec: list[tuple[float, float]]
    pictures: tuple[np.ndarray, np.ndarray] | None
    told: str


def _rows(curve: Curve, quantity: str) -> list[dict[str, ImageRow]]:
    """By picture, of each finished point that has the quantity; empty for a curve that is not known by picture."""
    points = [point for point in curve.points if not point.told and quantity in point.values]
    return [{row.name: row for row in point.rows} for point in points] if all(point.rows for point in points) else []


def _compared(anchor: Curve, codec: Curve, quantity: str) -> _Compared:
    """The curves over the pictures that both have at every point. Raises UserError where that would compare other pictures."""
    column = OF_PICTURES[quantity]
    networks = [curve.networks.get(quantity, PUBLISHED_NETWORKS.get(quantity)) for curve in (anchor, codec)]
    if networks[0] != networks[1]:
        raise UserError(f"{NAMES[quantity]} by {' and by '.join(sorted(map(str, networks)))}: not the same measure")
    rows = [_rows(curve, quantity) for curve in (anchor, codec)]
    names = [list(dict.fromkeys(name for point in own for name in point)) for own in rows]

    def has(name: str, own: list[dict[str, ImageRow]]) -> bool:
        return all(name in p and None not in (p[name].file_bpp, getattr(p[name], column)) for p in own)

    common = [name for name in names[0] or names[1] if all(has(name, own) for own in rows)]
    most = max(map(len, names))
    if not all(rows):
        if len(common) < most:
            raise UserError(f"{most - len(common)} of {most} pictures have no {NAMES[quantity]}, and the other curve is of all")
        first, second = (
            _means(quantity, _of_pictures(own, common, quantity)) if own else curve.of(quantity)
            for own, curve in zip(rows, (anchor, codec), strict=True)
        )
        return _Compared(first, second, None, "no interval: a curve without pictures of its own")
    for name in common:
        if len({point[name].picture_sha256 for own in rows for point in own} - {None}) > 1:
            raise UserError(f"not the same pictures: two are called {name}")
    if not common:
        raise UserError(f"not the same pictures: none has {NAMES[quantity]} by both at every rate")
    told = "" if len(common) == most else f"over {len(common)} of {most} pictures, which have {NAMES[quantity]} by both"
    before, after = (_of_pictures(own, common, quantity) for own in rows)
    return _Compared(_means(quantity, before), _means(quantity, after), (before, after), told)


def _of_pictures(points: Sequence[dict[str, ImageRow]], names: Sequence[str], quantity: str) -> np.ndarray:
    column, sign = OF_PICTURES[quantity], -1 if quantity in LESS_IS_BETTER else 1
    return np.array([[(point[name].file_bpp, sign * getattr(point[name], column)) for name in names] for point in points])


def _means(quantity: str, pictures: np.ndarray) -> list[tuple[float, float]]:
    rate, quality = pictures.mean(axis=1).T
    return list(zip(rate.tolist(), OF_MEAN.get(quantity, np.asarray)(quality).tolist(), strict=True))


def _interval(compared: _Compared, quantity: str) -> tuple[Confidence | None, str]:
    if compared.pictures is None:
        return None, ""
    try:
        return confidence(*compared.pictures, of_mean=OF_MEAN.get(quantity, np.asarray)), ""
    except UserError as error:
        return None, f"no interval: {error}"


def saving(anchor: Curve, codec: Curve, quantity: str) -> Saving:
    """What `codec` saves against `anchor` over a quantity on the pictures of both, or why that cannot be said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            compared = _compared(anchor, codec, quantity)
            rate = bd_rate(compared.anchor, compared.codec)
            percents = {method: bd_rate(compared.anchor, compared.codec, method).percent for method in METHODS}
        except UserError as error:
            return Saving(None, why=str(error).partition("; expected positive rates")[0])
        try:
            gain = bd_quality(compared.anchor, compared.codec)
        except UserError:
            gain = None
        interval, why = _interval(compared, quantity)
    told = dict.fromkeys(str(warning.message) for warning in caught)
    return Saving(rate, percents, gain, interval, "; ".join(filter(None, (*told, compared.told, why))))


def _other_way(percent: float) -> float:
    return 100 * (1 / (1 + percent / 100) - 1)


def _other_roles(text: str) -> str:
    return text.replace("the codec ", "the anchor*").replace("the anchor ", "the codec ").replace("*", " ")


def _reversed(found: Saving) -> Saving:
    """What the anchor saves against the codec."""
    found = found._replace(why=_other_roles(found.why), told=_other_roles(found.told))
    if found.rate is None:
        return found
    interval = found.interval and Confidence(
        _other_way(found.interval.high), _other_way(found.interval.low), found.interval.num_pictures
    )
    return found._replace(
        rate=replace(found.rate, percent=_other_way(found.rate.percent)),
        percents={method: _other_way(percent) for method, percent in found.percents.items()},
        gain=None if found.gain is None else -found.gain,
        interval=interval,
    )


def savings(curves: Sequence[Curve], quantity: str) -> dict[tuple[int, int], Saving]:
    """Of every codec against every other, by (place of the anchor, place of the codec), where both have the quantity."""
    have = [place for place, curve in enumerate(curves) if curve.of(quantity)]
    found = {}
    for i, j in itertools.combinations(have, 2):
        found[i, j] = saving(curves[i], curves[j], quantity)
        found[j, i] = _reversed(found[i, j])
    return found
