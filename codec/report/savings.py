"""What each codec of a report saves against any other: BD-rate over PSNR, MS-SSIM and LPIPS, BD-PSNR, and how sure it is."""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from codec.metrics.bd_rate import BDRate, Confidence, bd_quality, bd_rate, confidence
from codec.report.curves import LESS_IS_BETTER, Curve
from codec.types import UserError

OVER = ("psnr", "ms_ssim_db", "lpips")  # FID and KID have too few points anywhere
TELLING = 0.5  # points of percent: interpolations that differ by more are all told
METHODS = ("pchip", "akima", "cubic")


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


def _decibels_of(mean: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return -10 * np.log10(1 - mean)


def _pictures(curve: Curve, quantity: str) -> dict[str, list[tuple[float, float]]]:
    """(bpp, quality) at each finished point that has the quantity, by picture; those that lack one are left out."""
    column = "ms_ssim" if quantity == "ms_ssim_db" else quantity
    sign = -1 if quantity in LESS_IS_BETTER else 1
    points = [point for point in curve.points if not point.told and quantity in point.values]
    found: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        for row in point.rows:
            value = getattr(row, column)
            if row.file_bpp is not None and value is not None:
                found.setdefault(row.name, []).append((row.file_bpp, sign * value))
    return {name: pairs for name, pairs in found.items() if len(pairs) == len(points)}


def _interval(anchor: Curve, codec: Curve, quantity: str) -> tuple[Confidence | None, str]:
    ours, theirs = _pictures(codec, quantity), _pictures(anchor, quantity)
    names = sorted(ours)
    if not ours or not theirs:
        return None, "no interval: a curve without pictures of its own"
    if names != sorted(theirs):
        return None, "no interval: not the same pictures"
    one, two = (np.array([of[name] for name in names]).transpose(1, 0, 2) for of in (theirs, ours))
    try:
        if quantity == "ms_ssim_db":
            return confidence(one, two, of_mean=_decibels_of), ""
        return confidence(one, two), ""
    except UserError as error:
        return None, f"no interval: {error}"


def saving(anchor: Curve, codec: Curve, quantity: str) -> Saving:
    """What `codec` saves against `anchor` over a quantity, or why that cannot be said."""
    curves = anchor.of(quantity), codec.of(quantity)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            rate = bd_rate(*curves)
            percents = {method: bd_rate(*curves, method).percent for method in METHODS}
        except UserError as error:
            return Saving(None, why=str(error).partition("; expected positive rates")[0])
        try:
            gain = bd_quality(*curves)
        except UserError:
            gain = None
    told = "; ".join(dict.fromkeys(str(warning.message) for warning in caught))
    interval, why = _interval(anchor, codec, quantity)
    return Saving(rate, percents, gain, interval, "; ".join(filter(None, (told, why))))


def _other_way(percent: float) -> float:
    return 100 * (1 / (1 + percent / 100) - 1)


def _reversed(found: Saving) -> Saving:
    """What the anchor saves against the codec."""
    if found.rate is None:
        return found._replace(
            why=found.why.replace("the codec ", "the anchor*").replace("the anchor ", "the codec ").replace("*", " ")
        )
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
