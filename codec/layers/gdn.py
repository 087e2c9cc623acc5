"""Generalised divisive normalisation (Ballé 2016) that meets memory once.

B batch, C channels, H W height and width of a feature map, P = B H W its places.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.bounds import NonNegative
from codec.layers.mixed_precision import at_least_float32, under_bf16

MIN_BETA, START_OF_GAMMA = 1e-6, 0.1  # CompressAI's
CACHED_BYTES = 2**20  # of one temporary of a core: several of them stay in its cache of second level


def _rows(x: Tensor) -> Tensor:
    """A view [P, C] of x [B, C, H, W], which is channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.size(1))


class _BlockedGDN(torch.autograd.Function):
    """x / sqrt(beta + gamma x^2) block by block of places, so that what lies between stays in the cache.

    As separate operations over whole maps, the norms take more of a training step on a CPU than its arithmetic: a layer
    of 128 channels at 128^2 places took 105 to 150 ms forward and backward so, and 39 ms here. The norm itself is
    float32; its gradient is of the result's precision, which changed no digit of the cosine between bf16 and float32
    gradients. Temporaries are made once: each new one of a megabyte is new memory from the system.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, inverse: bool, dtype: torch.dtype) -> Tensor:
        rows = _rows(x)
        result, factors = (torch.empty_like(rows, dtype=dtype) for _ in range(2))
        weights = gamma.t().contiguous()
        for x_block, result_block, factor_block, wide, norm, square in _blocks((rows, result, factors), [gamma.dtype] * 3):
            wide.copy_(x_block)
            torch.addmm(beta, torch.mul(wide, wide, out=square), weights, out=norm)
            factor = norm.sqrt_() if inverse else norm.rsqrt_()
            factor_block.copy_(factor)
            result_block.copy_(wide.mul_(factor))
        ctx.save_for_backward(rows.to(dtype), factors, gamma)
        ctx.inverse = inverse
        return result.unflatten(0, (x.size(0), *x.shape[2:])).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[override]
        rows, factors, gamma = ctx.saved_tensors
        sign = 1 if ctx.inverse else -1
        weights = (sign * gamma).to(rows.dtype)
        of_rows = torch.empty_like(rows)
        of_gamma, of_beta = torch.zeros_like(gamma), torch.zeros_like(gamma[0])
        of_result = _rows(gradient.contiguous(memory_format=torch.channels_last))
        maps = rows, factors, of_result, of_rows
        ones = rows.new_ones(len(rows))
        for x, factor, upstream, of_x, direct, of_norm, other in _blocks(maps, [rows.dtype] * 3):
            # y = x n^p, p = -1/2 or 1/2: dy/dn = p x n^(p-1). What follows leaves out p, and the 2 of d(x^2)/dx.
            torch.mul(upstream, factor, out=direct)
            torch.mul(direct, x, out=of_norm)
            torch.mul(factor, factor, out=other)
            of_norm = of_norm.div_(other) if ctx.inverse else of_norm.mul_(other)
            torch.addcmul(direct, x, torch.mm(of_norm, weights, out=other), out=of_x)
            of_gamma += of_norm.t() @ torch.mul(x, x, out=other)
            of_beta += of_norm.t() @ ones[: len(of_norm)]  # a sum over so few rows takes several times as long
        shape = (gradient.size(0), *gradient.shape[2:])
        return of_rows.unflatten(0, shape).permute(0, 3, 1, 2), of_gamma * (sign / 2), of_beta * (sign / 2), None, None


def _normalised(x: Tensor, gamma: Tensor, beta: Tensor, inverse: bool) -> Tensor:
    """The same of float32 x without what a gradient would need."""
    rows = _rows(x)
    result, weights = torch.empty_like(rows), gamma.t().contiguous()
    for x_block, result_block, norm, square in _blocks((rows, result), [torch.float32] * 2):
        torch.addmm(beta, torch.mul(x_block, x_block, out=square), weights, out=norm)
        torch.mul(x_block, norm.sqrt_() if inverse else norm.rsqrt_(), out=result_block)
    return result.unflatten(0, (x.size(0), *x.shape[2:])).permute(0, 3, 1, 2)


def _blocks(maps: Sequence[Tensor], temporaries: Sequence[torch.dtype]) -> Iterator[tuple[Tensor, ...]]:
    """The maps [P, C] cut alike into blocks, each with the same temporaries of its size.

    Whole on a device that hides its memory behind arithmetic.
    """
    places, channels = maps[0].shape
    cached = max(1, CACHED_BYTES * torch.get_num_threads() // (4 * channels))
    size = min(places, cached) if maps[0].device.type == "cpu" else places
    buffers = [maps[0].new_empty(size, channels, dtype=dtype) for dtype in temporaries]
    for blocks in zip(*(x.split(size) for x in maps), strict=True):
        yield *blocks, *(buffer[: len(blocks[0])] for buffer in buffers)


class GDN(nn.Module):
    """Generalised divisive normalisation: x / sqrt(beta + gamma x^2), [B, C, H, W]; inverse multiplies.

    Parameters are CompressAI's. Under bf16 autocast what enters and leaves is bf16, the norm float32.
    """

    def __init__(self, channels: int, inverse: bool = False):
        super().__init__()
        self.inverse = inverse
        self.beta_reparam, self.gamma_reparam = NonNegative(MIN_BETA), NonNegative()
        self.beta = self.beta_reparam.parameter(torch.ones(channels))
        self.gamma = self.gamma_reparam.parameter(START_OF_GAMMA * torch.eye(channels))

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.bfloat16 if under_bf16(x) else x.dtype
        with torch.autocast(x.device.type, enabled=False):
            gamma, beta = self.gamma_reparam(self.gamma), self.beta_reparam(self.beta)
            if torch.compiler.is_compiling():  # which fuses the formula itself
                norm = F.conv2d(at_least_float32(x * x), gamma[:, :, None, None], beta)
                return x * (norm.sqrt() if self.inverse else norm.rsqrt()).to(dtype)
            if not torch.is_grad_enabled() and dtype == torch.float32:
                return _normalised(x.contiguous(memory_format=torch.channels_last), gamma, beta, self.inverse)
            return _BlockedGDN.apply(x.contiguous(memory_format=torch.channels_last), gamma, beta, self.inverse, dtype)
