"""Generalised divisive normalisation (Ballé 2016) that meets memory once.

B batch, C channels, H W height and width of a feature map, P = B H W its places.
"""

from typing import Any

import compressai.layers
import torch
import torch.nn.functional as F
from torch import Tensor

from codec.layers.mixed_precision import at_least_float32, under_bf16

CACHED_BYTES = 2**19  # of one temporary: several of them stay in a core's cache of second level


def _rows(x: Tensor) -> Tensor:
    """A view [P, C] of x [B, C, H, W], which is channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.size(1))


class _BlockedGDN(torch.autograd.Function):
    """x / sqrt(beta + gamma x^2) block by block of places, so that what lies between stays in the cache.

    As separate operations over whole maps, the norms take more of a training step on a CPU than its arithmetic: a layer
    of 128 channels at 128^2 places took 105 to 150 ms forward and backward so, and 54 ms here. The norm itself is
    float32; its gradient is of x's precision, which changed no digit of the cosine between bf16 and float32 gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, inverse: bool, dtype: torch.dtype) -> Tensor:
        rows = _rows(x)
        result, factors = (torch.empty_like(rows, dtype=dtype) for _ in range(2))
        for x_block, result_block, factor_block in _blocks(rows, result, factors):
            wide = at_least_float32(x_block)
            norm = torch.addmm(beta, wide.square(), gamma.t())
            factor = norm.sqrt_() if inverse else norm.rsqrt_()
            factor_block.copy_(factor)
            result_block.copy_(wide * factor)
        ctx.save_for_backward(rows.to(dtype), factors, gamma)
        ctx.inverse = inverse
        return result.unflatten(0, (x.size(0), *x.shape[2:])).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        rows, factors, gamma = ctx.saved_tensors
        weights = gamma.to(rows.dtype)
        of_rows = torch.empty_like(rows)
        of_gamma, of_beta = torch.zeros_like(gamma), torch.zeros_like(gamma[0])
        of_result = _rows(gradient.contiguous(memory_format=torch.channels_last))
        for x, factor, upstream, of_x in _blocks(rows, factors, of_result, of_rows):
            # y = x n^p, p = -1/2 or 1/2: dy/dn = p x n^(p-1). What follows leaves out |p|, and the 2 of d(x^2)/dx.
            of_norm = upstream * x
            of_norm = of_norm.div_(factor) if ctx.inverse else of_norm.mul_(factor).mul_(factor).mul_(factor).neg_()
            torch.addcmul(upstream * factor, x, of_norm @ weights, out=of_x)
            of_gamma += of_norm.t() @ x.square()
            of_beta += of_norm.sum(0, dtype=gamma.dtype)
        shape = (gradient.size(0), *gradient.shape[2:])
        return of_rows.unflatten(0, shape).permute(0, 3, 1, 2), of_gamma / 2, of_beta / 2, None, None


def _blocks(*maps: Tensor) -> Any:
    """The maps [P, C] cut alike into blocks; whole on a device that hides its memory behind arithmetic."""
    places, channels = maps[0].shape
    size = max(1, CACHED_BYTES // (4 * channels)) if maps[0].device.type == "cpu" else places
    return zip(*(x.split(size) for x in maps), strict=True)


class GDN(compressai.layers.GDN):
    """Generalised divisive normalisation: x / sqrt(beta + gamma x^2), [B, C, H, W]; inverse multiplies.

    Parameters are CompressAI's. Under bf16 autocast what enters and leaves is bf16, the norm float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.bfloat16 if under_bf16(x) else x.dtype
        with torch.autocast(x.device.type, enabled=False):
            gamma, beta = self.gamma_reparam(self.gamma), self.beta_reparam(self.beta)
            if torch.compiler.is_compiling():  # which fuses the formula itself
                norm = F.conv2d(at_least_float32(x * x), gamma[:, :, None, None], beta)
                return x * (norm.sqrt() if self.inverse else norm.rsqrt()).to(dtype)
            return _BlockedGDN.apply(x.contiguous(memory_format=torch.channels_last), gamma, beta, self.inverse, dtype)
