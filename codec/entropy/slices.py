"""Channel-conditional coding of y in slices (Minnen and Singh 2020, ChARM), as WACNN and SegPIC use it.

B batch, M latent channels, S = M / num_slices channels of a slice, h w height and width of the latent.
"""

import torch
from torch import Tensor, nn

from codec.entropy.coder import LatentCoder
from codec.entropy.gaussian import GaussianPrior
from codec.layers.gelu import GELU
from codec.types import UserError

SUPPORT = 5  # each slice sees the first five at most, not the five before it
RESIDUAL = 0.5  # bound on the predicted rounding error


def _parameter_net(inputs: int, M: int, outputs: int) -> nn.Sequential:
    """[B, inputs, h, w] -> [B, outputs, h, w]; widths 224, 176, 128 and 64 at the published M = 320."""
    widths = [inputs, M * 7 // 10, M * 11 // 20, M * 2 // 5, M // 5, outputs]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), GELU()]
    return nn.Sequential(*layers[:-1])


class ChannelContext(nn.Module):
    """Codes y [B, M, h, w] in slices: each one's scales and means come from side information and from earlier slices.

    Latent residual prediction adds to a decoded slice what its rounding error is expected to be; the slices that follow
    see the sum. M: at least 5. num_slices: published 10.
    Raises UserError for an M that is no multiple of num_slices.
    """

    def __init__(self, M: int, num_slices: int = 10):
        super().__init__()
        if num_slices < 1 or M % num_slices:
            raise UserError(f"M={M} in {num_slices} slices; expected a multiple of them; set another M")
        self.num_slices, self.width = num_slices, M // num_slices
        outputs = self.width
        seen = [M + outputs * min(i, SUPPORT) for i in range(num_slices)]
        self.means = nn.ModuleList(_parameter_net(inputs, M, outputs) for inputs in seen)
        self.scales = nn.ModuleList(_parameter_net(inputs, M, outputs) for inputs in seen)
        self.residuals = nn.ModuleList(_parameter_net(inputs + outputs, M, outputs) for inputs in seen)
        self.tanh = nn.Tanh()

    def code(self, coder: LatentCoder, y: Tensor | None, scales: Tensor, means: Tensor, prior: GaussianPrior) -> Tensor:
        """y_hat [B, M, h, w] of stream "y", coded by `coder`.

        y: None when reading. scales, means: what side information says of them, [B, M, h, w]. prior: of each slice.
        """
        slices = [None] * self.num_slices if y is None else y.chunk(self.num_slices, dim=1)
        decoded: list[Tensor] = []
        for i, part in enumerate(slices):
            support = decoded[:SUPPORT]
            of_means = torch.cat([means, *support], dim=1)
            of_scales = torch.cat([scales, *support], dim=1)
            y_hat = coder.gaussian("y", part, self.scales[i](of_scales), self.means[i](of_means), prior, i * self.width)
            residual = self.residuals[i](torch.cat([of_means, y_hat], dim=1))
            decoded.append(y_hat + RESIDUAL * self.tanh(residual))
        return torch.cat(decoded, dim=1)


def code_y(
    coder: LatentCoder, context: ChannelContext | None, y: Tensor | None, scales: Tensor, means: Tensor,
    prior: GaussianPrior,
) -> Tensor:  # fmt: skip
    """y_hat [B, M, h, w] of stream "y": through the context, or, where there is none, by scales and means as they are.

    coder, y, scales, means, prior: as of ChannelContext.code.
    """
    if context is None:
        return coder.gaussian("y", y, scales, means, prior)
    return context.code(coder, y, scales, means, prior)
