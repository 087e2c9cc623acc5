"""WACNN (Zou et al. 2022, "The devil is in the details"): window attention in the transforms, slices in the entropy model.

B batch, N filters, M latent channels, h w = H/16 W/16. The published widths are N = 192, M = 320; all others here follow
from them in proportion.
"""

from torch import Tensor, nn

from codec.entropy.coder import LatentCoder
from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.entropy.slices import ChannelContext, code_y
from codec.layers.attention import HEADS, AttentionBlock
from codec.layers.gdn import GDN
from codec.layers.gelu import GELU
from codec.layers.mixed_precision import PictureConv2d, PictureConvTranspose2d
from codec.layers.regions import Regions
from codec.models.base import HyperpriorCodec, Latents
from codec.models.hyperprior import conv, deconv
from codec.types import UserError

LARGE_WINDOW, SMALL_WINDOW = 8, 4  # at H/4 and at H/16


def check_widths(N: int, M: int) -> None:
    """Raise UserError for widths that heads, slices and prototypes do not divide."""
    if N % (3 * HEADS) or M % (5 * HEADS):
        raise UserError(f"N={N}, M={M}; expected multiples of {3 * HEADS} and {5 * HEADS}; set N=192 M=320, or N=48 M=80")


def hyper_widths(N: int, M: int) -> list[int]:
    """M, three widths between, and N: 320, 288, 256, 224 and 192 as published."""
    return [M + i * (N - M) // 4 for i in range(5)]


def hyper_analysis(N: int, M: int) -> nn.Sequential:
    """[B, M, h, w] -> [B, N, h/4, w/4]."""
    a, b, c, d, e = hyper_widths(N, M)
    return nn.Sequential(
        conv(M, a, 3, 1), GELU(), conv(a, b, 3, 1), GELU(), conv(b, c, 3, 2), GELU(), conv(c, d, 3, 1), GELU(),
        conv(d, e, 3, 2),
    )  # fmt: skip


def _upsampling(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, 4 * outputs, 3, 1), nn.PixelShuffle(2))


def hyper_synthesis(N: int, M: int) -> nn.Sequential:
    """[B, N, h/4, w/4] -> [B, M, h, w]."""
    e, d, c, b, a = reversed(hyper_widths(N, M))
    return nn.Sequential(
        conv(N, e, 3, 1), GELU(), _upsampling(e, d), GELU(), conv(d, c, 3, 1), GELU(), _upsampling(c, b), GELU(),
        conv(b, a, 3, 1),
    )  # fmt: skip


def attention_blocks(attention: bool, channels: int, side: int) -> list[nn.Module]:
    """The attention block of that place, or nothing in a network without attention."""
    return [AttentionBlock(channels, side)] if attention else []


class WACNN(HyperpriorCodec):
    """Zou et al. 2022, the CNN with window attention: the baseline of SegPIC, which calls it BL.

    x --g_a--> y ---------quantise, N(means, scales)----------> y_hat --g_s--> x_hat
               |                 ^
               |             ChannelContext <-- earlier slices of y_hat
               |                 ^
               +--h_a--> z --> z_hat --h_mean_s, h_scale_s

    N filters and M latent channels, published (192, 320). attention, context: without both it is BL-S of the SegPIC
    paper, whose layers no source defines; here h_mean_s and h_scale_s then give means and scales directly.
    Raises UserError for widths that are not multiples of 24 and 40.
    """

    name = "wacnn"
    stride = 64
    straight_through = ("y", "z")

    def __init__(self, N: int, M: int, attention: bool = True, context: bool = True):
        super().__init__(N=N, M=M, attention=attention, context=context)
        check_widths(N, M)
        self.g_a = nn.Sequential(
            PictureConv2d(3, N, 5, 2, padding=2), GDN(N),
            conv(N, N), GDN(N), *attention_blocks(attention, N, LARGE_WINDOW),
            conv(N, N), GDN(N),
            conv(N, M), *attention_blocks(attention, M, SMALL_WINDOW),
        )  # fmt: skip
        self.g_s = nn.Sequential(
            *attention_blocks(attention, M, SMALL_WINDOW), deconv(M, N), GDN(N, inverse=True),
            deconv(N, N), GDN(N, inverse=True),
            *attention_blocks(attention, N, LARGE_WINDOW), deconv(N, N), GDN(N, inverse=True),
            PictureConvTranspose2d(N, 3, 5, 2, padding=2, output_padding=1),
        )  # fmt: skip
        self.h_a, self.h_mean_s, self.h_scale_s = hyper_analysis(N, M), hyper_synthesis(N, M), hyper_synthesis(N, M)
        self.context = ChannelContext(M) if context else None
        self.entropy_bottleneck = FactorizedDensity(N)
        self.gaussian_conditional = GaussianPrior()

    def entropy_networks(self) -> list[nn.Module]:
        return [self.h_mean_s, self.h_scale_s, *([] if self.context is None else [self.context])]

    def code_latents(
        self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int], regions: Regions | None = None
    ) -> Latents:
        z_hat = self.code_z(coder, y, size)
        scales, means = self.h_scale_s(z_hat), self.h_mean_s(z_hat)
        return Latents(code_y(coder, self.context, y, scales, means, self.gaussian_conditional))
