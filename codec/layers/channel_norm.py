"""Normalisation over the channels of each place (HiFiC, Mentzer et al. 2020).

B batch, C channels, H W height and width of a feature map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.mixed_precision import at_least_float32

EPSILON = 1e-3  # the official code's


class ChannelNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-3) * gamma + beta, mean and variance over the channels of each place, in float32.

    The variance is divided by C - 1, as in the official code; the paper's formula divides by C.
    """

    def __init__(self, channels: int):
        super().__init__()
        assert channels > 1
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        # A layer norm divides by C: v C / (C - 1) + e = C / (C - 1) (v + e (C - 1) / C).
        channels = x.size(1)
        share = (channels - 1) / channels
        with torch.autocast(x.device.type, enabled=False):
            last = at_least_float32(x).permute(0, 2, 3, 1)  # where x is channels_last, a view of it
            normal = F.layer_norm(last, (channels,), self.gamma * share**0.5, self.beta, EPSILON * share)
        return normal.permute(0, 3, 1, 2)
