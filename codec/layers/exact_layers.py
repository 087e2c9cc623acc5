"""The layers of entropy networks in their exact mode: what codec/layers/exact.py says, kind by kind.

B batch, C channels, h w height and width of a map, prototypes [B, C, rows, cols].
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from codec.layers.dps_conv import TAPS, sum_of_taps
from codec.layers.exact import LIMIT, UNIT, Tap, from_units, products, rounded, to_units
from codec.layers.gdn import GDN
from codec.layers.gelu import GELU
from codec.layers.mixed_precision import Conv2d, ConvTranspose2d
from codec.layers.region_adaptive import CAG, DKG, RAT
from codec.layers.regions import Grid, Regions


class _Convolution(_ConvNd):
    """A convolution of stride 1 that keeps the size of a map, or a transposed one of stride s that multiplies it by s."""

    def phases(self, weight: Tensor) -> dict[tuple[int, int], list[Tap]]:
        """The taps of the outputs [a::s, b::s], for each phase (a, b) of the stride: the same at every place."""
        kernel, padding, stride = weight.size(-1), int(self.padding[0]), self.stride[0]
        assert (self.transposed or stride == 1) and self.output_padding[0] == stride - kernel + 2 * padding

        def places(phase: int) -> list[tuple[int, int]]:
            """Those of the kernel that a phase meets, on one axis, and the step from an output to the input there."""
            met = range((phase + padding) % stride, kernel, stride)
            return [(i, (phase + padding - i) // stride if self.transposed else i - padding) for i in met]

        def taps(a: int, b: int) -> list[Tap]:
            matrices = [(dy, dx, weight[:, :, i, j]) for i, dy in places(a) for j, dx in places(b)]
            return [(dy, dx, matrix.t()) for dy, dx, matrix in matrices] if self.transposed else matrices

        return {(a, b): taps(a, b) for a in range(stride) for b in range(stride)}

    def round_parameters(self) -> None:
        def total(weight: Tensor) -> Tensor:
            sums = [torch.stack([matrix.abs().sum(1) for *_, matrix in taps]).sum(0) for taps in self.phases(weight).values()]
            return torch.stack(sums).amax(0)

        assert self.bias is not None
        weight, bias = rounded(self.weight, self.bias, total)
        by_tap = weight.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)  # in memory each tap is a matrix
        self.weight, self.bias = (nn.Parameter(value, requires_grad=False) for value in (by_tap, bias))

    def forward(self, x: Tensor) -> Tensor:
        assert self.bias is not None
        phases, bias, (height, width), stride = self.phases(self.weight), self.bias / UNIT, x.shape[2:], self.stride[0]
        units = bias.new_empty(len(x), len(bias), height * stride, width * stride)
        for picture, out in zip(to_units(x), units, strict=True):
            for (a, b), taps in phases.items():
                out[:, a::stride, b::stride] = products(picture, taps, bias)
        return from_units(units)


class _InverseGDN(GDN):
    """x sqrt(beta + gamma x^2), with x^2 on the grid too, up to 2^20."""

    exact_gamma: Tensor
    exact_beta: Tensor

    def round_parameters(self) -> None:
        assert self.inverse
        beta, gamma = self.beta_reparam(self.beta.detach().double()), self.gamma_reparam(self.gamma.detach().double())
        gamma, beta = rounded(gamma, beta, lambda weight: weight.abs().sum(1), LIMIT**2)
        self.register_buffer("exact_gamma", gamma, persistent=False)
        self.register_buffer("exact_beta", beta, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        units = to_units(x)
        squares = (units * units * UNIT).round_()
        norms = torch.stack([products(picture, [(0, 0, self.exact_gamma)], self.exact_beta / UNIT) for picture in squares])
        return from_units(units * (norms * UNIT).sqrt_())


def _at_grid(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return from_units(function(to_units(x) * UNIT) / UNIT)


class _GELU(nn.GELU):
    def forward(self, x: Tensor) -> Tensor:
        return _at_grid(F.gelu, x)


class _Tanh(nn.Tanh):
    def forward(self, x: Tensor) -> Tensor:
        return _at_grid(torch.tanh, x)


class _Sigmoid(nn.Sigmoid):
    def forward(self, x: Tensor) -> Tensor:
        return _at_grid(torch.sigmoid, x)


def expanded(prototypes: Tensor, regions: Regions, height: int, width: int) -> Tensor:
    """[B, C, h, w]: at each position the prototype of its region.

    Row i lies in cell i * rows // height, in integers: the place that F.interpolate computes in floats differs between
    memory formats, at widths such as 3008.
    """
    if not isinstance(regions, Grid):
        return regions.expand(prototypes, (height, width))
    rows, cols = (
        torch.arange(side, device=prototypes.device) * cells // side
        for side, cells in zip((height, width), regions.shape, strict=True)
    )
    return prototypes[:, :, rows[:, None], cols]


class _DKG(DKG):
    def _mixed(self, x: Tensor, prototypes: Tensor, regions: Regions) -> Tensor:
        of_features, of_prototypes = self.mix.weight[..., 0, 0].chunk(2, dim=1)
        assert self.mix.bias is not None
        bias = self.mix.bias / UNIT
        guide = torch.stack([products(cells, [(0, 0, of_prototypes)], bias) for cells in to_units(prototypes)])
        own = torch.stack([products(picture, [(0, 0, of_features)], torch.zeros_like(bias)) for picture in to_units(x)])
        return from_units(own + self.expanded(guide, regions, (x.size(-2), x.size(-1))))

    @staticmethod
    def expanded(prototypes: Tensor, regions: Regions, size: tuple[int, int]) -> Tensor:
        return expanded(prototypes, regions, *size)

    def _kernels(self, features: Tensor) -> list[Tensor]:
        channels, padded = features.size(1), F.pad(to_units(features), (1, 1, 1, 1))
        assert self.taps.bias is not None
        weights = self.taps.weight.reshape(channels, TAPS, TAPS, 1, 1).unbind(1)
        biases = (self.taps.bias / UNIT).view(channels, TAPS, 1, 1).unbind(1)
        return [from_units(sum_of_taps(padded, weight.unbind(1)) + bias) for weight, bias in zip(weights, biases, strict=True)]


class _CAG(CAG):
    def forward(self, x: Tensor) -> Tensor:
        return self.of_totals(self.totals(x), x.size(-2) * x.size(-1))

    def totals(self, x: Tensor) -> Tensor:
        return to_units(x).sum(dim=(2, 3), keepdim=True)

    def of_totals(self, totals: Tensor, positions: int) -> Tensor:
        # By a tensor: a division by a number may become a product with its reciprocal.
        return self.gate((totals / torch.full_like(totals, positions) * UNIT).float())


class _RAT(RAT):
    @staticmethod
    def _filtered(content: Tensor, kernels: list[Tensor]) -> Tensor:
        sums = sum_of_taps(F.pad(to_units(content), (1, 1, 1, 1)), [to_units(kernel) for kernel in kernels])
        return from_units(sums * UNIT)


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: _Convolution,
    Conv2d: _Convolution,
    ConvTranspose2d: _Convolution,
    GDN: _InverseGDN,
    GELU: _GELU,
    nn.Tanh: _Tanh,
    nn.Sigmoid: _Sigmoid,
}
BLOCKS: dict[type[nn.Module], type[nn.Module]] = {DKG: _DKG, CAG: _CAG, RAT: _RAT}  # layers, and sums of products between
EXACT_ALREADY = (nn.ReLU, nn.LeakyReLU, nn.PixelShuffle)


def make_exact(network: nn.Module) -> None:
    """Put all layers of `network` into the exact mode for good, their parameters rounded and in float64.

    Raises UserError where weights are not finite, or too large for exact sums.
    """
    if type(network) in LAYERS:
        network.__class__ = LAYERS[type(network)]
        if isinstance(network, (_Convolution, _InverseGDN)):
            network.round_parameters()
        return
    network.__class__ = BLOCKS.get(type(network), type(network))
    children = list(network.children())
    assert children or isinstance(network, EXACT_ALREADY), f"{type(network).__name__} has no exact mode"
    for child in children:
        make_exact(child)
