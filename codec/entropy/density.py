"""The factorized density of latents, accurate in both tails.

C channels, n samples a channel.
"""

import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor


class FactorizedDensity(EntropyBottleneck):
    """CompressAI's entropy bottleneck (Ballé 2018, appendix 6.1) with a likelihood that does not vanish in the right tail.

    Parameters and their names are CompressAI's, so their checkpoints load. Coder tables are no part of it: they are
    built once, at export (codec/files/bundle.py).
    """

    def _likelihood(self, inputs: Tensor, stop_gradient: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Probability of the unit interval around each input [C, 1, n], with the logits at its two ends."""
        # One pass over both ends: the density's small matrix products cost more to launch than to do.
        ends = torch.cat((inputs - 0.5, inputs + 0.5), dim=-1)
        lower, upper = self._logits_cumulative(ends, stop_gradient=stop_gradient).chunk(2, dim=-1)
        # In the right tail both sigmoids round to 1: evaluate the difference on the side where they are small.
        # Where the sum is 0, either side serves; sign() would give 0 there and lose the interval.
        sign = torch.where((lower + upper).detach() > 0, -1.0, 1.0).to(inputs)
        return torch.abs(torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)), lower, upper

    def interval_mass(self, samples: Tensor) -> Tensor:
        """Probability of the unit interval around each sample [C, 1, n], without a lower bound."""
        return self._likelihood(samples)[0]

    def medians(self) -> Tensor:
        """The median of each channel, [C], without gradient: the auxiliary loss alone moves it."""
        return self.quantiles[:, 0, 1].detach()

    def likelihood(self, values: Tensor) -> Tensor:
        """Likelihood of each value [B, C, h, w], bounded below at 1e-9 with the one-sided gradient of TFC."""
        channels_first = values.transpose(0, 1)
        likelihood = self._likelihood(channels_first.reshape(values.size(1), 1, -1))[0]
        likelihood = self.likelihood_lower_bound(likelihood)
        return likelihood.reshape(channels_first.shape).transpose(0, 1)

    @torch.no_grad()
    def solve_quantiles(self) -> None:
        """Set the quantiles to the density's own tails and median by bisection, instead of waiting for the auxiliary loss."""
        self._update_quantiles(search_radius=1e5, rtol=1e-5, atol=1e-4)
