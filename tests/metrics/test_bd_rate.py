"""BD-rate: what it must say of curves whose relation is known."""

import math

import pytest

from codec.metrics.bd_rate import INTERPOLATIONS, bd_rate
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
