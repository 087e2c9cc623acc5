"""FID and KID: how far the features of decoded patches are, as a distribution, from those of the originals.

The patches are those of HiFiC (Mentzer et al. 2020, appendix A.7). n patches, d features of a patch, H W height and width of
a picture.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PATCH = 256  # pixels, the side of a patch
NUM_SUBSETS, SUBSET_SIZE = 100, 1000  # of KID, as torch-fidelity's; Bińkowski et al. 2018 average over subsets, too
BATCH = 16  # patches that a feature network takes at once
SEED = 0

FeatureNetwork = Callable[[Tensor], Tensor]  # uint8 [n, 3, 256, 256] -> [n, d]


def patch_corners(height: int, width: int) -> list[tuple[int, int]]:
    """Top and left of the patches of a picture of that size.

    A grid from its corner, and one that begins half a patch further in and has a row and a column less.
    """
    rows, columns = height // PATCH, width // PATCH
    grid = [(row * PATCH, column * PATCH) for row in range(rows) for column in range(columns)]
    half = PATCH // 2
    return grid + [(top + half, left + half) for top, left in grid if top < (rows - 1) * PATCH and left < (columns - 1) * PATCH]


class PatchFeatures:
    """Collects the features of the patches of decoded pictures and of their originals."""

    def __init__(self, network: FeatureNetwork):
        self._network = network
        self._decoded: list[Tensor] = []
        self._originals: list[Tensor] = []

    @torch.inference_mode()
    def add(self, decoded: Tensor, original: Tensor) -> None:
        """Take the patches of one picture, both uint8 [3, H, W]."""
        corners = patch_corners(*original.shape[1:])
        for features, image in ((self._decoded, decoded), (self._originals, original)):
            patches = [image[:, top : top + PATCH, left : left + PATCH] for top, left in corners]
            batches = [torch.stack(patches[first : first + BATCH]) for first in range(0, len(patches), BATCH)]
            features += [self._network(batch).cpu() for batch in batches]

    def __len__(self) -> int:
        return sum(len(features) for features in self._originals)

    def frechet_distance(self) -> float:
        """FID of all patches taken."""
        return frechet_distance(torch.cat(self._decoded), torch.cat(self._originals))

    def kernel_distance(self) -> float:
        """KID of all patches taken."""
        return kernel_distance(torch.cat(self._decoded), torch.cat(self._originals))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to features [n, d] and [m, d], n and m at least 2, in float64.

    |mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Heusel et al. 2017). With S_a = A^T A and S_b = B^T B the last
    trace is the sum of the singular values of A B^T: no root of a matrix, whose small eigenvalues are rounding errors.
    """
    means, factors = [], []
    for features in (a.double(), b.double()):
        means.append(features.mean(dim=0))
        centred = (features - means[-1]) / (len(features) - 1) ** 0.5
        factors.append(torch.linalg.qr(centred, mode="r").R)
    trace = sum(factor.square().sum() for factor in factors) - 2 * torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
    return float((means[0] - means[1]).square().sum() + trace)


def kernel_distance(a: Tensor, b: Tensor, subset_size: int = SUBSET_SIZE) -> float:
    """Unbiased squared maximum mean discrepancy of features [n, d] and [n, d], kernel (x y / d + 1)^3, in float64.

    The mean over 100 random subsets, or of the whole sets where these are not larger (Bińkowski et al. 2018).
    """
    a, b = a.double(), b.double()
    if len(a) <= subset_size:
        return _discrepancy(a, b)
    generator = torch.Generator().manual_seed(SEED)

    def subset(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:subset_size]]

    return sum(_discrepancy(subset(a), subset(b)) for _ in range(NUM_SUBSETS)) / NUM_SUBSETS


def _discrepancy(a: Tensor, b: Tensor) -> float:
    """Within a set the pairs of different patches, between the sets all pairs."""
    num, dimension = a.shape

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / dimension + 1) ** 3

    within = [kernel(x, x) for x in (a, b)]
    same = sum(k.sum() - k.trace() for k in within) / (num * (num - 1))
    return float(same - 2 * kernel(a, b).mean())
