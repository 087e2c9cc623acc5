"""The codec of HiFiC (Mentzer et al. 2020): E, G and P; the discriminator is in discriminator.py.

B batch, C channels of the first layer, N hyper filters, M latent channels, h w = H/16 W/16. Published: C = 60, N = 320,
M = 220, nine residual blocks.
"""

import math
from collections.abc import Callable

from torch import Tensor, nn

from codec.entropy.coder import LatentCoder
from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.layers.channel_norm import ChannelNorm
from codec.layers.instance_norm import InstanceNorm
from codec.layers.mixed_precision import Conv2d, PictureConv2d
from codec.layers.regions import Regions
from codec.layers.same_padding import SameConv2d, SameConvTranspose2d
from codec.models.base import HyperpriorCodec, Latents
from codec.models.hyperprior import conv, deconv

NORMS: dict[str, Callable[[int], nn.Module]] = {"channel": ChannelNorm, "instance": InstanceNorm}
TRUNCATED_DEVIATION = 0.87962566103423978  # of a normal distribution that is cut off at two deviations


def encoder(C: int, M: int, norm: Callable[[int], nn.Module] = ChannelNorm) -> nn.Sequential:
    """E: [B, 3, H, W] -> [B, M, h, w], four halvings with 2C, 4C, 8C and 16C channels, normalised by norm(channels)."""
    layers: list[nn.Module] = [PictureConv2d(3, C, 7, padding=3), norm(C), nn.ReLU()]
    for inputs in (C, 2 * C, 4 * C, 8 * C):
        layers += [SameConv2d(inputs, 2 * inputs, 3, 2), norm(2 * inputs), nn.ReLU()]
    return nn.Sequential(*layers, Conv2d(16 * C, M, 3, padding=1))


class ResidualBlock(nn.Module):
    """x + f(x) on [B, C, h, w], f two convolutions of 3x3 with a norm each, a ReLU between them."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.branch = nn.Sequential(
            Conv2d(channels, channels, 3, padding=1), norm(channels), nn.ReLU(),
            Conv2d(channels, channels, 3, padding=1), norm(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class Generator(nn.Module):
    """G: [B, M, h, w] -> [B, 3, H, W], unclamped on the scale of [0, 1].

    y_hat --head--> t --residual blocks--> + --four doublings, 8C 4C 2C C--> conv 7x7 --> x_hat
                    |                      |
                    +------ long skip -----+
    """

    def __init__(self, C: int, M: int, num_blocks: int, norm: Callable[[int], nn.Module] = ChannelNorm):
        super().__init__()
        self.head = nn.Sequential(norm(M), Conv2d(M, 16 * C, 3, padding=1), norm(16 * C))
        self.blocks = nn.Sequential(*(ResidualBlock(16 * C, norm) for _ in range(num_blocks)))
        layers: list[nn.Module] = []
        for outputs in (8 * C, 4 * C, 2 * C, C):
            layers += [SameConvTranspose2d(2 * outputs, outputs, 3, 2), norm(outputs), nn.ReLU()]
        self.tail = nn.Sequential(*layers, PictureConv2d(C, 3, 7, padding=3))

    def forward(self, y_hat: Tensor) -> Tensor:
        head = self.head(y_hat)
        return self.tail(head + self.blocks(head))


def hyper_synthesis(N: int, M: int) -> nn.Sequential:
    """[B, N, ceil(h/4), ceil(w/4)] -> [B, M, h, w] and up to three rows and columns more."""
    return nn.Sequential(deconv(N, N), nn.ReLU(), deconv(N, N), nn.ReLU(), conv(N, M, 3, 1))


class HiFiC(HyperpriorCodec):
    """Mentzer et al. 2020: a mean-scale hyperprior whose synthesis is trained as a generator.

    x --E--> y ------quantise, N(means, scales)------> y_hat --G--> x_hat
             |                 ^
             +--h_a--> z --> z_hat --h_mean_s, h_scale_s

    In training G sees the rounded latent and h_s the noisy z. N, M, C, num_blocks as above. norm: of E and G, channel, or
    instance as the paper compares it. The density's tail mass is the one of the other models here, 1e-9 instead of TFC's 2^-8:
    it reaches the quantiles alone, which export solves anew.
    """

    name = "hific"
    stride = 16
    straight_through = ("y",)

    def __init__(self, N: int, M: int, C: int, num_blocks: int, norm: str = "channel"):
        # Bundles from before there was a choice name none, and stay what they are.
        super().__init__(N=N, M=M, C=C, num_blocks=num_blocks, **({} if norm == "channel" else {"norm": norm}))
        if norm not in NORMS:
            raise ValueError(f"model.norm={norm}; expected one of {', '.join(NORMS)}")
        self.g_a = encoder(C, M, NORMS[norm])
        self.g_s = Generator(C, M, num_blocks, NORMS[norm])
        self.h_a = nn.Sequential(conv(M, N, 3, 1), nn.ReLU(), conv(N, N), nn.ReLU(), conv(N, N))
        self.h_mean_s = hyper_synthesis(N, M)
        self.h_scale_s = hyper_synthesis(N, M)
        self.entropy_bottleneck = FactorizedDensity(N, filters=(3, 3, 3))
        self.gaussian_conditional = GaussianPrior()
        for network in (self.g_a, self.g_s):
            network.apply(_start_as_keras)
        for network in (self.h_a, self.h_mean_s, self.h_scale_s):
            network.apply(_start_as_tfc)

    def entropy_networks(self) -> list[nn.Module]:
        return [self.h_mean_s, self.h_scale_s]

    def code_latents(
        self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int], regions: Regions | None = None
    ) -> Latents:
        height, width = size
        z_hat = self.code_z(coder, y, size)
        means = self.h_mean_s(z_hat)[..., :height, :width]
        scales = self.h_scale_s(z_hat)[..., :height, :width]
        return Latents(coder.gaussian("y", y, scales, means, self.gaussian_conditional))


def _start_as_keras(layer: nn.Module) -> None:
    """Glorot's uniform weights and no bias, as the official E and G."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def _start_as_tfc(layer: nn.Module) -> None:
    """A truncated normal of variance 1 / fan_in and no bias, as the hyper-networks of TFC."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        fan_in = layer.in_channels * math.prod(layer.kernel_size)
        deviation = fan_in**-0.5 / TRUNCATED_DEVIATION
        nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
