"""The Gaussian prior of latents whose scales, and means, are predicted."""

import torch
from torch import Tensor, nn

from codec.entropy.density import MIN_LIKELIHOOD
from codec.layers.bounds import lower_bound

MIN_SCALE = 0.11  # the first of Ballé's table of scales


class GaussianPrior(nn.Module):
    """A Gaussian convolved with a uniform of width 1 (Ballé 2018, eq. 11), without parameters of its own."""

    def likelihood(self, values: Tensor, scales: Tensor, means: Tensor | None) -> Tensor:
        """Probability of the unit interval around each value, of any shape, in [1e-9, 1].

        scales, means (None: zero): in the shape of values; scales below 0.11 count as 0.11. Both bounds have the
        one-sided gradient of TFC.
        """
        scales = lower_bound(scales, MIN_SCALE)
        distances = torch.abs(values if means is None else values - means)
        # On the left of the mean, where a difference of cumulatives is one of small numbers.
        mass = _cumulative((0.5 - distances) / scales) - _cumulative((-0.5 - distances) / scales)
        return lower_bound(mass, MIN_LIKELIHOOD)


def _cumulative(x: Tensor) -> Tensor:
    """Of the standard normal distribution."""
    return 0.5 * torch.erfc(-(2**-0.5) * x)
