"""WACNN and SegPIC against the published models' outputs, and against a plain re-implementation for all else."""

import json

import numpy as np
import plain
import pytest
import torch
from conftest import one_thread

from codec.files.published import KINDS, canonical_names

N, M = 24, 40
THEIR_STREAMS = {"p1": "z_center", "p2": "z_center2"}


def bits_by_stream(likelihoods):
    return {name: float(-torch.log2(p.double()).sum()) for name, p in likelihoods.items()}


@pytest.mark.parametrize("kind", ["wacnn", "segpic"])
def test_the_published_models_outputs(shared, recipe, kind):
    reference = shared / "reference"
    weights = recipe.weights(reference / "state_dicts" / f"{kind}.json")
    codec = KINDS[kind](canonical_names({name: torch.from_numpy(value) for name, value in weights.items()})).eval()
    expected = json.loads((reference / "parity" / f"{kind}.json").read_text())["plain_256x256x1"]
    with torch.no_grad(), one_thread():
        output = codec(torch.from_numpy(recipe.image(256, 256, 1)))
    samples = output.x_hat[:, :, 5::61, 7::67].flatten().numpy()
    assert np.abs(samples - expected["x_hat_samples"]).max() < 1e-4 * expected["x_hat_std"]
    assert float(output.x_hat.mean()) == pytest.approx(expected["x_hat_mean"], abs=1e-4 * expected["x_hat_std"])
    bits = {THEIR_STREAMS.get(name, name): value for name, value in bits_by_stream(output.likelihoods).items()}
    assert bits == pytest.approx(expected["bits"], rel=5e-4)


def regions(height, width):
    """Two pictures' maps: four regions, of which one is gone at 1/16 and one at 1/4 already; and a single region."""
    ids = torch.zeros(2, height, width, dtype=torch.int64)
    ids[0, :, width // 3 :] = 1
    ids[0, 4:8] = 2
    ids[0, 1] = 3
    return ids


@pytest.mark.parametrize("kind, masked", [("wacnn", False), ("segpic", False), ("segpic", True)])
@pytest.mark.parametrize("noise", [None, 0.25])
@pytest.mark.parametrize("height, width", [(64, 64), (100, 170)])
def test_other_sizes_batches_and_masks(kind, masked, noise, height, width):
    x = torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = regions(height, width) if masked else None
    weights = plain.Weights()
    with torch.no_grad(), one_thread():
        expected, expected_bits = plain.MODELS[kind](weights, x, ids, N, M, noise)
        codec = KINDS[kind](canonical_names(plain.aliased(weights))).double()
        output = codec(x, None if noise is None else lambda like: torch.full_like(like, noise), ids)
    torch.testing.assert_close(output.x_hat, expected, rtol=0, atol=1e-7)
    assert bits_by_stream(output.likelihoods) == pytest.approx({k: float(v) for k, v in expected_bits.items()}, rel=1e-7)
    assert all(value > 10 for value in expected_bits.values())  # else there was nothing to code
