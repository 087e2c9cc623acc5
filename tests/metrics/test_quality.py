"""Quality of decoded pictures: PSNR and MS-SSIM on 8 bits."""

import math

import pytest
import torch
from pytorch_msssim import ms_ssim as pytorch_ms_ssim

from codec.metrics.quality import BAND, MIN_MS_SSIM_SIDE, TAPS, finite, ms_ssim, ms_ssim_db, psnr


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def test_psnr_of_a_known_error():
    grey = torch.full((3, 4, 5), 100, dtype=torch.uint8)
    assert psnr(grey, grey + 1) == pytest.approx(20 * math.log10(255))
    assert psnr(torch.zeros(3, 4, 5, dtype=torch.uint8), torch.full((3, 4, 5), 255, dtype=torch.uint8)) == pytest.approx(0)


def test_psnr_does_not_wrap_around_and_is_symmetric():
    a, b = picture(9, 7), picture(9, 7, seed=1)
    expected = -10 * math.log10((((a.double() - b.double()) / 255) ** 2).mean())
    assert psnr(a, b) == pytest.approx(expected)
    assert psnr(a, b) == psnr(b, a)


def test_psnr_weighs_channels_alike():
    original = torch.zeros(3, 6, 6, dtype=torch.uint8)
    values = []
    for channel in range(3):
        decoded = original.clone()
        decoded[channel] = 9
        values.append(psnr(decoded, original))
    assert values[0] == values[1] == values[2]


def test_equal_pictures_have_no_finite_psnr():
    assert psnr(picture(3, 3), picture(3, 3)) == math.inf
    assert finite(math.inf) is None
    assert finite(30.5) == 30.5


def test_ms_ssim_needs_161_pixels():
    assert MIN_MS_SSIM_SIDE == 161
    for height, width, computed in ((161, 161, True), (160, 300, False), (300, 160, False), (1, 1, False)):
        image = picture(height, width)
        value = ms_ssim(image, image)
        assert (value is not None) == computed
        assert value is None or value == pytest.approx(1)


@pytest.mark.parametrize("height, width", [(BAND + TAPS - 1, 170), (1171, 163), (2 * BAND + 1, 161), (176, 1201)])
def test_ms_ssim_is_pytorch_msssims_however_many_bands_a_picture_has(height, width):
    smooth = torch.nn.functional.interpolate(picture(height // 8, width // 8)[None].float(), size=(height, width))[0]
    noisy = (smooth + 20 * torch.randn(smooth.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 255)
    decoded, original = noisy.to(torch.uint8), smooth.to(torch.uint8)
    expected = float(pytorch_ms_ssim(decoded[None].float(), original[None].float(), data_range=255))
    assert ms_ssim(decoded, original) == pytest.approx(expected, abs=1e-6) and 0.1 < expected < 0.99
    error = (decoded.double() - original.double()).square().mean()
    assert psnr(decoded, original) == pytest.approx(float(10 * torch.log10(255**2 / error)), abs=1e-9)


def test_ms_ssim_falls_with_noise():
    original = torch.nn.functional.interpolate(picture(12, 12)[None].float(), size=(176, 168), mode="bicubic")[0]
    original = original.clamp(0, 255).to(torch.uint8)
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(2))
    values = [ms_ssim((original + spread * noise).clamp(0, 255).to(torch.uint8), original) for spread in (2, 10, 40)]
    assert 1 > values[0] > values[1] > values[2] > 0


def test_ms_ssim_in_decibels():
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(None) is None
    assert ms_ssim_db(1.0) is None
