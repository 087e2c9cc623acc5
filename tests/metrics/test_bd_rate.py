"""BD-rate: what it must say of curves whose relation is known."""

import math

import bjontegaard
import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from codec.metrics.bd_rate import INTERPOLATIONS, bd_quality, bd_rate, confidence
from codec.metrics.pchip import integrals
from codec.types import UserError

# Kodak, PSNR, the authors' own points of Ballé 2018 (tensorflow/compression, results/image_compression/kodak).
HYPERPRIOR = [
    (0.1152, 27.106), (0.1857, 28.679), (0.3018, 30.617), (0.4690, 32.555),
    (0.6864, 34.581), (0.9669, 36.720), (1.3074, 38.808), (1.7275, 40.795),
]  # fmt: skip
FACTORIZED = [
    (0.1198, 26.775), (0.1946, 28.349), (0.3160, 30.021), (0.4811, 31.730),
    (0.7213, 33.686), (1.0608, 35.816), (1.4587, 38.020), (1.9576, 40.134),
]  # fmt: skip


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_constant_factor_of_rate_is_found(interpolation):
    saved = [(0.8 * bpp, quality) for bpp, quality in HYPERPRIOR]
    result = bd_rate(HYPERPRIOR, saved, interpolation)
    assert result.percent == pytest.approx(-20)
    assert result.overlap == pytest.approx(1)
    assert result.interval == (27.106, 40.795)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_other_way_round_undoes_it(interpolation):
    there = bd_rate(FACTORIZED, HYPERPRIOR, interpolation).percent
    back = bd_rate(HYPERPRIOR, FACTORIZED, interpolation).percent
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)


def test_the_published_gain_of_the_hyperprior():
    assert bd_rate(FACTORIZED, HYPERPRIOR).percent == pytest.approx(-18.3, abs=0.05)


def test_the_order_of_points_does_not_matter():
    assert bd_rate(FACTORIZED, HYPERPRIOR[::-1]) == bd_rate(FACTORIZED, HYPERPRIOR)


def test_a_short_curve_within_a_long_one_overlaps_wholly():
    result = bd_rate(FACTORIZED, HYPERPRIOR[1:5])
    assert result.overlap == pytest.approx(1)
    assert result.interval == (28.679, 34.581)


def test_three_points_are_too_few():
    with pytest.raises(UserError, match="3 points"):
        bd_rate(FACTORIZED, HYPERPRIOR[:3])


def test_curves_that_hardly_meet_are_refused():
    with pytest.raises(UserError, match="share"):
        bd_rate(FACTORIZED[:4], HYPERPRIOR[3:])
    with pytest.raises(UserError, match="share 0%"):
        bd_rate(FACTORIZED[:4], HYPERPRIOR[4:])


@pytest.mark.parametrize("point", [(0.0, 45.0), (3.0, math.inf), (3.0, 40.795)])
def test_points_without_meaning_are_refused(point):
    with pytest.raises(UserError, match="distinct, finite"):
        bd_rate(FACTORIZED, [*HYPERPRIOR, point])


def test_a_curve_that_turns_back_warns():
    with pytest.warns(UserWarning, match="less rate for more quality"):
        bd_rate(FACTORIZED, [*HYPERPRIOR, (1.0, 41.0)])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_it_is_what_the_package_of_that_name_computes(interpolation):
    (rate, psnr), (of_codec, its_psnr) = (zip(*curve, strict=True) for curve in (FACTORIZED, HYPERPRIOR))
    theirs = bjontegaard.bd_rate(rate, psnr, of_codec, its_psnr, interpolation, require_matching_points=False)
    assert bd_rate(FACTORIZED, HYPERPRIOR, interpolation).percent == pytest.approx(theirs, abs=0.001)
    theirs = bjontegaard.bd_psnr(rate, psnr, of_codec, its_psnr, interpolation, require_matching_points=False)
    assert bd_quality(FACTORIZED, HYPERPRIOR, interpolation) == pytest.approx(theirs, abs=0.001)


def test_a_codec_that_is_better_by_a_decibel_gains_a_decibel():
    better = [(bpp, quality + 1) for bpp, quality in HYPERPRIOR]
    assert bd_quality(HYPERPRIOR, better) == pytest.approx(1)


def test_quality_at_a_rate_wants_a_rising_curve():
    with pytest.warns(UserWarning), pytest.raises(UserError, match="the codec needs less rate"):
        bd_quality(FACTORIZED, [*HYPERPRIOR, (1.0, 41.0)])


def pictures(saving: float, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Five points on 24 pictures whose difficulty differs by a factor of ten, and those of a codec with a saving by picture."""
    random = np.random.default_rng(seed)
    difficulty = np.exp(random.normal(0, 0.8, 24))
    quality = np.linspace(28, 36, 5)[:, None] - 2 * np.log(difficulty)
    rate = difficulty * np.exp(0.2 * (quality - 32))
    savings = 1 + saving + random.normal(0, spread, 24)
    return np.stack([rate, quality], axis=-1), np.stack([rate * savings, quality], axis=-1)


def test_pairs_of_pictures_say_much_more_than_two_sets():
    anchor, codec = pictures(-0.1, 0.02)
    paired = confidence(anchor, codec, resamples=500)
    assert paired.low < bd_rate(anchor.mean(axis=1), codec.mean(axis=1)).percent < paired.high and paired.num_pictures == 24
    other = np.random.default_rng(1)
    unpaired = []
    for _ in range(100):
        one, two = (other.integers(24, size=24) for _ in range(2))
        unpaired.append(bd_rate(anchor[:, one].mean(axis=1), codec[:, two].mean(axis=1)).percent)
    low, high = np.percentile(unpaired, [2.5, 97.5])
    print(f"paired ±{(paired.high - paired.low) / 2:.1f}, unpaired ±{(high - low) / 2:.1f} points")
    assert (paired.high - paired.low) < 0.2 * (high - low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Of 20 draws of pictures, each with its interval: 95 % would be 19."""
    intervals = [confidence(*pictures(-0.1, 0.05, seed), resamples=100) for seed in range(20)]
    assert sum(found.low < -10 < found.high for found in intervals) >= 17


def test_the_same_seed_gives_the_same_interval():
    assert confidence(*pictures(-0.1, 0.02), resamples=100) == confidence(*pictures(-0.1, 0.02), resamples=100)


def test_pictures_without_an_interval_are_refused():
    anchor, codec = pictures(-0.1, 0.02)
    with pytest.raises(UserError, match="24 and 23 pictures"):
        confidence(anchor, codec[:, 1:])
    codec[2, 5, 1] -= 45  # one picture is lost at one rate: the means still rise, those of many resamples turn back
    with pytest.raises(UserError, match="of 200 resamples of 24 pictures have no BD-rate"):
        confidence(anchor, codec, resamples=200)


def test_curves_at_once_are_integrated_as_one_by_one():
    """Rising, falling, flat and turning ones; over the whole range and a part of it."""
    random = np.random.default_rng(0)
    x, y = np.cumsum(random.uniform(0.1, 3, (50, 6)), axis=1), np.cumsum(random.normal(0, 1, (50, 6)), axis=1)
    y[0], y[1, 2:4] = 1.0, 0.5
    low, high = x[:, 0] + random.uniform(0, 1, 50) * (x[:, 1] - x[:, 0]), x[:, -1] - random.uniform(0, 1, 50)
    for left, right in ((x[:, 0], x[:, -1]), (low, np.maximum(low, high))):
        expected = [
            float(PchipInterpolator(*curve).integrate(*ends))
            for *curve, ends in zip(x, y, zip(left, right, strict=True), strict=True)
        ]
        assert integrals(x, y, left, right) == pytest.approx(expected, abs=1e-9)


def test_the_interval_is_that_of_resamples_one_by_one():
    anchor, codec = pictures(-0.1, 0.05)
    draws = np.random.default_rng(3).integers(24, size=(50, 24))
    percents = [bd_rate(anchor[:, draw].mean(axis=1), codec[:, draw].mean(axis=1)).percent for draw in draws]
    found = confidence(anchor, codec, resamples=50, seed=3)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(percents, [2.5, 97.5])))
    twice = confidence(anchor, codec, resamples=50, seed=3, of_mean=lambda mean: 2 * mean + 1)
    assert twice.low == pytest.approx(found.low)  # the same curve on another scale
