"""How near a decoded picture is to its original, on 8-bit RGB, a picture at a time.

H W height and width of the picture.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from pytorch_msssim.ssim import _fspecial_gauss_1d, _ssim  # what is public takes the whole picture at once
from torch import Tensor

TAPS, DEVIATION = 11, 1.5  # of the window of SSIM
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales (Wang 2003)
MIN_MS_SSIM_SIDE = (TAPS - 1) * 2 ** (len(WEIGHTS) - 1) + 1
BAND = 512  # rows of a picture that are looked at together: in floats a picture is many times as large


def _bands(rows: int, beside: int = 0) -> Iterator[slice]:
    """Those of a picture, each with so many rows of the next."""
    return (slice(first, first + BAND + beside) for first in range(0, rows - beside, BAND))


def psnr(decoded: Tensor, original: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all RGB samples of uint8 [3, H, W]; infinite for equal pictures."""
    errors = (decoded[:, band].to(torch.int32) - original[:, band].to(torch.int32) for band in _bands(original.size(1)))
    mse = sum(int(error.square_().sum(dtype=torch.int64)) for error in errors) / original.numel()
    return math.inf if mse == 0 else 20 * math.log10(255) - 10 * math.log10(mse)


def finite(decibels: float) -> float | None:
    """The value for a row, whose JSON has no infinity: None for equal pictures."""
    return decibels if math.isfinite(decibels) else None


def ms_ssim(decoded: Tensor, original: Tensor) -> float | None:
    """Multi-scale structural similarity (Wang 2003) of uint8 [3, H, W]; None where a side is under 161 pixels."""
    if min(original.shape[1:]) < MIN_MS_SSIM_SIDE:
        return None
    x, y = decoded[None], original[None]
    factors = []
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = _halved(x), _halved(y)
        similarity, contrast = _ssim_in_bands(x, y)
        factors.append((similarity if scale == len(WEIGHTS) - 1 else contrast).clamp(min=0) ** weight)
    return float(torch.stack(factors).prod(dim=0).mean())


def _ssim_in_bands(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Means of SSIM and of its contrast and structure over a picture [1, 3, H, W], [1, 3] each, as pytorch-msssim's."""
    window = _fspecial_gauss_1d(TAPS, DEVIATION).repeat(x.size(1), 1, 1, 1)
    totals = torch.zeros(2, 1, x.size(1), dtype=torch.float64)
    for band in _bands(x.size(2), TAPS - 1):
        means = _ssim(x[:, :, band].float(), y[:, :, band].float(), 255, window, size_average=False)
        totals += torch.stack(means) * (x[:, :, band].size(2) - TAPS + 1)
    similarity, contrast = totals / (x.size(2) - TAPS + 1)
    return similarity, contrast


def _halved(x: Tensor) -> Tensor:
    """Means of 2x2 samples of [1, 3, H, W], with zeros around where a side is odd."""
    height, width = x.shape[2:]
    x = F.pad(x, (width % 2, width % 2, height % 2, height % 2))
    return torch.cat([F.avg_pool2d(x[:, :, band].float(), 2) for band in _bands(x.size(2))], dim=2)


def ms_ssim_db(value: float | None) -> float | None:
    """MS-SSIM as -10 log10(1 - value) in dB; None where there is none."""
    return None if value is None or value >= 1 else -10 * math.log10(1 - value)
