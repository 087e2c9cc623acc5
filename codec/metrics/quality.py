"""How near a decoded picture is to its original, on 8-bit RGB, a picture at a time.

H W height and width of the picture.
"""

import math

import torch
from pytorch_msssim import ms_ssim as pytorch_ms_ssim
from torch import Tensor

MIN_MS_SSIM_SIDE = 161  # five scales of an 11-tap window: (11 - 1) * 2**4 + 1


def psnr(decoded: Tensor, original: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all RGB samples of uint8 [3, H, W]; infinite for equal pictures."""
    error = (decoded.to(torch.int32) - original.to(torch.int32)).square_().sum(dtype=torch.int64)
    mse = int(error) / original.numel()
    return math.inf if mse == 0 else 20 * math.log10(255) - 10 * math.log10(mse)


def finite(decibels: float) -> float | None:
    """The value for a row, whose JSON has no infinity: None for equal pictures."""
    return decibels if math.isfinite(decibels) else None


def ms_ssim(decoded: Tensor, original: Tensor) -> float | None:
    """Multi-scale structural similarity (Wang 2003) of uint8 [3, H, W]; None where a side is under 161 pixels."""
    if min(original.shape[1:]) < MIN_MS_SSIM_SIDE:
        return None
    return float(pytorch_ms_ssim(decoded[None].float(), original[None].float(), data_range=255))


def ms_ssim_db(value: float | None) -> float | None:
    """MS-SSIM as -10 log10(1 - value) in dB; None where there is none."""
    return None if value is None or value >= 1 else -10 * math.log10(1 - value)
