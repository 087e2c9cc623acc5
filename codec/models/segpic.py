"""SegPIC (Liu et al. 2024, "Region-adaptive transform with segmentation prior for image compression").

B batch, N filters, M latent channels, K regions, H W height and width of the picture, h w = H/16 W/16.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from codec.entropy.coder import LatentCoder
from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.entropy.slices import ChannelContext, code_y
from codec.layers.gdn import GDN
from codec.layers.mixed_precision import PictureConv2d
from codec.layers.region_adaptive import RAT, SAL
from codec.layers.regions import Grid, Regions, check_grid
from codec.models.base import HyperpriorCodec, Latents
from codec.models.hyperprior import conv, deconv
from codec.models.wacnn import (
    LARGE_WINDOW,
    SMALL_WINDOW,
    attention_blocks,
    check_widths,
    hyper_analysis,
    hyper_synthesis,
)

FINE, COARSE = 4, 16  # strides of the feature maps that are guided by regions


def _down(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, GDN(convolution.out_channels), SAL(convolution.out_channels))


def _up(inputs: int, outputs: int, inverse_gdn: bool) -> nn.Sequential:
    return nn.Sequential(SAL(inputs), deconv(inputs, outputs), GDN(outputs, inverse=inverse_gdn))


def _pointwise(inputs: int, widths: tuple[int, int, int], inverse: bool) -> nn.Sequential:
    """Three 1x1 convolutions with (inverse) GDN between."""
    a, b, c = widths
    return nn.Sequential(
        nn.Conv2d(inputs, a, 1), GDN(a, inverse=inverse), nn.Conv2d(a, b, 1), GDN(b, inverse=inverse), nn.Conv2d(b, c, 1)
    )


class PrototypeCoder(nn.Module):
    """Codes the mean features of regions, one stream for each of the two scales.

    p --g_a--> quantise, factorized density --> g_s--> p_hat
    """

    def __init__(self, channels: int, analysis_widths: tuple[int, int, int], synthesis_widths: tuple[int, int, int]):
        super().__init__()
        self.coded_channels = analysis_widths[-1]
        self.g_a = _pointwise(channels, analysis_widths, inverse=False)
        self.g_s = _pointwise(self.coded_channels, synthesis_widths, inverse=True)
        self.entropy_bottleneck = FactorizedDensity(self.coded_channels)

    def code(self, coder: LatentCoder, name: str, features: Tensor | None, regions: Regions) -> Tensor:
        """p_hat [B, C, *regions.shape] of features [B, C, h, w], None when reading."""
        z = None if features is None else self.g_a(regions.pool(features))
        shape = (self.coded_channels, *regions.shape)
        return self.g_s(coder.factorized(name, z, shape, self.entropy_bottleneck, regions.present))


class SegPIC(HyperpriorCodec):
    """Liu et al. 2024: transforms that know in which region of the picture they are.

    x --g_a1--> y1 --RAT--g_a2--> y ---------quantise, N(means, scales)------> y_hat --g_s0--RAT--g_s1--> x_hat
                 |    ^           |                 ^                                         ^
                 +--> p1_hat      +--> p2_hat   h_mean_s, h_scale_s, each with a RAT(p2_hat)  p1_hat
                                  |                 ^
                                  +--RAT(p2_hat)--h_a--> z --> z_hat

    The prototypes p1 and p2, mean features of each region at H/4 and H/16, are coded. In training the regions are those of
    a map or the cells of the grid; coding takes the grid, since a decoder has no map.

    N filters and M latent channels, published (192, 320). grid: cells on each side, published 4. inverse_gdn: inverse GDN
    in the synthesis instead of the published code's GDN. attention, context: without both it is SegPIC-S (see WACNN).
    Raises UserError for widths that are not multiples of 24 and 40, and for a grid beyond 255.
    """

    name = "segpic"
    stride = 64
    straight_through = ("p1", "p2", "y", "z")

    def __init__(self, N: int, M: int, grid: int = 4, attention: bool = True, context: bool = True, inverse_gdn: bool = False):
        super().__init__(N=N, M=M, grid=grid, attention=attention, context=context, inverse_gdn=inverse_gdn)
        check_widths(N, M)
        self._grid = Grid(grid, grid)
        check_grid(self._grid)
        picture = N // 6  # channels before the picture: 32 as published, where the paper's figure has 3
        self.g_a1 = nn.Sequential(
            _down(PictureConv2d(3, N, 5, 2, padding=2)), _down(conv(N, N)), *attention_blocks(attention, N, LARGE_WINDOW)
        )
        self.g_a2 = nn.Sequential(_down(conv(N, N)), _down(conv(N, M)), *attention_blocks(attention, M, SMALL_WINDOW))
        self.g_s0 = nn.Sequential(*attention_blocks(attention, M, SMALL_WINDOW), _up(M, N, inverse_gdn), _up(N, N, inverse_gdn))
        self.g_s1 = nn.Sequential(
            *attention_blocks(attention, N, LARGE_WINDOW), _up(N, N, inverse_gdn), _up(N, picture, inverse_gdn),
            PictureConv2d(picture, 3, 1),
        )  # fmt: skip
        self.p1 = PrototypeCoder(N, (N * 2 // 3, N // 2, N // 2), (N * 2 // 3, N, N))
        self.p2 = PrototypeCoder(M, (N, N * 2 // 3, N // 2), (N * 2 // 3, N, M))
        self.rat_a, self.rat_s = RAT(N), RAT(N)
        self.rat_h_a, self.rat_mean_s, self.rat_scale_s = RAT(M), RAT(M), RAT(M)
        self.h_a, self.h_mean_s, self.h_scale_s = hyper_analysis(N, M), hyper_synthesis(N, M), hyper_synthesis(N, M)
        self.context = ChannelContext(M) if context else None
        self.entropy_bottleneck = FactorizedDensity(N)
        self.gaussian_conditional = GaussianPrior()

    @property
    def grid(self) -> Grid:
        return self._grid

    def transforms(self) -> list[nn.Module]:
        return [self.g_a1, self.g_a2, self.g_s0, self.g_s1]

    def picture_networks(self) -> list[nn.Module]:
        return [self.g_a1, self.g_s0, self.rat_s, self.g_s1]

    def analysis(self, x: Tensor) -> Tensor:
        """y1 [B, N, H/4, W/4]: y itself depends on the prototypes that are coded first."""
        return self.g_a1(x)

    def synthesis(self, latents: Latents) -> Tensor:
        assert latents.prototypes is not None and latents.regions is not None
        return self.g_s1(self.rat_s(self.g_s0(latents.y_hat), latents.prototypes, latents.regions))

    def densities(self) -> Iterator[tuple[str, FactorizedDensity]]:
        yield "p1", self.p1.entropy_bottleneck
        yield "p2", self.p2.entropy_bottleneck
        yield from super().densities()

    def entropy_networks(self) -> list[nn.Module]:
        hyper = [self.p2.g_s, self.h_mean_s, self.h_scale_s, self.rat_mean_s, self.rat_scale_s]
        return hyper if self.context is None else [*hyper, self.context]

    def code_latents(self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int], regions: Regions | None) -> Latents:
        assert regions is not None
        fine, coarse = regions.at(FINE), regions.at(COARSE)
        p1_hat = self.p1.code(coder, "p1", y, fine)
        y = None if y is None else self.g_a2(self.rat_a(y, p1_hat, fine))
        p2_hat = self.p2.code(coder, "p2", y, coarse)
        z_hat = self.code_z(coder, None if y is None else self.rat_h_a(y, p2_hat, coarse), size)
        scales = self.rat_scale_s(self.h_scale_s(z_hat), p2_hat, coarse)
        means = self.rat_mean_s(self.h_mean_s(z_hat), p2_hat, coarse)
        y_hat = code_y(coder, self.context, y, scales, means, self.gaussian_conditional)
        return Latents(y_hat, p1_hat, fine)
