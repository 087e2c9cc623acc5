"""Normalisation over the places of each channel, which HiFiC (Mentzer et al. 2020) compares ChannelNorm with.

B batch, C channels, H W height and width of a feature map.
"""

import torch
from torch import Tensor, nn

from codec.layers.channel_norm import EPSILON
from codec.layers.mixed_precision import at_least_float32


class InstanceNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-3) * gamma + beta, mean and variance over the places of each channel, in float32.

    What comes out at a place depends on all of the picture: on other sizes than those of training colours are others, which
    the paper saw as darkening.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x)
            variance, mean = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
            scale = self.gamma[:, None, None] * torch.rsqrt(variance + EPSILON)
            return (x - mean) * scale + self.beta[:, None, None]
