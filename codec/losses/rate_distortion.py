"""Rate and distortion, and their sum.

B batch, C latent channels, H W height and width of the picture, h w height and width of a latent.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from codec.losses.base import Loss, LossTerms
from codec.losses.rate_target import RateTarget
from codec.metrics.quality import MIN_MS_SSIM_SIDE
from codec.types import CodecOutput, UserError

Distortion = Callable[[Tensor, Tensor], Tensor]


def bits_per_pixel(likelihoods: Tensor, num_pixels: int) -> Tensor:
    """Estimated rate of each picture in bits per pixel, shape [B].

    likelihoods: [B, C, h, w] or any other [B, …], in (0, 1]; num_pixels: H * W before padding.
    Source: Ballé 2018, eq. 6, the rate term of the loss.
    """
    return torch.log2(likelihoods).sum(dim=tuple(range(1, likelihoods.ndim))) / -num_pixels


def mse_255(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error on the 0-255 scale of pictures in [0, 1]: the scale of the published lambdas."""
    return torch.mean((x_hat - x) ** 2) * 255**2


def one_minus_ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang 2003) of pictures in [0, 1], unclamped.

    Raises UserError where a side is too short for its five scales.
    """
    if min(x.shape[-2:]) < MIN_MS_SSIM_SIDE:
        raise UserError(
            f"MS-SSIM of a {x.shape[-1]}x{x.shape[-2]} crop; expected both sides of at least {MIN_MS_SSIM_SIDE}; "
            "set data.crop=256 or loss=mse"
        )
    return 1 - ms_ssim(x_hat, x, data_range=1.0)


class Perceptual(Protocol):
    """A distance of pictures that has a name, such as codec.metrics.perceptual.Lpips."""

    name: str

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Mean distance of x_hat from x, both [B, 3, H, W]."""
        ...


class RateDistortion(Loss):
    """lmbda * distortion + bpp, bpp in bits per original pixel, averaged over the batch (Ballé 2018, eq. 6).

    loss = lmbda * distortion + rate_weight * bpp + perceptual_weight * perceptual

    lmbda: weight of the distortion, whose scale is the distortion function's own. rate_target: decides about rate_weight,
    which is 1 without. perceptual, perceptual_weight: a further distance and its weight (HiFiC: LPIPS, 1).
    """

    def __init__(
        self,
        distortion: Distortion,
        lmbda: float,
        rate_target: RateTarget | None = None,
        perceptual: Perceptual | None = None,
        perceptual_weight: float = 1.0,
    ):
        if not lmbda > 0 or not math.isfinite(lmbda):
            raise UserError(f"lmbda={lmbda}; expected a positive number, such as 0.0067; set model.lmbda")
        self.distortion = distortion
        self.lmbda = lmbda
        self.rate_target = rate_target
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight
        self.of_mse, self.steers = distortion is mse_255, rate_target is not None
        self.measured_with = None if perceptual is None else perceptual.name

    def __call__(self, output: CodecOutput, x: Tensor, step: int | None = None) -> LossTerms:
        num_pixels = x.size(-1) * x.size(-2)
        with torch.autocast(x.device.type, enabled=False):
            x_hat = output.x_hat.to(x.dtype)
            by_stream = _rates(output.likelihoods, num_pixels)
            bpp = torch.stack(list(by_stream.values())).sum()
            distortion = self.distortion(x_hat, x)
            loss, decision, further = self.lmbda * distortion, None, {}
            if self.rate_target is None:
                loss = loss + bpp
            else:
                quantized_bpp = torch.stack(list(_rates(output.quantized_likelihoods, num_pixels).values())).sum()
                decision = self.rate_target.decide(quantized_bpp.detach(), step)
                loss = loss + decision.rate_weight * bpp
            if self.perceptual is not None:
                perceptual = self.perceptual(x_hat, x)
                loss = loss + self.perceptual_weight * perceptual
                further = {self.perceptual.name: perceptual.detach()}
            with torch.no_grad():
                mse = torch.mean((x_hat - x) ** 2)
        streams = {name: value.detach() for name, value in by_stream.items()}
        return LossTerms(loss, distortion.detach(), bpp.detach(), streams, mse, decision, further)


def _rates(likelihoods: dict[str, Tensor], num_pixels: int) -> dict[str, Tensor]:
    """Mean bits per pixel over the batch, by stream."""
    return {name: bits_per_pixel(p, num_pixels).mean() for name, p in likelihoods.items()}
