"""Convolutions whose weight, as a matrix, has a largest singular value of about 1 (Miyato et al. 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.mixed_precision import rounded_with_feedback, under_bf16
from codec.layers.same_padding import pad_same

EPSILON = 1e-12  # compare_gan's, on which HiFiC builds


class SpectralNormConv2d(nn.Conv2d):
    """A SAME convolution with the weight divided by an estimate of its norm; the bias stays as it is.

    Each forward pass in training takes one step of the power iteration; its vectors are constants for the gradient.
    PyTorch's own parametrization runs its matrix products under autocast, in bf16, and begins with fifteen steps.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__(inputs, outputs, kernel, stride)
        self.register_buffer("u", torch.randn(outputs))
        self.u: Tensor

    def normalised_weight(self) -> Tensor:
        """The weight over its norm, [b, a, k, k], float32; moves the vector in training."""
        with torch.autocast(self.weight.device.type, enabled=False):
            matrix = self.weight.flatten(1)
            with torch.no_grad():
                v = F.normalize(matrix.T @ self.u, dim=0, eps=EPSILON)
                u = F.normalize(matrix @ v, dim=0, eps=EPSILON)
                if self.training:
                    self.u.copy_(u)  # the graph keeps u itself: another pass before the backward one does no harm
            return self.weight / (u @ (matrix @ v))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.normalised_weight()
        if under_bf16(x):
            weight = rounded_with_feedback(weight, 1)
        return self._conv_forward(pad_same(x, self.kernel_size[0], self.stride[0]), weight, self.bias)
