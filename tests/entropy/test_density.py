"""The factorized density and the Gaussian prior, held against CompressAI's and against what a density is."""

import pytest
import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.ops import LowerBound

from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.layers.bounds import lower_bound

CHANNELS = 5


def densities(filters=(3, 3, 3, 3), dtype=torch.float32):
    """Ours and theirs with the same parameters, away from where they start."""
    torch.manual_seed(0)
    ours, theirs = FactorizedDensity(CHANNELS, filters), EntropyBottleneck(CHANNELS, filters=filters)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    theirs.load_state_dict(theirs.state_dict() | dict(ours.named_parameters()))
    return ours.to(dtype), theirs.to(dtype)


def gradients(result, *inputs):
    return torch.autograd.grad(result.sum(), inputs)


@pytest.mark.parametrize("filters", [(3, 3, 3, 3), (3, 3, 3)])
def test_it_starts_as_compressais(filters):
    started = []
    for kind in (FactorizedDensity, EntropyBottleneck):
        torch.manual_seed(3)
        started.append(kind(CHANNELS, filters=filters))
    ours, theirs = (list(density.named_parameters()) for density in started)
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True))
    assert set(started[0].state_dict()) == {name for name, _ in ours}


def test_likelihoods_and_their_gradients_are_compressais():
    ours, theirs = densities(dtype=torch.float64)
    values = torch.linspace(-40, 40, 2 * CHANNELS * 6 * 4, dtype=torch.float64).reshape(2, CHANNELS, 6, 4).requires_grad_()
    mine = ours.likelihood(values)
    rows = values.transpose(0, 1).reshape(CHANNELS, 1, -1)
    expected = theirs.likelihood_lower_bound(theirs._likelihood(rows)[0]).reshape(CHANNELS, 2, 6, 4).transpose(0, 1)
    torch.testing.assert_close(mine, expected, rtol=1e-6, atol=1e-15)
    for a, b in zip(
        gradients(torch.log2(mine), values, *ours.matrices, *ours.biases, *ours.factors),
        gradients(torch.log2(expected), values, *theirs.matrices, *theirs.biases, *theirs.factors),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_parts_of_any_shape_are_as_likely_as_whole_latents():
    ours, _ = densities()
    values = torch.linspace(-9, 9, CHANNELS * 12).reshape(1, CHANNELS, 3, 4)
    whole = ours.likelihood(values)
    assert torch.equal(ours.likelihood(values.flatten(2)).reshape(whole.shape), whole)


def test_the_right_tail_is_as_exact_as_the_left():
    """In float32, where sigmoids round to 1: CompressAI's difference of them is zero there."""
    ours, theirs = densities()
    far = torch.linspace(20, 400, 40).expand(CHANNELS, 1, -1)
    exact = densities(dtype=torch.float64)[0].interval_mass(far.double())
    torch.testing.assert_close(ours.interval_mass(far).double(), exact, rtol=1e-3, atol=0)
    assert ((theirs._likelihood(far)[0] == 0) & (exact > 1e-12)).any()


def test_its_intervals_sum_to_one_around_its_median():
    ours, _ = densities(dtype=torch.float64)
    ours.solve_quantiles()
    medians = ours.medians()
    mass = ours.interval_mass(medians[:, None, None] + torch.arange(-3000, 3001, dtype=torch.float64))
    torch.testing.assert_close(mass.sum(-1)[:, 0], torch.ones(CHANNELS, dtype=torch.float64), rtol=0, atol=1e-9)
    left = mass[..., :3000].sum(-1) + mass[..., 3000] / 2
    assert ((left - 0.5).abs() < mass[..., 3000] / 2).all()


def test_quantiles_are_solved_and_rated_as_compressais():
    ours, theirs = densities()
    torch.testing.assert_close(ours.loss(), theirs.loss(), rtol=1e-6, atol=0)
    ours.loss().backward()
    assert [name for name, p in ours.named_parameters() if p.grad is not None] == ["quantiles"]
    before = ours.loss()
    ours.solve_quantiles()
    theirs._update_quantiles(search_radius=1e5, rtol=1e-5, atol=1e-4)
    assert torch.equal(ours.quantiles, theirs.quantiles) and ours.loss() < before


def test_a_density_that_is_not_finite_ends_its_search():
    ours, _ = densities()
    with torch.no_grad():
        ours.biases[0][2, 0] = float("nan")
    ours.solve_quantiles()
    assert torch.isfinite(ours.quantiles[[0, 1, 3, 4]]).all()


@pytest.mark.parametrize("has_means", [True, False])
def test_gaussian_likelihoods_and_their_gradients_are_compressais(has_means):
    torch.manual_seed(0)
    values, means = (torch.randn(2, 3, 7, 5) * 20 for _ in range(2))
    scales = torch.exp(torch.randn(2, 3, 7, 5) * 3)
    scales[0, 0] = torch.linspace(-1, 0.12, 35).reshape(7, 5)  # below the smallest, zero, negative
    leaves = [t.requires_grad_() for t in (values, scales, *([means] if has_means else []))]
    theirs = GaussianConditional(None)
    mine = GaussianPrior().likelihood(values, scales, means if has_means else None)
    expected = theirs.likelihood_lower_bound(theirs._likelihood(values, scales, means if has_means else None))
    assert torch.equal(mine, expected) and float(mine.detach().min()) == pytest.approx(1e-9)
    for a, b in zip(gradients(torch.log2(mine), *leaves), gradients(torch.log2(expected), *leaves), strict=True):
        assert torch.equal(a, b)
    assert not dict(GaussianPrior().state_dict())


def test_the_lower_bound_lets_gradients_back():
    x = torch.tensor([-1.0, 0.5, 0.5, 2.0, float("nan")]).requires_grad_()
    upstream = torch.tensor([1.0, -3.0, 3.0, 1.0, 1.0])
    both = []
    for bound in (lambda t: lower_bound(t, 1.0), LowerBound(1.0)):
        x.grad = None
        result = bound(x)
        result.backward(upstream)
        both.append((result.detach(), x.grad.clone()))
    (mine, my_gradient), (theirs, their_gradient) = both
    assert my_gradient.tolist() == their_gradient.tolist() == [0.0, -3.0, 0.0, 1.0, 0.0]
    assert mine[:4].tolist() == theirs[:4].tolist() == [1.0, 1.0, 1.0, 2.0] and mine[4].isnan() and theirs[4].isnan()
