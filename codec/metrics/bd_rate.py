"""How much rate one codec saves against another at equal quality (Bjøntegaard 2001, VCEG-M33), and how sure that is.

A curve is a sequence of (bits per pixel, quality), one pair a setting of the codec, in any order. Quality is PSNR or MS-SSIM in
dB, or the negative of a distance such as LPIPS: more is better.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from codec.metrics.pchip import integrals
from codec.types import UserError

MIN_POINTS = 4
MIN_OVERLAP = 0.5
MIN_PICTURES = 4  # of a bootstrap: one picture is drawn alike each time, and few make few draws
RESAMPLES = 2000
MAX_NOT_MONOTONE = 0.01  # of the resamples: beyond, the interval would be one of other curves

Curve = Sequence[tuple[float, float]]
Antiderivative = Callable[[float], float]
OfMean = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class BDRate:
    """A saving, and what it rests on.

    percent: the mean change of rate against the anchor; negative where the codec needs less.
    interval: the quality that both curves reach, low and high. overlap: its share of the shorter curve's range.
    """

    percent: float
    interval: tuple[float, float]
    overlap: float


@dataclass(frozen=True)
class Confidence:
    """Between which percentages a BD-rate lies for 95 % of all draws of so many pictures.

    It is about pictures alone: another seed of training moves a codec, too, and is not in it.
    """

    low: float
    high: float
    num_pictures: int


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
        points = "1 point" if len(curve) == 1 else f"{len(curve)} points"
        raise UserError(f"{name} has {points}; expected at least {MIN_POINTS} rates; measure more of them")
    rate, quality = np.array(sorted(curve, key=lambda point: point[1]), dtype=np.float64).T
    if not np.isfinite(quality).all() or not (rate > 0).all() or not (np.diff(quality) > 0).all():
        raise UserError(f"{name} has points {list(curve)}; expected positive rates and distinct, finite quality; leave one out")
    if not (np.diff(rate) > 0).all():
        warnings.warn(f"{name} needs less rate for more quality somewhere: its BD-rate means little", stacklevel=4)
    return quality, np.log(rate)


def _mean_difference(
    curves: Sequence[tuple[np.ndarray, np.ndarray]], interpolation: str, unit: str
) -> tuple[float, tuple[float, float], float]:
    """The mean of the second curve minus the first over what both reach of x, those ends, and their share; (x, y) each."""
    if interpolation not in INTERPOLATIONS:
        raise UserError(f"interpolation '{interpolation}'; expected one of {', '.join(INTERPOLATIONS)}")
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    overlap = max(0.0, (high - low) / min(x[-1] - x[0] for x, _ in curves))
    if overlap < MIN_OVERLAP:
        raise UserError(
            f"the curves share {overlap:.0%} of the shorter one's {unit}; expected at least {MIN_OVERLAP:.0%}; "
            "measure rates nearer to each other"
        )
    before, after = (INTERPOLATIONS[interpolation](*curve) for curve in curves)
    difference = (after(high) - after(low) - before(high) + before(low)) / (high - low)
    return float(difference), (float(low), float(high)), float(overlap)


def bd_rate(anchor: Curve, codec: Curve, interpolation: str = "pchip") -> BDRate:
    """The mean change of rate of `codec` against `anchor`, over the quality that both reach.

    The integral of ln(rate) over quality; cubic is one polynomial through all points and goes astray on uneven curves.
    Raises UserError for fewer than 4 points, or curves that share less than half of the shorter range.
    Warns where a curve is not monotonic.
    """
    curves = _ordered(anchor, "the anchor"), _ordered(codec, "the codec")
    difference, interval, overlap = _mean_difference(curves, interpolation, "quality")
    return BDRate(100 * float(np.expm1(difference)), interval, overlap)


def bd_quality(anchor: Curve, codec: Curve, interpolation: str = "pchip") -> float:
    """The mean gain in quality of `codec` against `anchor`, over the rates that both reach: BD-PSNR for curves of PSNR.

    Raises UserError as bd_rate does, and for a curve that needs less rate for more quality, which has no quality at a rate.
    """
    curves = []
    for curve, name in ((anchor, "the anchor"), (codec, "the codec")):
        quality, log_rate = _ordered(curve, name)
        if not (np.diff(log_rate) > 0).all():
            raise UserError(f"{name} needs less rate for more quality somewhere; expected a rising curve; leave a point out")
        curves.append((log_rate, quality))
    return _mean_difference(curves, interpolation, "rates")[0]


def _of_means(pictures: np.ndarray, of_mean: OfMean) -> Curve:
    return [(float(rate), float(of_mean(quality))) for rate, quality in pictures.mean(axis=1)]


def _resampled(pictures: np.ndarray, counts: np.ndarray, of_mean: OfMean) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quality, increasing, and the logarithm of the rate, [resamples, points], and which resamples are a rising curve.

    counts: float64 [resamples, pictures], how often each picture was drawn.
    """
    rate, quality = (counts @ pictures[:, :, column].T / pictures.shape[1] for column in (0, 1))
    order = np.argsort(of_mean(quality), axis=1)
    rate, quality = (np.take_along_axis(values, order, axis=1) for values in (rate, of_mean(quality)))
    with np.errstate(divide="ignore", invalid="ignore"):
        rises = (np.diff(rate) > 0).all(axis=1) & (np.diff(quality) > 0).all(axis=1) & np.isfinite(quality).all(axis=1)
        return quality, np.log(rate), rises


def confidence(
    anchor: np.ndarray, codec: np.ndarray, resamples: int = RESAMPLES, seed: int = 0, of_mean: OfMean = lambda mean: mean
) -> Confidence:
    """The BD-rate's 95 % interval over pictures, by bootstrap: for each resample, pictures are drawn with replacement.

    anchor, codec: float64 [points, pictures, 2], bits per pixel and quality of each picture at each setting, the pictures in
    the same order: a resample has the same ones for both and at all points, so that what makes a picture hard for both cancels.
    Each resample's curves are of its means, PCHIP over their own overlap; the interval is from 2.5 to 97.5 percent of them.
    of_mean: the quality that a mean stands for, of an array of any shape, where that is another one: dB of the mean MS-SSIM.
    seed: of the draws.
    Raises UserError for curves that bd_rate refuses, fewer than 4 pictures, and where more than 1 % of the resamples are not
    monotone or hardly meet.
    """
    if anchor.shape[1] != codec.shape[1]:
        raise UserError(f"{anchor.shape[1]} and {codec.shape[1]} pictures; expected the same ones; measure both on one set")
    num_pictures = anchor.shape[1]
    if num_pictures < MIN_PICTURES:
        pictures = "1 picture" if num_pictures == 1 else f"{num_pictures} pictures"
        raise UserError(f"{pictures}; expected at least {MIN_PICTURES} to draw from; measure more of them")
    bd_rate(_of_means(anchor, of_mean), _of_means(codec, of_mean))
    draws = np.random.default_rng(seed).integers(num_pictures, size=(resamples, num_pictures))
    counts = np.stack([np.bincount(draw, minlength=num_pictures) for draw in draws]).astype(np.float64)
    curves = [_resampled(pictures, counts, of_mean) for pictures in (anchor, codec)]
    low, high = (
        np.maximum(*(quality[:, 0] for quality, _, _ in curves)),
        np.minimum(*(quality[:, -1] for quality, _, _ in curves)),
    )
    shorter = np.minimum(*(quality[:, -1] - quality[:, 0] for quality, _, _ in curves))
    sound = curves[0][2] & curves[1][2] & (high - low >= MIN_OVERLAP * shorter)
    if sound.sum() < (1 - MAX_NOT_MONOTONE) * resamples:
        raise UserError(
            f"{resamples - sound.sum()} of {resamples} resamples of {num_pictures} pictures have no BD-rate; expected "
            f"at most {MAX_NOT_MONOTONE:.0%}; measure more pictures, or rates that are further from each other"
        )
    low, high = low[sound], high[sound]
    before, after = (integrals(quality[sound], log_rate[sound], low, high) for quality, log_rate, _ in curves)
    first, last = np.percentile(100 * np.expm1((after - before) / (high - low)), [2.5, 97.5])
    return Confidence(float(first), float(last), num_pictures)
