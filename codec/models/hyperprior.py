"""The three models of the scale-hyperprior family: Ballé et al. 2018 (factorized, hyperprior) and Minnen et al. 2018.

Layers and their names are CompressAI's (google.py), so its checkpoints load.
B batch, N filters, M latent channels, h w = H/16 W/16.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from codec.entropy.coder import LatentCoder
from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.layers.gdn import GDN
from codec.layers.mixed_precision import Conv2d, ConvTranspose2d, PictureConv2d, PictureConvTranspose2d
from codec.layers.regions import Regions
from codec.models.base import Codec, HyperpriorCodec, Latents


def conv(inputs: int, outputs: int, kernel: int = 5, stride: int = 2) -> Conv2d:
    return Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)


def deconv(inputs: int, outputs: int, kernel: int = 5, stride: int = 2) -> ConvTranspose2d:
    return ConvTranspose2d(inputs, outputs, kernel, stride, padding=kernel // 2, output_padding=stride - 1)


def analysis_transform(N: int, M: int) -> nn.Sequential:
    """g_a: [B, 3, H, W] -> [B, M, h, w] (Ballé 2018, fig. 4)."""
    first = PictureConv2d(3, N, 5, 2, padding=2)
    return nn.Sequential(first, GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))


def synthesis_transform(N: int, M: int) -> nn.Sequential:
    """g_s: [B, M, h, w] -> [B, 3, H, W] (Ballé 2018, fig. 4)."""
    last = PictureConvTranspose2d(N, 3, 5, 2, padding=2, output_padding=1)
    return nn.Sequential(
        deconv(M, N), GDN(N, inverse=True), deconv(N, N), GDN(N, inverse=True), deconv(N, N), GDN(N, inverse=True), last
    )


class FactorizedPrior(Codec):
    """Ballé et al. 2018, the baseline without side information.

    x --g_a--> y --quantise, factorized density--> y_hat --g_s--> x_hat

    N filters and M latent channels; the paper uses (128, 192), and (192, 320) at its three highest rates.
    """

    name = "factorized"
    stride = 16

    def __init__(self, N: int, M: int):
        super().__init__(N=N, M=M)
        self.g_a = analysis_transform(N, M)
        self.g_s = synthesis_transform(N, M)
        self.entropy_bottleneck = FactorizedDensity(M)

    def densities(self) -> Iterator[tuple[str, FactorizedDensity]]:
        yield "y", self.entropy_bottleneck

    def code_latents(
        self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int], regions: Regions | None = None
    ) -> Latents:
        shape = (self.entropy_bottleneck.channels, *size)
        return Latents(coder.factorized("y", y, shape, self.entropy_bottleneck))


class ScaleHyperprior(HyperpriorCodec):
    """Ballé et al. 2018, fig. 4: zero-mean Gaussians whose scales are side information.

    x --g_a--> y ----------quantise, N(0, scales)----------> y_hat --g_s--> x_hat
               |                        ^
              |.|--h_a--> z --> z_hat --h_s

    N filters and M latent channels as in FactorizedPrior.
    """

    name = "hyperprior"
    stride = 64

    def __init__(self, N: int, M: int):
        super().__init__(N=N, M=M)
        self.g_a = analysis_transform(N, M)
        self.g_s = synthesis_transform(N, M)
        self.h_a = nn.Sequential(conv(M, N, 3, 1), nn.ReLU(), conv(N, N), nn.ReLU(), conv(N, N))
        # The closing ReLU is the paper's and CompressAI's; TFC's code has none.
        self.h_s = nn.Sequential(deconv(N, N), nn.ReLU(), deconv(N, N), nn.ReLU(), conv(N, M, 3, 1), nn.ReLU())
        self.entropy_bottleneck = FactorizedDensity(N)
        self.gaussian_conditional = GaussianPrior()

    def code_latents(
        self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int], regions: Regions | None = None
    ) -> Latents:
        scales, means = self.hyper_synthesis(self.code_z(coder, y, size))
        return Latents(coder.gaussian("y", y, scales, means, self.gaussian_conditional))

    def entropy_networks(self) -> list[nn.Module]:
        return [self.h_s]

    def hyper_analysis(self, y: Tensor) -> Tensor:
        return self.h_a(torch.abs(y))

    def hyper_synthesis(self, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scales and means (None: zero) of y, each [B, M, h, w]."""
        return self.h_s(z_hat), None


class MeanScaleHyperprior(ScaleHyperprior):
    """Minnen et al. 2018 without the context model: the side information predicts means too.

    x --g_a--> y --------quantise, N(means, scales)--------> y_hat --g_s--> x_hat
               |                        ^
               +--h_a--> z --> z_hat --h_s

    N filters and M latent channels; CompressAI trained (128, 192) up to its fourth quality and (192, 320) beyond.
    """

    name = "mean_scale"

    def __init__(self, N: int, M: int):
        super().__init__(N, M)
        self.h_a = nn.Sequential(
            conv(M, N, 3, 1), nn.LeakyReLU(inplace=True), conv(N, N), nn.LeakyReLU(inplace=True), conv(N, N)
        )
        self.h_s = nn.Sequential(
            deconv(N, M), nn.LeakyReLU(inplace=True),
            deconv(M, M * 3 // 2), nn.LeakyReLU(inplace=True),
            conv(M * 3 // 2, M * 2, 3, 1),
        )  # fmt: skip

    def hyper_analysis(self, y: Tensor) -> Tensor:
        return self.h_a(y)

    def hyper_synthesis(self, z_hat: Tensor) -> tuple[Tensor, Tensor | None]:
        scales, means = self.h_s(z_hat).chunk(2, dim=1)  # CompressAI's order
        return scales, means
