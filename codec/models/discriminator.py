"""The discriminator of HiFiC (Mentzer et al. 2020): which patches are photographs, given the latent.

B batch, M latent channels, D channels of the first layer, H W height and width of the picture, h w = H/16 W/16.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.mixed_precision import at_least_float32
from codec.layers.spectral_norm import SpectralNormConv2d

CONDITION_CHANNELS = 12
SLOPE = 0.2
DEVIATION = 0.02  # of the weights at the start


class Discriminator(nn.Module):
    """A logit for each patch of a picture, positive for photographs: [B, 1, H/8, W/8].

    y_hat --conv 3x3, to H x W--> 12 channels -+
    x -----------------------------------------+--> conv 4x4: D, 2D, 4D (halving each), 8D, 1 --> logits

    Published: D = 64. Every convolution is spectrally normalised.
    """

    def __init__(self, M: int, D: int):
        super().__init__()
        self.condition = SpectralNormConv2d(M, CONDITION_CHANNELS, 3, 1)
        self.first = SpectralNormConv2d(3 + CONDITION_CHANNELS, D, 4, 2)
        self.layers = nn.ModuleList(
            SpectralNormConv2d(inputs, 2 * inputs, 4, stride) for inputs, stride in ((D, 2), (2 * D, 2), (4 * D, 1))
        )
        self.last = SpectralNormConv2d(8 * D, 1, 4, 1)
        for layer in (self.condition, self.first, *self.layers, self.last):
            nn.init.normal_(layer.weight, std=DEVIATION)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, y_hat: Tensor) -> Tensor:
        """Logits of pictures x [B, 3, H, W], each beside its own latent y_hat [B, M, h, w]."""
        condition = F.leaky_relu(self.condition(y_hat), SLOPE)
        condition = F.interpolate(condition, size=x.shape[-2:], mode="nearest")
        with torch.autocast(x.device.type, enabled=False):  # in bf16 a picture loses what it has to be told by
            features = F.leaky_relu(self.first(torch.cat((x, at_least_float32(condition)), dim=1)), SLOPE)
        for layer in self.layers:
            features = F.leaky_relu(layer(features), SLOPE)
        return self.last(features)
