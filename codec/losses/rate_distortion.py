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
from codec.losses.levels import Ladder
from codec.losses.rate_target import Decision, RateTarget
from codec.metrics.quality import MIN_MS_SSIM_SIDE
from codec.types import CodecOutput, UserError

Distortion = Callable[[Tensor, Tensor], Tensor]
"""Of two batches of pictures [B, 3, H, W], the first one unclamped: what sets each apart from the other, [B]."""


def bits_per_pixel(likelihoods: Tensor, num_pixels: int) -> Tensor:
    """Estimated rate of each picture in bits per pixel, shape [B].

    likelihoods: [B, C, h, w] or any other [B, …], in (0, 1]; num_pixels: H * W before padding.
    Source: Ballé 2018, eq. 6, the rate term of the loss.
    """
    return torch.log2(likelihoods).sum(dim=tuple(range(1, likelihoods.ndim))) / -num_pixels


def mse_255(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of each picture, [B], on the 0-255 scale of pictures in [0, 1]: that of the published lambdas."""
    return torch.mean((x_hat - x) ** 2, dim=(1, 2, 3)) * 255**2


def one_minus_ms_ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """1 - MS-SSIM (Wang 2003) of each picture, [B], of pictures in [0, 1], unclamped.

    Raises UserError where a side is too short for its five scales.
    """
    if min(x.shape[-2:]) < MIN_MS_SSIM_SIDE:
        raise UserError(
            f"MS-SSIM of a {x.shape[-1]}x{x.shape[-2]} crop; expected both sides of at least {MIN_MS_SSIM_SIDE}; "
            "set data.crop=256 or loss=mse"
        )
    return 1 - ms_ssim(x_hat, x, data_range=1.0, size_average=False)


class Perceptual(Protocol):
    """A distance of pictures that has a name, such as codec.metrics.perceptual.Lpips."""

    name: str

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The distance of each picture of x_hat from that of x, both [B, 3, H, W]: [B]."""
        ...


class RateDistortion(Loss):
    """lmbda * distortion + bpp of each picture, bpp in bits per original pixel, averaged over the batch (Ballé 2018, eq. 6).

    loss = lmbda * distortion + rate_weight * bpp + perceptual_weight * perceptual

    lmbda: weight of the distortion, whose scale is the distortion function's own. rate_target: decides about rate_weight,
    which is 1 without. perceptual, perceptual_weight: a further distance and its weight (HiFiC: LPIPS, 1).
    levels: of a codec with several rates, each picture's lambda and its weight in the average. With a rate_target lambda stays,
    and the level gives the target and divides rate_weight; all pictures of a batch have one level then, since they share a
    decision.
    """

    def __init__(
        self,
        distortion: Distortion,
        lmbda: float,
        rate_target: RateTarget | None = None,
        perceptual: Perceptual | None = None,
        perceptual_weight: float = 1.0,
        levels: Ladder | None = None,
    ):
        if not lmbda > 0 or not math.isfinite(lmbda):
            raise UserError(f"lmbda={lmbda}; expected a positive number, such as 0.0067; set model.lmbda")
        self.distortion = distortion
        self.lmbda = lmbda
        self.rate_target = rate_target
        self.perceptual, self.perceptual_weight = perceptual, perceptual_weight
        self.levels = levels
        if levels is not None and levels.steers == (rate_target is None):
            given = "levels.target_bpp without target_bpp" if levels.steers else "target_bpp without levels.target_bpp"
            raise UserError(f"{given}; expected both, or neither; set both, as levels=hific does")
        self.of_mse, self.steers = distortion is mse_255, rate_target is not None
        self.distortion_name = getattr(distortion, "__name__", type(distortion).__name__)
        self.measured_with = None if perceptual is None else perceptual.name

    def __call__(self, output: CodecOutput, x: Tensor, step: int | None = None) -> LossTerms:
        num_pixels = x.size(-1) * x.size(-2)
        with torch.autocast(x.device.type, enabled=False):
            x_hat = output.x_hat.to(x.dtype)
            by_stream = {name: bits_per_pixel(p, num_pixels) for name, p in output.likelihoods.items()}
            bpp = _total(by_stream)
            distortion = self.distortion(x_hat, x)
            if distortion.shape != bpp.shape:
                raise UserError(
                    f"a distortion of shape {list(distortion.shape)} of {len(x)} pictures; expected one number of each, "
                    f"[{len(x)}]; give the mean over dim=(1, 2, 3)"
                )
            lmbda, weight = self._weights(output.levels)
            decision, further = None, {}
            if self.rate_target is not None:
                quantized = {name: bits_per_pixel(p, num_pixels) for name, p in output.quantized_likelihoods.items()}
                decision = self._decide(_total(quantized).mean().detach(), output.levels, step)
            loss = lmbda * distortion + (bpp if decision is None else decision.rate_weight * bpp)
            if self.perceptual is not None:
                perceptual = self.perceptual(x_hat, x)
                loss = loss + self.perceptual_weight * perceptual
                further = {self.perceptual.name: perceptual.detach().mean()}
            with torch.no_grad():
                mse = torch.mean((x_hat - x) ** 2)
        streams = {name: value.detach().mean() for name, value in by_stream.items()}
        means = distortion.detach().mean(), bpp.detach().mean()
        return LossTerms((weight * loss).mean(), *means, streams, mse, decision, further)

    def _weights(self, levels: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """The lambda of each picture, and what it counts in the mean."""
        if self.levels is None or self.levels.steers:
            return self.lmbda, 1.0
        assert levels is not None
        return self.levels.lmbda_of(levels), self.levels.weight_of(levels)

    def _decide(self, quantized_bpp: Tensor, levels: Tensor | None, step: int | None) -> Decision:
        assert self.rate_target is not None
        if self.levels is None or not self.levels.steers:
            return self.rate_target.decide(quantized_bpp, step)
        assert levels is not None
        decision = self.rate_target.decide(quantized_bpp, step, self.levels.target_of(levels[0]))
        relative = self.levels.lmbda_of(levels[0]) / self.lmbda
        return decision._replace(rate_weight=decision.rate_weight / relative)


def _total(by_stream: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(by_stream.values())).sum(dim=0)
