"""The discriminator sees each picture beside its own latent, through layers of norm 1."""

import pytest
import torch
from conftest import picture

from codec.models.discriminator import Discriminator


def discriminator(M=5, D=4, seed=0):
    torch.manual_seed(seed)
    network = Discriminator(M, D)
    for _ in range(20):
        network(torch.rand(1, 3, 32, 32), torch.rand(1, M, 2, 2))
    return network.eval()


def test_permuting_the_batch_permutes_the_logits():
    network = discriminator()
    x = torch.stack([picture(64, 32, seed) for seed in range(4)]) / 255
    y_hat = torch.randn(4, 5, 4, 2)
    order = torch.tensor([2, 0, 3, 1])
    logits = network(x, y_hat)
    torch.testing.assert_close(network(x[order], y_hat[order]), logits[order])
    # It does look at the latent: another one gives other logits.
    assert (network(x, y_hat[order]) - logits).abs().amax(dim=(1, 2, 3)).min() > 1e-4
    # As it is used: pictures and reconstructions in one batch, the latents twice.
    both = network(torch.cat((x, x.flip(-1))), torch.cat((y_hat, y_hat)))
    torch.testing.assert_close(both, torch.cat((logits, network(x.flip(-1), y_hat))))


@pytest.mark.parametrize("height, width", [(64, 64), (128, 32)])
def test_a_logit_for_each_eighth_of_the_picture(height, width):
    logits = discriminator()(torch.rand(2, 3, height, width), torch.rand(2, 5, height // 16, width // 16))
    assert logits.shape == (2, 1, height // 8, width // 8)


def test_a_latent_reaches_the_logits_of_its_own_place():
    """Nearest resizing: a change of one place of the latent reaches the logits around it alone."""
    network = discriminator()
    x, y_hat = torch.rand(1, 3, 256, 256), torch.randn(1, 5, 16, 16)
    changed = y_hat.clone()
    changed[..., 8, 12] += 1
    difference = (network(x, changed) - network(x, y_hat)).abs()[0, 0]
    rows, columns = torch.nonzero(difference > 1e-7, as_tuple=True)
    assert rows.min() > 7 and rows.max() < 26 and columns.min() > 15 and len(rows) > 4
