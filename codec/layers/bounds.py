"""Lower bounds that let a gradient through where it leads back: TensorFlow Compression's, which Ballé 2018 was trained with."""

from typing import Any

import torch
from torch import Tensor, nn

PEDESTAL = 2**-36  # keeps the gradient of the square root below finite at zero


class _LowerBound(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return ((x >= ctx.bound) | (gradient < 0)) * gradient, None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), of any shape. Below the bound a gradient passes only where descent raises x."""
    return _LowerBound.apply(x, bound)


class NonNegative(nn.Module):
    """Values that stay at `minimum` or above, from parameters that are their square roots (Ballé 2018, section 6.2)."""

    def __init__(self, minimum: float = 0.0):
        super().__init__()
        self.bound = (minimum + PEDESTAL) ** 0.5

    def parameter(self, values: Tensor) -> nn.Parameter:
        """The parameter, in the shape of `values`, that stands for them."""
        return nn.Parameter(torch.sqrt((values + PEDESTAL).clamp(min=PEDESTAL)))

    def forward(self, parameter: Tensor) -> Tensor:
        return lower_bound(parameter, self.bound) ** 2 - PEDESTAL
