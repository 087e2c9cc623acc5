"""What every codec shares: padding, and forward, compress and decompress over one latent pass.

B batch, H W height and width of the picture, M latent channels, h w height and width of the latent.
"""

from collections.abc import Collection, Iterator
from typing import ClassVar

import torch.nn.functional as F
from compressai.entropy_models import GaussianConditional
from torch import Tensor, nn

from codec.entropy.coder import LatentCoder, Noise, RateEstimator
from codec.entropy.density import FactorizedDensity
from codec.types import CodecOutput


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """x [B, C, H, W] with its last column and row repeated until both sides are multiples of `multiple`."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


class Codec(nn.Module):
    """A learned codec: analysis to a latent, one pass over the latents, synthesis from what that pass returns.

    Subclasses set `stride` (a picture's sides are padded to multiples of it), `latent_stride` and `straight_through`
    (the streams that the decoder gets rounded in training; see RateEstimator), and write `code_latents`. `arguments` is
    what rebuilds the network: plain integers by name.
    """

    stride: ClassVar[int]
    latent_stride: ClassVar[int] = 16
    straight_through: ClassVar[Collection[str]] = ()
    g_a: nn.Module
    g_s: nn.Module

    def __init__(self, **arguments: int):
        super().__init__()
        self.arguments = arguments

    def analysis(self, x: Tensor) -> Tensor:
        """y [B, M, h, w] of a picture x whose sides are multiples of `stride`."""
        return self.g_a(x)

    def padded_analysis(self, x: Tensor) -> Tensor:
        """y [B, M, h, w] of a picture x [B, 3, H, W] of any size, padded as `stride` asks."""
        return self.analysis(pad_to_multiple(x, self.stride))

    def synthesis(self, y_hat: Tensor) -> Tensor:
        """x_hat [B, 3, H, W], unclamped, of the quantised latent."""
        return self.g_s(y_hat)

    def code_latents(self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int]) -> Tensor:
        """y_hat [B, M, h, w]; size is (h, w), y is None when reading."""
        raise NotImplementedError

    def densities(self) -> Iterator[tuple[str, FactorizedDensity]]:
        """The factorized densities with the names of the streams that they code."""
        raise NotImplementedError

    def gaussian_prior(self) -> GaussianConditional | None:
        """The prior of the streams that are coded with predicted scales, where there are any."""
        return None

    def forward(self, x: Tensor, noise: Noise | None = None, quantized: bool = False) -> CodecOutput:
        """Reconstruction and likelihoods of x [B, 3, H, W] in [0, 1], of any size; noise None rounds.

        quantized: with noise, also the likelihoods of the rounded latents.
        """
        height, width = x.shape[-2:]
        y = self.padded_analysis(x)
        coder = RateEstimator(noise, self.straight_through, quantized)
        y_hat = self.code_latents(coder, y, (y.size(-2), y.size(-1)))
        x_hat = self.synthesis(y_hat)[..., :height, :width]
        return CodecOutput(x_hat, coder.likelihoods, coder.quantized_likelihoods, y_hat)

    def read(self, coder: LatentCoder, height: int, width: int) -> Tensor:
        """y_hat of a picture of that size, taken from `coder`."""
        sides = [(side + -side % self.stride) // self.latent_stride for side in (height, width)]
        return self.code_latents(coder, None, (sides[0], sides[1]))

    def auxiliary_loss(self) -> Tensor:
        """How far the quantiles are from the tails of their densities, summed (Ballé 2018; moves nothing else)."""
        losses = [density.loss() for _, density in self.densities()]
        return sum(losses[1:], losses[0])
