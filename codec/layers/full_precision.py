"""Layers that compute in float32 under bf16 autocast.

In bf16 alone the gradient of a trained mean-scale hyperprior had a cosine of 0.82 to 0.97 with the one in float32; with
the norms of GDN and the two layers at the picture in float32, of 0.996. The other convolutions are where the time is, and
stay in bf16.

B batch, C channels, H W height and width of a feature map.
"""

import compressai.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_float32(x: Tensor) -> Tensor:
    """x, in float32 if it is of lower precision: in bf16 an integer above 256 is no longer itself."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class GDN(compressai.layers.GDN):
    """Generalised divisive normalisation (Ballé 2016): x / sqrt(beta + gamma x^2), [B, C, H, W]; inverse multiplies.

    Parameters are CompressAI's.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            gamma = self.gamma_reparam(self.gamma)[:, :, None, None]
            norm = F.conv2d(at_least_float32(x * x), gamma, self.beta_reparam(self.beta))
            # What enters and leaves may be bf16 (cosine 0.996, a tenth faster); the norm and its gradient may not.
            return x * (norm.sqrt() if self.inverse else norm.rsqrt()).to(x.dtype)


class PictureConv2d(nn.Conv2d):
    """The convolution that reads a picture."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(at_least_float32(x))


class PictureConvTranspose2d(nn.ConvTranspose2d):
    """The transposed convolution that writes a picture."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(at_least_float32(x), output_size)
