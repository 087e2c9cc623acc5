"""The factorized density of latents, accurate in both tails.

C channels, n samples a channel.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.bounds import lower_bound

MIN_LIKELIHOOD = 1e-9
TAIL_MASS = 1e-9  # CompressAI's: what is left beyond the outer quantiles, on both sides together
SEARCHED = 1e5  # the interval, on both sides of zero, in which quantiles are solved


class Density(Protocol):
    """What codes a stream that nothing predicts.

    first_table: the number of its first channel's table, among those of the stream; int16 [h, w] where it differs by place.
    """

    first_table: int | Tensor

    def medians(self) -> Tensor:
        """What rounding leaves where it is, [C], without gradient."""
        ...

    def likelihood(self, values: Tensor, widths: Tensor | None = None) -> Tensor:
        """Probability of the interval around each value [B, C, …], in [1e-9, 1]; widths: of the intervals, if not 1."""
        ...


class FactorizedDensity(nn.Module):
    """A density for each channel, learned without assuming a shape (Ballé 2018, appendix 6.1).

    The logit of its cumulative is a chain of monotonic maps, each a matrix of positive entries, a bias and, but for the
    last, a gate x + tanh(a) tanh(x). filters: the widths between them. init_scale: where the outer quantiles start, and
    nearly the scale of the logistic density that it starts as.

    Parameters and their names are CompressAI's, so their checkpoints load. quantiles: [C, 1, 3], lower tail, median, upper
    tail, which an auxiliary loss moves, and nothing else. Coder tables are no part of it: they are built once, at export.
    """

    target: Tensor
    first_table: int | Tensor = 0

    def __init__(self, channels: int, filters: tuple[int, ...] = (3, 3, 3, 3), init_scale: float = 10.0):
        super().__init__()
        self.channels, self.filters, self.init_scale = channels, filters, init_scale
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        widths = (1, *filters, 1)
        slope = init_scale ** (-1 / (len(filters) + 1))  # of each map, so that the chain's is 1 / init_scale
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            start = math.log(math.expm1(slope / outputs))  # softplus undoes it
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), start)))
            self.biases.append(nn.Parameter(torch.empty(channels, outputs, 1).uniform_(-0.5, 0.5)))
        for outputs in filters:
            self.factors.append(nn.Parameter(torch.zeros(channels, outputs, 1)))
        self.quantiles = nn.Parameter(torch.tensor([-init_scale, 0.0, init_scale]).repeat(channels, 1, 1))
        tail = math.log(2 / TAIL_MASS - 1)  # the logit of 1 - TAIL_MASS / 2
        self.register_buffer("target", torch.tensor([-tail, 0.0, tail]), persistent=False)

    def _logits(self, samples: Tensor, of_samples_alone: bool = False) -> Tensor:
        """The logit of the cumulative at each sample [C, 1, n]; of_samples_alone: without gradient of anything else."""
        logits = samples
        for i, parameters in enumerate(zip(self.matrices, self.biases, strict=True)):
            matrix, bias = (p.detach() if of_samples_alone else p for p in parameters)
            logits = torch.matmul(F.softplus(matrix), logits) + bias
            if i < len(self.factors):
                factor = self.factors[i].detach() if of_samples_alone else self.factors[i]
                logits = logits + torch.tanh(factor) * torch.tanh(logits)
        return logits

    def interval_mass(self, samples: Tensor, half: Tensor | float = 0.5) -> Tensor:
        """Probability of the interval around each sample [C, 1, n], without a lower bound; half: of the interval's width."""
        # One pass over both ends: the density's small matrix products cost more to launch than to do.
        lower, upper = self._logits(torch.cat((samples - half, samples + half), dim=-1)).chunk(2, dim=-1)
        # In the right tail both sigmoids round to 1: evaluate the difference on the side where they are small.
        # Where the sum is 0, either side serves; sign() would give 0 there and lose the interval.
        sign = torch.where((lower + upper).detach() > 0, -1.0, 1.0).to(samples)
        return torch.abs(torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower))

    def likelihood(self, values: Tensor, widths: Tensor | None = None) -> Tensor:
        """Likelihood of each value [B, C, …], bounded below at 1e-9 with the one-sided gradient of TFC.

        widths: of the interval around each value, in a shape that goes beside values; None: 1.
        """

        def by_channel(x: Tensor) -> Tensor:
            return x.transpose(0, 1).reshape(values.size(1), 1, -1)

        half = 0.5 if widths is None else by_channel(widths.expand_as(values)) / 2
        mass = lower_bound(self.interval_mass(by_channel(values), half), MIN_LIKELIHOOD)
        return mass.reshape(values.transpose(0, 1).shape).transpose(0, 1)

    def medians(self) -> Tensor:
        """The median of each channel, [C], without gradient: the auxiliary loss alone moves it."""
        return self.quantiles[:, 0, 1].detach()

    def loss(self) -> Tensor:
        """How far the quantiles are from where the density has its tails and its median, in logits, summed."""
        return torch.abs(self._logits(self.quantiles, of_samples_alone=True) - self.target).sum()

    @torch.no_grad()
    def solve_quantiles(self) -> None:
        """Set the quantiles to the density's own tails and median by bisection, instead of waiting for the auxiliary loss."""
        for i, target in enumerate(self.target):
            low, high = (torch.full_like(self.quantiles[..., :1], side) for side in (-SEARCHED, SEARCHED))
            # A quantile beyond the interval is where that ends; so is one of a density that is not finite.
            low = torch.where(self._logits(high) >= target, low, high)
            high = torch.where(self._logits(low) <= target, high, low)
            while not torch.isclose(low, high, rtol=1e-5, atol=1e-4).all():
                middle = (low + high) / 2
                logits = self._logits(middle)
                low, high = torch.where(logits <= target, middle, low), torch.where(logits >= target, middle, high)
            self.quantiles[..., i] = ((low + high) / 2)[..., 0]
