"""Channel-conditional coding of y in slices (Minnen and Singh 2020, ChARM), as WACNN and SegPIC use it.

B batch, M latent channels, S = M / 10 channels of a slice, h w height and width of the latent.
"""

import torch
from compressai.entropy_models import GaussianConditional
from torch import Tensor, nn

from codec.entropy.coder import LatentCoder
from codec.layers.gelu import GELU

SLICES = 10
SUPPORT = 5  # each slice sees the first five at most, not the five before it
RESIDUAL = 0.5  # bound on the predicted rounding error


def _parameter_net(inputs: int, M: int) -> nn.Sequential:
    """[B, inputs, h, w] -> [B, M / 10, h, w]; widths 224, 176, 128 and 64 at the published M = 320."""
    widths = [inputs, M * 7 // 10, M * 11 // 20, M * 2 // 5, M // 5, M // SLICES]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), GELU()]
    return nn.Sequential(*layers[:-1])


class ChannelContext(nn.Module):
    """Codes y [B, M, h, w] in ten slices: each one's scales and means come from side information and from earlier slices.

    Latent residual prediction adds to a decoded slice what its rounding error is expected to be; the slices that follow
    see the sum. M: a multiple of 20.
    """

    def __init__(self, M: int):
        super().__init__()
        seen = [M + M // SLICES * min(i, SUPPORT) for i in range(SLICES)]
        self.means = nn.ModuleList(_parameter_net(inputs, M) for inputs in seen)
        self.scales = nn.ModuleList(_parameter_net(inputs, M) for inputs in seen)
        self.residuals = nn.ModuleList(_parameter_net(inputs + M // SLICES, M) for inputs in seen)
        self.tanh = nn.Tanh()

    def code(self, coder: LatentCoder, y: Tensor | None, scales: Tensor, means: Tensor, prior: GaussianConditional) -> Tensor:
        """y_hat [B, M, h, w] of stream "y"; scales and means: what side information says of them, [B, M, h, w]."""
        slices = [None] * SLICES if y is None else y.chunk(SLICES, dim=1)
        decoded: list[Tensor] = []
        for i, part in enumerate(slices):
            support = decoded[:SUPPORT]
            of_means = torch.cat([means, *support], dim=1)
            of_scales = torch.cat([scales, *support], dim=1)
            y_hat = coder.gaussian("y", part, self.scales[i](of_scales), self.means[i](of_means), prior)
            residual = self.residuals[i](torch.cat([of_means, y_hat], dim=1))
            decoded.append(y_hat + RESIDUAL * self.tanh(residual))
        return torch.cat(decoded, dim=1)


def code_y(
    coder: LatentCoder, context: ChannelContext | None, y: Tensor | None, scales: Tensor, means: Tensor,
    prior: GaussianConditional,
) -> Tensor:  # fmt: skip
    """y_hat [B, M, h, w] of stream "y": through the context, or, where there is none, by scales and means as they are."""
    if context is None:
        return coder.gaussian("y", y, scales, means, prior)
    return context.code(coder, y, scales, means, prior)
