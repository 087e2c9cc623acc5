"""Convolutions under bf16 autocast whose gradients stay those of float32.

Rounding activations to bf16 is noise, which sums to little. Rounding a weight is an error of the same sign at every place: with
plain autocast the gradient of a trained mean-scale hyperprior had a cosine of 0.43 with the one in float32, all of it from
the weights of its convolutions. So weights hand their rounding errors on to their neighbours in the kernel (0.99), and the
two layers at the picture compute in float32, since an error there is one of the picture.

B batch, C channels, H W height and width of a feature map, a b the channels of a weight, k its sides.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CACHED_PLACES = 1024  # of a core: their columns stay in its cache of second level


def at_least_float32(x: Tensor) -> Tensor:
    """x, in float32 if it is of lower precision: in bf16 an integer above 256 is no longer itself."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _paths(height: int, width: int, stride: int) -> list[list[int]]:
    """The places of a kernel in the order in which they hand on their errors: to and fro, row by row, for each phase.

    stride: 1, or that of a transposed convolution, each of whose outputs meets only every stride-th place.
    """
    paths = []
    for top in range(stride):
        for left in range(stride):
            rows = [[row * width + column for column in range(left, width, stride)] for row in range(top, height, stride)]
            paths.append([place for number, row in enumerate(rows) for place in (row if number % 2 == 0 else row[::-1])])
    return paths


class _RoundWithFeedback(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, weight: Tensor, stride: int) -> Tensor:
        by_place = weight.permute(2, 3, 0, 1).flatten(0, 1).contiguous()
        rounded = torch.empty_like(by_place, dtype=torch.bfloat16)
        for path in _paths(weight.size(2), weight.size(3), stride):
            carried = torch.zeros_like(by_place[0])
            for place in path:
                carried += by_place[place]
                rounded[place] = carried
                carried -= rounded[place]
        result = rounded.unflatten(0, weight.shape[2:]).permute(2, 3, 0, 1)
        return torch.empty_like(weight, dtype=torch.bfloat16).copy_(result)  # in the memory format of the weight

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient.float(), None


def rounded_with_feedback(weight: Tensor, stride: int) -> Tensor:
    """weight [a, b, k, k] in bf16, such that sums over neighbouring places of a kernel stay what they are.

    The error of each place goes to the next; what is left at the end of a path is one error instead of k^2.
    stride: 1, or that of a transposed convolution.
    """
    return _RoundWithFeedback.apply(weight, stride)


def under_bf16(x: Tensor) -> bool:
    """Whether autocast to bf16 is on where x lies."""
    device = x.device.type
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16


class Conv2d(nn.Conv2d):
    """A convolution; under bf16 autocast its weights are rounded with feedback."""

    def forward(self, x: Tensor) -> Tensor:
        weight = rounded_with_feedback(self.weight, 1) if under_bf16(x) else self.weight
        return self._conv_forward(x, weight, self.bias)


class _BiasGradient(torch.autograd.Function):
    """A map [B, C, H, W] as it is, with the gradient of the bias [C] that was added to it.

    Asked for that of a transposed convolution, oneDNN takes up to a fifth of the whole backward pass for what is a sum.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        ctx.mark_dirty(x)  # so that it is no view, of which no layer after it could change values in place
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return gradient, gradient.sum((0, 2, 3))


class ConvTranspose2d(nn.ConvTranspose2d):
    """A transposed convolution; under bf16 autocast its weights are rounded with feedback."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None and self.padding_mode == "zeros" and self.bias is not None
        weight = rounded_with_feedback(self.weight, self.stride[0]) if under_bf16(x) else self.weight
        result = nn.functional.conv_transpose2d(
            x, weight, self.bias.detach(), self.stride, self.padding, self.output_padding, self.groups, self.dilation  # type: ignore[arg-type]
        )  # fmt: skip
        return _BiasGradient.apply(result, self.bias)


class PictureConv2d(nn.Conv2d):
    """The convolution that reads a picture, in float32."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(at_least_float32(x))


class _FoldedTransposedConvolution(torch.autograd.Function):
    """A transposed convolution to few channels as one product and F.fold, strip by strip of a picture.

    Forward in the weight's precision whatever x's is, backward in x's. Four pictures of 256^2 from 128 channels at half
    that side took a CPU core 77 ms as a convolution, 30 ms so; their gradient 49 ms in float32, 20 ms in bf16.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, output_padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = stride, padding, output_padding
        inputs, outputs, kernel, _ = weight.shape
        height, width = ((side - 1) * stride + kernel + output_padding for side in x.shape[2:])  # before padding is cut off
        result = weight.new_zeros(x.size(0), outputs, height, width)
        columns_of = weight.flatten(1).t().contiguous()
        rows = max(1, CACHED_PLACES * torch.get_num_threads() // x.size(3))
        for picture, out in zip(x.permute(0, 2, 3, 1), result, strict=True):
            for number, strip in enumerate(picture.split(rows)):
                sides = (len(strip) - 1) * stride + kernel, width - output_padding
                columns = columns_of @ strip.reshape(-1, inputs).to(weight.dtype).t()
                top = number * rows * stride
                out[:, top : top + sides[0], : sides[1]] += F.fold(columns, sides, kernel, stride=stride)
        return result[:, :, padding : height - padding, padding : width - padding] + bias[:, None, None]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        stride, padding, output_padding = ctx.geometry
        low = weight if x.dtype == weight.dtype else rounded_with_feedback(weight, stride)
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient.to(x.dtype), x, low, None, [stride] * 2, [padding] * 2, [1, 1], True, [output_padding] * 2, 1,
            [True, True, False],
        )  # fmt: skip
        return of_x, of_weight.to(weight.dtype), gradient.sum((0, 2, 3)), None, None, None


class PictureConvTranspose2d(nn.ConvTranspose2d):
    """The transposed convolution that writes a picture: in float32, whatever the precision of what it reads."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert output_size is None and self.bias is not None
        geometry = self.stride[0], self.padding[0], self.output_padding[0]
        with torch.autocast(x.device.type, enabled=False):
            return _FoldedTransposedConvolution.apply(x, self.weight, self.bias, *geometry)
