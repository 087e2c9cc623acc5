"""FID and KID: equal to torchmetrics' on the same patches, and the patches are the paper's."""

import pytest
import torch
from conftest import picture
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from codec.metrics.distribution import PATCH, PatchFeatures, frechet_distance, kernel_distance, patch_corners


class Features(nn.Module):
    """Means and deviations of random filters, float64 [n, 16]."""

    num_features = 16

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.filters = torch.randn(8, 3, 5, 5, generator=generator, dtype=torch.float64)

    def forward(self, patches):
        maps = nn.functional.conv2d(patches.double() / 64, self.filters, stride=5).relu()
        return torch.cat((maps.mean((2, 3)), maps.std((2, 3))), dim=1)


def cut(image):
    return torch.stack([image[:, top : top + PATCH, left : left + PATCH] for top, left in patch_corners(*image.shape[1:])])


@pytest.fixture(scope="module")
def pairs():
    """Pictures and what a bad codec might make of them: coarse steps and too much red."""
    originals = [picture(600, 800, seed) for seed in range(5)]
    pairs = [(original // 32 * 32, original) for original in originals]
    for decoded, _ in pairs:
        decoded[0] = decoded[0] // 2 + 90
    return pairs


@pytest.mark.parametrize(
    "height, width, num", [(255, 900, 0), (256, 256, 1), (511, 512, 2), (512, 512, 5), (512, 768, 8), (1356, 2040, 59)]
)
def test_the_patches_are_two_grids(height, width, num):
    corners = patch_corners(height, width)
    assert len(set(corners)) == len(corners) == num
    for top, left in corners:
        assert (top % PATCH, left % PATCH) in ((0, 0), (PATCH // 2, PATCH // 2))
        assert top + PATCH <= height and left + PATCH <= width


def test_kodak_has_192_patches():
    assert sum(len(patch_corners(*size)) for size in [(512, 768)] * 18 + [(768, 512)] * 6) == 192


def test_fid_and_kid_equal_torchmetrics(pairs):
    network = Features()
    ours = PatchFeatures(network)
    fid = FrechetInceptionDistance(feature=network, normalize=False).set_dtype(torch.float64)
    num = sum(len(patch_corners(*original.shape[1:])) for _, original in pairs)
    kid = KernelInceptionDistance(feature=network, subsets=3, subset_size=num, normalize=False)
    for decoded, original in pairs:
        ours.add(decoded, original)
        for metric in (fid, kid):
            metric.update(cut(decoded), real=False)
            metric.update(cut(original), real=True)
    expected, (mean, _) = float(fid.compute()), kid.compute()
    print(f"{num} patches: FID {ours.frechet_distance():.6f} ({expected:.6f}), KID {ours.kernel_distance():.6f} ({mean:.6f})")
    assert len(ours) == num and expected > 1
    assert ours.frechet_distance() == pytest.approx(expected, rel=1e-6)
    assert ours.kernel_distance() == pytest.approx(float(mean), rel=1e-6)


def test_the_distance_of_gaussians_is_known():
    """Independent features: sum of (m1 - m2)^2 + (s1 - s2)^2; the same set: nothing; a singular covariance: no complaint."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    a = torch.linalg.qr(a - a.mean(0)).Q * 3999**0.5  # exactly uncorrelated, of deviation 1
    b = a * torch.tensor([1.0, 3.0, 0.5]) + torch.tensor([0.0, 0.0, 7.0])
    assert frechet_distance(a, b) == pytest.approx(4 + 0.25 + 49, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    few = torch.randn(5, 64, generator=generator)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(few, few + 1) == pytest.approx(64, rel=1e-6)


def test_kid_of_subsets_is_near_that_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(1500, 8, generator=generator), 0.3 + torch.randn(1500, 8, generator=generator)
    whole = kernel_distance(a, b, subset_size=1500)
    assert kernel_distance(a, b, subset_size=500) == pytest.approx(whole, rel=0.1)
    assert kernel_distance(a, b, subset_size=500) == kernel_distance(a, b, subset_size=500)
    other = torch.randn(1500, 8, generator=generator)
    assert abs(kernel_distance(a, other)) < 0.05 * whole  # unbiased: about 0 for one distribution
