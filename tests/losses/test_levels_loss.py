"""The loss of a codec with several rates: each picture by its own lambda, levels by stated weights."""

import pytest
import torch
from conftest import configured, picture
from hydra.utils import instantiate

from codec.losses.levels import Ladder
from codec.losses.rate_distortion import RateDistortion, mse_255, one_minus_ms_ssim
from codec.losses.rate_target import RateTarget
from codec.metrics.perceptual import Lpips
from codec.optim.schedules import Schedule
from codec.training.settings import check_settings
from codec.types import CodecOutput, UserError

X = torch.stack([picture(192, 192, seed) for seed in range(3)]).float() / 255


def output(levels):
    """Three pictures, each of another error and another rate."""
    likelihoods = {"y": torch.full((3, 64, 12, 12), 0.9) ** torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1, 1)}
    x_hat = X + torch.tensor([0.01, 0.02, 0.05]).view(3, 1, 1, 1)
    return CodecOutput(x_hat, likelihoods, likelihoods, levels=levels)


def one(output, number):
    part = slice(number, number + 1)
    likelihoods = {name: p[part] for name, p in output.likelihoods.items()}
    return CodecOutput(
        output.x_hat[part], likelihoods, likelihoods, levels=None if output.levels is None else output.levels[part]
    )


def test_lambdas_are_spaced_evenly_in_log_and_weights_have_mean_1():
    ladder = Ladder(5, 0.001, 0.16)
    ratios = [b / a for a, b in zip(ladder.lmbdas, ladder.lmbdas[1:], strict=False)]
    assert (ladder.lmbdas[0], ladder.lmbdas[-1]) == pytest.approx((0.001, 0.16)) and ratios == pytest.approx([160**0.25] * 4)
    lmbdas, weights = ladder.lmbda_of(torch.arange(5)), ladder.weight_of(torch.arange(5))
    assert lmbdas.tolist() == pytest.approx(ladder.lmbdas) and lmbdas.dtype == torch.float32
    assert float(weights.mean()) == pytest.approx(1)
    assert (weights * lmbdas.sqrt()).tolist() == pytest.approx([float(weights[0]) * 0.001**0.5] * 5)


@pytest.mark.parametrize("distortion, scale", [(mse_255, 1), (one_minus_ms_ssim, 1000)])
def test_each_picture_counts_by_its_own_lambda(distortion, scale):
    ladder = Ladder(8, 0.001 * scale, 0.1 * scale)
    levels = torch.tensor([7, 0, 3])
    terms = RateDistortion(distortion, 0.01 * scale, levels=ladder)(output(levels), X)
    losses = []
    for number, level in enumerate(levels.tolist()):
        alone = RateDistortion(distortion, ladder.lmbdas[level])(one(output(None), number), X[number : number + 1])
        losses.append(float(ladder.weight_of(levels[number]) * alone.loss))
    assert float(terms.loss) == pytest.approx(sum(losses) / 3, rel=1e-4)


def test_without_levels_the_mean_is_that_of_the_batch():
    terms = RateDistortion(mse_255, 0.01)(output(None), X)
    mse = 255**2 * torch.tensor([0.01, 0.02, 0.05]).square().mean()
    assert float(terms.distortion) == pytest.approx(float(mse), rel=1e-3)
    assert float(terms.loss) == pytest.approx(0.01 * float(terms.distortion) + float(terms.bpp), rel=1e-6)


def test_distances_are_of_each_picture():
    measure, x_hat = Lpips("squeeze", "random"), X.flip(-1)
    alone = torch.cat([measure(x_hat[number : number + 1], X[number : number + 1]) for number in range(3)])
    torch.testing.assert_close(measure(x_hat, X), alone)


@pytest.mark.parametrize("level, above", [(0, 2.0), (15, 0.5)])
def test_a_level_that_steers_has_a_target_and_divides_the_weight(level, above):
    """HiFiC's lo and hi: 0.14 at twice the weight, 0.45 at half of it."""
    cfg = configured("experiment=hific_mse_lpips", "profile=tiny", "rate=mi", "levels=hific")
    ladder = instantiate(cfg.levels)
    target = RateTarget(cfg.target_bpp, cfg.rate_target.above, cfg.rate_target.below, Schedule(), Schedule())
    terms = RateDistortion(mse_255, cfg.model.lmbda, target, levels=ladder)(output(torch.full((3,), level)), X)
    assert float(terms.decision.target_bpp) == pytest.approx({0: 0.14, 15: 0.45}[level])
    assert float(terms.decision.rate_weight) == pytest.approx(above, rel=1e-4)  # of a rate that is above all targets
    expected = cfg.model.lmbda * terms.distortion + terms.decision.rate_weight * terms.bpp
    assert float(terms.loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((1, 0.1, 0.2), "levels.count=1"), ((4, 0.2, 0.1), "the second larger"),
        ((4, 0.0, 0.1), "positive"), ((4, 0.1, float("inf")), "positive"), ((4, 0.1, 0.2, [0.3]), "levels.target_bpp"),
        ((4, 0.1, 0.2, [0.3, 0.2]), "levels.target_bpp"), ((4, 0.1, 0.2, 0.3), "levels.target_bpp=0.3; expected null, or two"),
        ((4, 0.1, 0.2, ["a", "b"]), "levels.target_bpp="), ((4, 0.1, 0.2, []), "levels.target_bpp="),
        ((4, 0.1, 0.2, "ab"), "levels.target_bpp=ab"), ((4, 0.1, "abc"), "levels.highest=abc; expected"),
        ((4, None, 0.1), "levels.lowest=None"), ((4, [0.1], 0.2), "levels.lowest="), ((4, True, 2), "levels.lowest=True"),
    ],
)  # fmt: skip
def test_what_is_no_ladder_is_one_line(arguments, words):
    with pytest.raises(UserError, match=words) as raised:
        Ladder(*arguments)
    assert "\n" not in str(raised.value)


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"one number of each, \[3\]"):
        RateDistortion(lambda x_hat, x: (x_hat - x).abs().mean(), 0.1)(output(None), X)
    with pytest.raises(UserError, match="levels.target_bpp without target_bpp"):
        RateDistortion(mse_255, 0.01, levels=Ladder(4, 0.1, 0.2, [0.1, 0.2]))
    target = RateTarget(0.3, 1.0, 0.1, Schedule(), Schedule())
    with pytest.raises(UserError, match="target_bpp without levels.target_bpp"):
        RateDistortion(mse_255, 0.01, target, levels=Ladder(4, 0.1, 0.2))
    from codec.config.compose import plain

    with pytest.raises(UserError, match="levels.highest=30; the published"):
        check_settings(plain(configured("levels=ladder", "levels.highest=30")))
