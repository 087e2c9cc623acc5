"""DPSConv of SegPIC: a convolution with a 3x3 kernel of its own for each position and channel.

B batch, C channels, H W height and width of a feature map. Taps go row by row from the top left.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = 9


def _shifted(padded: Tensor, tap: int) -> Tensor:
    """What a tap sees of a map with a border of one: a view [B, C, H, W] of padded [B, C, H + 2, W + 2]."""
    dy, dx = divmod(tap, 3)
    return padded[..., dy : padded.size(-2) - 2 + dy, dx : padded.size(-1) - 2 + dx]


def sum_of_taps(padded: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """[B, C, H, W]: the sum over nine taps of kernel times what the tap sees of padded [B, C, H + 2, W + 2]."""
    out = _shifted(padded, 0) * kernels[0]
    for tap in range(1, TAPS):
        out.addcmul_(_shifted(padded, tap), kernels[tap])
    return out


class _DPSConv(torch.autograd.Function):
    """Keeps its inputs and nothing else: unfolding would keep nine copies of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *kernels: Tensor) -> Tensor:
        ctx.save_for_backward(x, *kernels)
        return sum_of_taps(F.pad(x, (1, 1, 1, 1)), kernels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x, *kernels = ctx.saved_tensors
        padded = F.pad(x, (1, 1, 1, 1))
        grad_padded = torch.zeros_like(padded)
        for tap in range(TAPS):
            _shifted(grad_padded, tap).addcmul_(grad, kernels[tap])
        return grad_padded[..., 1:-1, 1:-1], *(grad * _shifted(padded, tap) for tap in range(TAPS))


def dps_conv(x: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """[B, C, H, W]: at each position and channel, the sum over nine taps of neighbour times kernel, zeros beyond the map.

    x: [B, C, H, W]. kernels: nine tensors [B, C, H, W], one a tap, all in the memory format of x: nine of them are
    written by nine depthwise convolutions and read at full width, where the channels of one tensor [B, 9 C, H, W] would
    have to be reordered.
    Source: SegPIC (Liu et al. 2024), whose code unfolds x.
    """
    assert len(kernels) == TAPS
    return _DPSConv.apply(x, *kernels)
