"""The rate target: its decision, its beginning, and that it stays on the device."""

import pytest
import torch
from conftest import picture

from codec.losses.adversarial import discriminator_loss, generator_loss
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.losses.rate_target import RateTarget, make_rate_target
from codec.optim.schedules import FirstBatches, Schedule
from codec.types import CodecOutput, UserError

X = picture(64, 64)[None] / 255


def target(bpp=0.2, above=2.0, below=0.0625, batches=0):
    return RateTarget(bpp, above, below, FirstBatches(batches, 0.5), FirstBatches(batches, 0.2 / 0.14))


def output(noisy, quantized):
    """A picture of 64 x 64 at these rates."""
    likelihoods = [{"y": torch.full((1, 64, 8, 8), 2.0**-bpp)} for bpp in (noisy, quantized)]
    return CodecOutput(X + 0.1, *likelihoods)


@pytest.mark.parametrize("noisy, quantized, weight", [(0.1, 0.3, 2.0), (0.3, 0.1, 0.0625), (0.3, 0.2 * 0.999, 0.0625)])
def test_the_quantised_rate_decides_and_the_noisy_one_is_weighted(noisy, quantized, weight):
    loss = RateDistortion(mse_255, 0.01, target())
    for step in (None, 0):
        terms = loss(output(noisy, quantized), X, step)
        assert float(terms.decision.rate_weight) == weight
        assert float(terms.decision.quantized_bpp) == pytest.approx(quantized, rel=1e-5)
        assert float(terms.loss) == pytest.approx(0.01 * 255**2 * 0.01 + weight * noisy, rel=1e-4)
        assert float(terms.bpp) == pytest.approx(noisy, rel=1e-5)


def test_the_warm_up_halves_the_weight_and_raises_the_target():
    """HiFiC: 0.20 instead of 0.14 for the first steps, and half of both weights."""
    steered = target(0.14, batches=50_000)
    for bpp, step, expected in [(0.19, 0, 0.03125), (0.21, 49_999, 1.0), (0.19, 50_000, 2.0), (0.13, 50_000, 0.0625)]:
        decision = steered.decide(torch.tensor(bpp), step)
        assert float(decision.rate_weight) == expected
        assert decision.target_bpp == pytest.approx(0.2 if step < 50_000 else 0.14)
    assert float(steered.decide(torch.tensor(0.19), None).rate_weight) == 2.0  # outside training it is over


def test_the_decision_needs_no_value_on_the_host():
    """On the meta device there are no values: whatever asked for one would fail."""
    decision = target().decide(torch.zeros((), device="meta"), 3)
    assert decision.rate_weight.device.type == "meta"


def test_mistakes_are_named():
    for arguments in ({"bpp": 0.0}, {"bpp": float("nan")}, {"above": 0.01}, {"below": -1.0}):
        with pytest.raises(UserError, match="expected"):
            target(**arguments)
    assert make_rate_target(None, 2.0, 1.0, Schedule(), Schedule()) is None
    with pytest.raises(UserError, match="a factor of"):
        FirstBatches(-1, 0.5)


def test_the_gan_losses_are_cross_entropies_of_logits():
    real, fake = torch.tensor([2.0, -1.0, 40.0]), torch.tensor([0.5, -3.0, 90.0])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = entropy(real, torch.ones(3)) + entropy(fake, torch.zeros(3))
    torch.testing.assert_close(discriminator_loss(real, fake), expected)
    torch.testing.assert_close(generator_loss(fake), entropy(fake, torch.ones(3)))
