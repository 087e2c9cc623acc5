"""WACNN and SegPIC computed as their authors' code computes them: what `codec bench` compares with."""

import copy

import compressai.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.attention import HEADS, WindowAttention
from codec.layers.dps_conv import TAPS
from codec.layers.gdn import GDN
from codec.layers.gelu import GELU
from codec.layers.mixed_precision import Conv2d, ConvTranspose2d, PictureConv2d, PictureConvTranspose2d
from codec.layers.region_adaptive import RAT, SAL
from codec.layers.regions import Regions
from codec.models.base import Codec


def unfolded_dps_conv(x: Tensor, kernels: Tensor) -> Tensor:
    """[B, C, H, W] of x [B, C, H, W] and kernels [B, 9 C, H, W], tap j of channel i as channel 9 i + j."""
    shape = (x.size(0), x.size(1), TAPS, *x.shape[2:])
    taps = F.unfold(x, 3, padding=1).view(shape)
    return torch.einsum("bcjhw,bcjhw->bchw", taps, kernels.view(shape))


class _RAT(RAT):
    def forward(self, x: Tensor, prototypes: Tensor, regions: Regions) -> Tensor:
        content, dkg = self.ctl(x), self.dkg
        guide = regions.expand(prototypes, (x.size(-2), x.size(-1)))
        features = dkg.relu(dkg.mix(torch.cat([content, guide], dim=1)))
        filtered = unfolded_dps_conv(content, dkg.taps(dkg.relu(dkg.spread(features))))
        return x + self.out(self.cag(filtered) * filtered)


class _SAL(SAL):
    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(x).chunk(2, dim=1)
        return x * (1 + scale) + shift


class _WindowAttention(WindowAttention):
    def _attend(self, windows: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.qkv(windows).unflatten(-1, (3, HEADS, -1)).permute(3, 0, 1, 4, 2, 5)
        weights = (q * q.size(-1) ** -0.5) @ k.transpose(-2, -1)
        weights = weights + self.positions()
        weights = weights + bias
        return (weights.softmax(dim=-1) @ v).transpose(2, 3).flatten(-2)

    def _bias(self, height: int, width: int) -> Tensor:
        return self.borders(height, width)


AS_PUBLISHED: dict[type[nn.Module], type[nn.Module]] = {
    GDN: compressai.layers.GDN,
    GELU: nn.GELU,
    WindowAttention: _WindowAttention,
    Conv2d: nn.Conv2d,
    PictureConv2d: nn.Conv2d,
    ConvTranspose2d: nn.ConvTranspose2d,
    PictureConvTranspose2d: nn.ConvTranspose2d,
    SAL: _SAL,
    RAT: _RAT,
}


def as_published(model: Codec) -> Codec:
    """A copy of the model with the same parameters and results, whose layers compute as published."""
    model = copy.deepcopy(model)
    for layer in model.modules():
        layer.__class__ = AS_PUBLISHED.get(type(layer), type(layer))
    return model
