"""The layers that SegPIC adds to a transform (Liu et al. 2024): SAL, and RAT with its parts CTL, DKG, DPSConv and CAG.

B batch, C channels, h w height and width of a feature map, prototypes [B, C, rows, cols] as a Regions pools them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.dps_conv import TAPS, dps_conv
from codec.layers.gelu import GELU
from codec.layers.regions import Regions

SLOPE = 0.1  # of RAT's leaky ReLUs


class _Affine(torch.autograd.Function):
    """x (1 + s) + b, put into the memory of b."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.mark_dirty(shift)
        shift.add_(x).addcmul_(x, scale)
        return shift

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, scale = ctx.saved_tensors
        return torch.addcmul(grad, grad, scale), grad * x, grad


class SAL(nn.Module):
    """Scale Affine Layer: x (1 + s(x)) + b(x), [B, C, h, w]. The paper's figure has s for 1 + s; the code adds the one."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale_and_shift = nn.Sequential(nn.Conv2d(channels, channels, 1), GELU(), nn.Conv2d(channels, 2 * channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.scale_and_shift[:-1](x)
        weight, bias = self.scale_and_shift[-1].parameters()
        # Two maps instead of one: the shift's memory takes the result, and no gradient has to be put together.
        scale, shift = (F.conv2d(hidden, *half) for half in zip(weight.chunk(2), bias.chunk(2), strict=True))
        return _Affine.apply(x.to(scale.dtype), scale, shift)


class CTL(nn.Sequential):
    """What RAT's kernels act on: two 1x1 convolutions of the features."""

    def __init__(self, channels: int):
        super().__init__(nn.Conv2d(channels, channels, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(channels, channels, 1))


class DKG(nn.Module):
    """The kernel of each position and channel, from the features there and the prototype of its region."""

    def __init__(self, channels: int):
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, channels, 1)
        self.spread = nn.Conv2d(channels, channels, 3, padding=1)
        self.taps = nn.Conv2d(channels, TAPS * channels, 3, padding=1, groups=channels)  # output 9 i + j: tap j of channel i
        self.relu = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor, prototypes: Tensor, regions: Regions) -> list[Tensor]:
        """Nine tensors [B, C, h, w], one a tap."""
        return self._kernels(self.relu(self.spread(self.relu(self._mixed(x, prototypes, regions)))))

    def _kernels(self, features: Tensor) -> list[Tensor]:
        channels = features.size(1)
        # Nine convolutions for one: depthwise ones are fast, one with nine outputs a channel is not, and it would
        # interleave the taps.
        weights = self.taps.weight.view(channels, TAPS, 1, 3, 3).unbind(1)
        assert self.taps.bias is not None
        biases = self.taps.bias.view(channels, TAPS).unbind(1)
        return [
            F.conv2d(features, weight, bias, padding=1, groups=channels) for weight, bias in zip(weights, biases, strict=True)
        ]

    def _mixed(self, x: Tensor, prototypes: Tensor, regions: Regions) -> Tensor:
        """The convolution of features and prototypes side by side; linear in both, so the prototypes' part is expanded."""
        of_features, of_prototypes = self.mix.weight.chunk(2, dim=1)
        guide = F.conv2d(prototypes, of_prototypes, self.mix.bias)
        return F.conv2d(x, of_features).add_(self.expanded(guide, regions, (x.size(-2), x.size(-1))))

    @staticmethod
    def expanded(prototypes: Tensor, regions: Regions, size: tuple[int, int]) -> Tensor:
        """[B, C, h, w] with size (h, w): at each position the prototype of its region."""
        return regions.expand(prototypes, size)


class CAG(nn.Module):
    """A gate in (0, 1) for each channel, [B, C, 1, 1], from the mean of each."""

    def __init__(self, channels: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(channels, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        # Over a view in the order of memory: of a mean over (2, 3) the gradient would be a map in another order.
        return self.gate(x.permute(0, 2, 3, 1).mean(dim=(1, 2))[..., None, None])

    def totals(self, x: Tensor) -> Tensor:
        """The sum of each channel, [B, C, 1, 1], to be added to those of other parts of a map."""
        return x.sum(dim=(2, 3), keepdim=True, dtype=torch.float64)

    def of_totals(self, totals: Tensor, positions: int) -> Tensor:
        """The gates from the sums over a whole map of so many positions."""
        return self.gate((totals / positions).float())


class RAT(nn.Module):
    """Region-adaptive transform of features [B, C, h, w], guided by the prototypes of their regions.

    x --CTL--> x' --DPSConv--> o --(CAG(o) * o)--1x1--> + x
                      ^
    x', prototypes --DKG
    """

    def __init__(self, channels: int):
        super().__init__()
        self.ctl, self.dkg, self.cag = CTL(channels), DKG(channels), CAG(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, prototypes: Tensor, regions: Regions) -> Tensor:
        filtered = self.filtered(x, prototypes, regions)
        return self.gated(x, filtered, self.cag(filtered))

    def filtered(self, x: Tensor, prototypes: Tensor, regions: Regions) -> Tensor:
        """o, [B, C, h, w]."""
        content = self.ctl(x)
        return self._filtered(content, self.dkg(content, prototypes, regions))

    def gated(self, x: Tensor, filtered: Tensor, gates: Tensor) -> Tensor:
        """x and what the gates [B, C, 1, 1] let pass of o."""
        return self.out(gates * filtered).add_(x)

    @staticmethod
    def _filtered(content: Tensor, kernels: list[Tensor]) -> Tensor:
        return dps_conv(content, kernels)
