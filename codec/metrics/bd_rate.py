"""How much rate one codec saves against another at equal quality (Bjøntegaard 2001, VCEG-M33).

A curve is a sequence of (bits per pixel, PSNR in dB), one pair a setting of the codec, in any order.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from codec.types import UserError

MIN_POINTS = 4
MIN_OVERLAP = 0.5

Curve = Sequence[tuple[float, float]]
Antiderivative = Callable[[float], float]


@dataclass(frozen=True)
class BDRate:
    """A saving, and what it rests on.

    percent: the mean change of rate against the anchor; negative where the codec needs less.
    interval: the PSNR in dB that both curves reach, low and high. overlap: its share of the shorter curve's range.
    """

    percent: float
    interval: tuple[float, float]
    overlap: float


def _pchip(quality: np.ndarray, log_rate: np.ndarray) -> Antiderivative:
    return PchipInterpolator(quality, log_rate).antiderivative()


def _akima(quality: np.ndarray, log_rate: np.ndarray) -> Antiderivative:
    return Akima1DInterpolator(quality, log_rate).antiderivative()


def _cubic(quality: np.ndarray, log_rate: np.ndarray) -> Antiderivative:
    return np.poly1d(np.polyfit(quality, log_rate, 3)).integ()


INTERPOLATIONS = {"pchip": _pchip, "akima": _akima, "cubic": _cubic}


def _ordered(curve: Curve, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Quality, increasing, and the logarithm of the rate."""
    if len(curve) < MIN_POINTS:
        raise UserError(f"{name} has {len(curve)} points; expected at least {MIN_POINTS} rates; measure more of them")
    rate, quality = np.array(sorted(curve, key=lambda point: point[1]), dtype=np.float64).T
    if not np.isfinite(quality).all() or not (rate > 0).all() or not (np.diff(quality) > 0).all():
        raise UserError(f"{name} has points {list(curve)}; expected positive rates and distinct, finite PSNR; leave one out")
    if not (np.diff(rate) > 0).all():
        warnings.warn(f"{name} needs less rate for more quality somewhere: its BD-rate means little", stacklevel=3)
    return quality, np.log(rate)


def bd_rate(anchor: Curve, codec: Curve, interpolation: str = "pchip") -> BDRate:
    """The mean change of rate of `codec` against `anchor`, over the quality that both reach.

    The integral of ln(rate) over PSNR; cubic is one polynomial through all points and goes astray on uneven curves.
    Raises UserError for fewer than 4 points, or curves that share less than half of the shorter range.
    Warns where a curve is not monotonic.
    """
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"interpolation '{interpolation}'; expected one of {', '.join(INTERPOLATIONS)}")
    curves = _ordered(anchor, "the anchor"), _ordered(codec, "the codec")
    low, high = max(q[0] for q, _ in curves), min(q[-1] for q, _ in curves)
    overlap = max(0.0, (high - low) / min(q[-1] - q[0] for q, _ in curves))
    if overlap < MIN_OVERLAP:
        raise UserError(
            f"the curves share {overlap:.0%} of the shorter one's quality; expected at least {MIN_OVERLAP:.0%}; "
            "measure rates nearer to each other"
        )
    before, after = (INTERPOLATIONS[interpolation](*curve) for curve in curves)
    difference = (after(high) - after(low) - before(high) + before(low)) / (high - low)
    return BDRate(100 * float(np.expm1(difference)), (float(low), float(high)), float(overlap))
