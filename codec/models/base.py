"""What every codec shares: padding, and forward, compress and decompress over one latent pass.

B batch, H W height and width of the picture, M latent channels, h w height and width of the latent.
"""

from collections.abc import Collection, Iterator
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.entropy.coder import LatentCoder, RateEstimator
from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.entropy.levels import LEVELLED, Levels
from codec.entropy.noise import Noise
from codec.entropy.tables import MAX_TABLES
from codec.layers.regions import Grid, RegionMap, Regions
from codec.types import CodecOutput, UserError, shown

Argument = int | bool | float | str
"""What a network's constructor may take: what a configuration and a bundle's header can name."""


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """x [B, C, H, W] with its last column and row repeated until both sides are multiples of `multiple`."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def region_map(regions: Tensor, multiple: int) -> RegionMap:
    """The map of regions int64 [B, H, W], padded as pictures are."""
    height, width = regions.shape[-2:]
    rows = torch.arange(height + -height % multiple, device=regions.device).clamp(max=height - 1)
    cols = torch.arange(width + -width % multiple, device=regions.device).clamp(max=width - 1)
    # The only wait for the device in a step, at its very beginning.
    return RegionMap(regions[:, rows[:, None], cols], int(regions.max()) + 1)


class Latents(NamedTuple):
    """All that the decoder's synthesis sees.

    y_hat: [B, M, h, w], the quantised latent. prototypes, regions: where the codec adapts to them.
    """

    y_hat: Tensor
    prototypes: Tensor | None = None
    regions: Regions | None = None

    def of(self, number: int) -> "Latents":
        """Those of one picture of a batch."""
        one = slice(number, number + 1)
        return Latents(self.y_hat[one], None if self.prototypes is None else self.prototypes[one], self.regions)

    def to(self, device: torch.device) -> "Latents":
        """The same on a device; regions are a grid's, which lies nowhere."""
        return Latents(self.y_hat.to(device), None if self.prototypes is None else self.prototypes.to(device), self.regions)

    def equal(self, other: "Latents") -> bool:
        """Whether every value is the same."""
        if self.prototypes is None or other.prototypes is None:
            return self.prototypes is other.prototypes and self.y_hat.equal(other.y_hat)
        return self.y_hat.equal(other.y_hat) and self.prototypes.equal(other.prototypes)


class Codec(nn.Module):
    """A learned codec: analysis to a latent, one pass over the latents, synthesis from what that pass returns.

    Subclasses set `name` (what configurations and bundles call them), `stride` (a picture's sides are padded to multiples
    of it), `latent_stride` and `straight_through` (the streams that the decoder gets rounded in training; see
    RateEstimator), and write `code_latents` and `densities`. `arguments` is what rebuilds the network: the arguments of the
    constructor by name, which pass them on to this one, and `levels` where the codec has several rates.
    """

    name: ClassVar[str]
    stride: ClassVar[int]
    latent_stride: ClassVar[int] = 16
    straight_through: ClassVar[Collection[str]] = ()
    g_a: nn.Module
    g_s: nn.Module

    def __init__(self, **arguments: Argument):
        super().__init__()
        self.arguments = arguments
        self.levels: Levels | None = None

    @property
    def latent_channels(self) -> int:
        """M, the channels of y."""
        return int(self.arguments["M"])

    def add_levels(self, count: int) -> None:
        """Give the codec so many rates, all of which are the same until they start (Levels.start), or weights are set.

        Raises UserError for a number that no file tells apart, or of which a density has no tables.
        """
        tables = count * self.latent_channels if LEVELLED in dict(self.densities()) else 0
        if tables > MAX_TABLES:
            raise UserError(
                f"{shown(count)} levels of {self.latent_channels} channels, which make {shown(tables)} tables of "
                f"{type(self).__name__}; expected at most {MAX_TABLES}; set levels.count lower"
            )
        self.levels = Levels(count, self.latent_channels)
        self.arguments = self.arguments | {"levels": count}

    @property
    def middle_level(self) -> int | None:
        """The level of which nobody said another; None of a codec of one rate."""
        return None if self.levels is None else self.levels.count // 2

    def at_levels(self, coder: LatentCoder, levels: int | Tensor | None) -> LatentCoder:
        """What code_latents talks to instead of `coder` at these levels: see Levels.coder.

        Raises UserError for None of a codec of several rates, and for anything else of one that has one.
        """
        if (self.levels is None) != (levels is None):
            given, remedy = ("no levels", "one of each picture") if levels is None else ("levels", "none")
            rates = self.arguments.get("levels", 1)
            raise UserError(f"{given} for a codec whose number of rates is {rates}; expected {remedy}; give {remedy}")
        return coder if self.levels is None or levels is None else self.levels.coder(coder, levels)

    @property
    def grid(self) -> Grid | None:
        """The regions to which the codec adapts where it is given no others; None where it adapts to none."""
        return None

    def transforms(self) -> list[nn.Module]:
        """The networks between picture and latent, on both sides: what compiling pays for."""
        return [self.g_a, self.g_s]

    def picture_networks(self) -> list[nn.Module]:
        """The networks of analysis and synthesis: those outside the pass over the latents."""
        return [self.g_a, self.g_s]

    def place(self, device: torch.device, pass_device: torch.device) -> None:
        """Move the networks of analysis and synthesis to `device`, and what codes the latents to `pass_device`."""
        self.to(pass_device)
        for network in self.picture_networks():
            network.to(device)

    def analysis(self, x: Tensor) -> Tensor:
        """y [B, M, h, w] of a picture x whose sides are multiples of `stride`, or what code_latents makes y of."""
        return self.g_a(x)

    def padded_analysis(self, x: Tensor) -> Tensor:
        """The analysis of a picture x [B, 3, H, W] of any size, padded as `stride` asks."""
        return self.analysis(pad_to_multiple(x, self.stride))

    def synthesis(self, latents: Latents) -> Tensor:
        """x_hat [B, 3, H, W], unclamped, of the quantised latents."""
        return self.g_s(latents.y_hat)

    def code_latents(self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int], regions: Regions | None) -> Latents:
        """What the decoder has.

        coder: see at_levels. y: the analysis, None when reading. size: (h, w) of the latent. regions: of a codec that adapts to
        them.
        """
        raise NotImplementedError

    def densities(self) -> Iterator[tuple[str, FactorizedDensity]]:
        """The factorized densities with the names of the streams that they code."""
        raise NotImplementedError

    def gaussian_prior(self) -> GaussianPrior | None:
        """The prior of the streams that are coded with predicted scales, where there are any."""
        return None

    def entropy_networks(self) -> list[nn.Module]:
        """The networks between decoded symbols and the tables and means of others: exact in a bundle (codec.layers.exact)."""
        return []

    def latent_size(self, height: int, width: int) -> tuple[int, int]:
        """(h, w) of the latent of a picture of that size."""
        return (height + -height % self.stride) // self.latent_stride, (width + -width % self.stride) // self.latent_stride

    def forward(
        self,
        x: Tensor,
        noise: Noise | None = None,
        regions: Tensor | None = None,
        quantized: bool = False,
        levels: Tensor | None = None,
    ) -> CodecOutput:
        """Reconstruction and likelihoods of x [B, 3, H, W] in [0, 1], of any size; noise None rounds.

        regions: int64 [B, H, W], ids from 0 for each picture, or None for the codec's grid. Codecs without one ignore it.
        quantized: with noise, also the likelihoods of the rounded latents.
        levels: int64 [B], of a codec that has several rates; the decoder then gets a rounded y in training, too: where it gets
        noise, gains grow at low levels and fall at high ones, and the range narrows.
        """
        height, width = x.shape[-2:]
        y = self.padded_analysis(x)
        straight_through = self.straight_through if levels is None else {*self.straight_through, LEVELLED}
        coder = RateEstimator(noise, straight_through, quantized)
        adapted_to: Regions | None = self.grid
        if adapted_to is not None and regions is not None:
            adapted_to = region_map(regions, self.stride)
        latents = self.code_latents(self.at_levels(coder, levels), y, self.latent_size(height, width), adapted_to)
        x_hat = self.synthesis(latents)[..., :height, :width]
        return CodecOutput(x_hat, coder.likelihoods, coder.quantized_likelihoods, latents.y_hat, levels)

    def read(
        self, coder: LatentCoder, height: int, width: int, grid: Grid | None, levels: int | Tensor | None = None
    ) -> Latents:
        """The latents of a picture of height and width, taken from `coder`.

        grid: of a codec that adapts to regions. levels: of one that has several rates; see Levels.coder.
        """
        return self.code_latents(self.at_levels(coder, levels), None, self.latent_size(height, width), grid)

    def auxiliary_loss(self) -> Tensor:
        """How far the quantiles are from the tails of their densities, summed (Ballé 2018; moves nothing else)."""
        losses = [density.loss() for _, density in self.densities()]
        return sum(losses[1:], losses[0])


class HyperpriorCodec(Codec):
    """A codec whose y is coded by Gaussians of which side information z tells (Ballé 2018, fig. 4).

    Subclasses build both entropy models and h_a, say in `hyper_analysis` and `code_latents` how z comes from y, and what it
    tells, and name the networks that tell it in `entropy_networks`.
    """

    entropy_bottleneck: FactorizedDensity  # of z
    gaussian_conditional: GaussianPrior  # of y
    h_a: nn.Module

    def densities(self) -> Iterator[tuple[str, FactorizedDensity]]:
        yield "z", self.entropy_bottleneck

    def gaussian_prior(self) -> GaussianPrior:
        return self.gaussian_conditional

    def entropy_networks(self) -> list[nn.Module]:
        raise NotImplementedError  # none would make files that another machine reads otherwise

    def hyper_analysis(self, y: Tensor) -> Tensor:
        """z [B, N, h/4, w/4] of y [B, M, h, w]; the sides of z are rounded up."""
        return self.h_a(y)

    def code_z(self, coder: LatentCoder, y: Tensor | None, size: tuple[int, int]) -> Tensor:
        """z_hat [B, N, h/4, w/4] of what hyper_analysis takes, None when reading; size: (h, w) of y."""
        z = None if y is None else self.hyper_analysis(y)
        shape = (self.entropy_bottleneck.channels, *(-(-side // 4) for side in size))
        return coder.factorized("z", z, shape, self.entropy_bottleneck)
