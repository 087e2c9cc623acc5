"""WACNN and SegPIC computed as their authors' code computes them: what `codec bench` compares with."""

import copy

import compressai.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.dps_conv import TAPS
from codec.layers.gdn import GDN
from codec.layers.mixed_precision import Conv2d, ConvTranspose2d, PictureConv2d, PictureConvTranspose2d
from codec.layers.region_adaptive import RAT, SAL
from codec.layers.regions import Partition
from codec.models.base import Codec


def unfolded_dps_conv(x: Tensor, kernels: Tensor) -> Tensor:
    """[B, C, H, W] of x [B, C, H, W] and kernels [B, 9 C, H, W], tap j of channel i as channel 9 i + j."""
    shape = (x.size(0), x.size(1), TAPS, *x.shape[2:])
    taps = F.unfold(x, 3, padding=1).view(shape)
    return torch.einsum("bcjhw,bcjhw->bchw", taps, kernels.view(shape))


class _RAT(RAT):
    def forward(self, x: Tensor, prototypes: Tensor, partition: Partition) -> Tensor:
        content, dkg = self.ctl(x), self.dkg
        guide = partition.expand(prototypes, (x.size(-2), x.size(-1)))
        features = dkg.relu(dkg.mix(torch.cat([content, guide], dim=1)))
        filtered = unfolded_dps_conv(content, dkg.taps(dkg.relu(dkg.spread(features))))
        return x + self.out(self.cag(filtered) * filtered)


class _SAL(SAL):
    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(x).chunk(2, dim=1)
        return x * (1 + scale) + shift


AS_PUBLISHED: dict[type[nn.Module], type[nn.Module]] = {
    GDN: compressai.layers.GDN,
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
