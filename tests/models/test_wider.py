"""A wider codec begins where a narrower one ended."""

import pytest
import torch

from codec.files.bundle import load_weights, save_bundle
from codec.models import build_model
from codec.types import UserError


def trained(name, **widths):
    """A model of which no parameter is what a fresh one has."""
    torch.manual_seed(0)
    model = build_model(name, **widths)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand_like(parameter), alpha=0.02)
    return model


@pytest.mark.parametrize("levels", [{}, {"levels": 8}], ids=["one_rate", "levels"])
@pytest.mark.parametrize("name", ["factorized", "hyperprior", "mean_scale"])
def test_a_wider_codec_makes_the_pictures_of_the_narrower_one_and_learns_with_all_of_it(tmp_path, name, levels):
    save_bundle(tmp_path / "narrow", trained(name, N=8, M=12), {}, half=False)
    narrow = build_model(name, N=8, M=12)
    load_weights(narrow, tmp_path / "narrow")  # as it is written: with its quantiles solved
    wide = build_model(name, N=11, M=20, **levels)
    if levels:
        wide.levels.start([0.01] * 8, 0.01)  # gains of 1
    assert load_weights(wide, tmp_path / "narrow") == {"N": 8, "M": 12}
    x = torch.rand(2, 3, 64, 128)
    at = {"levels": torch.tensor([0, 7])} if levels else {}
    expected, seen = narrow(x), wide(x, **at)
    assert torch.allclose(seen.x_hat, expected.x_hat, atol=1e-4)
    for stream, likelihoods in expected.likelihoods.items():
        assert torch.allclose(seen.likelihoods[stream][:, : likelihoods.size(1)], likelihoods, atol=1e-4)
    for _ in range(4):  # from the last layer inwards, what was not heard is
        wide.zero_grad()
        (wide(x, **at).x_hat - x).square().mean().backward()
        with torch.no_grad():
            for parameter in wide.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=0.1)
    first, last = ([layer for layer in wide.g_s if hasattr(layer, "stride")][place].weight.grad for place in (0, -1))
    assert (first.abs().amax(dim=(0, 2, 3)) > 0).all() and (last.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_a_codec_becomes_no_narrower_and_no_other(tmp_path):
    save_bundle(tmp_path / "wide", trained("mean_scale", N=12, M=12), {}, half=False)
    for name, widths in (
        ("mean_scale", {"N": 8, "M": 12}),
        ("mean_scale", {"N": 16, "M": 8}),
        ("hyperprior", {"N": 16, "M": 16}),
    ):
        with pytest.raises(UserError, match="set the same model"):
            load_weights(build_model(name, **widths), tmp_path / "wide")
