"""PSNR, MS-SSIM and sizes of JPEG beside scikit-image's, pytorch-msssim's and the disk's."""

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image
from pytorch_msssim import MS_SSIM
from skimage.metrics import peak_signal_noise_ratio

from codec.evaluation.classical import CLASSICAL, measure_classical
from codec.evaluation.results import psnr_at_rate
from codec.metrics.published import published
from data.testsets import TestImage, TestSet, kodak

QUALITIES = (10, 30, 50, 75, 95)
theirs = MS_SSIM(data_range=255.0, channel=3)  # in float32, as it is used; float64 differs by up to 4e-6 on Kodak


def check(test_set: TestSet, folder, monkeypatch) -> None:
    """The rows of JPEG at five qualities against other people's figures for the files that lie on the disk."""
    codec = CLASSICAL["jpeg"]
    monkeypatch.setitem(CLASSICAL, "jpeg", type(codec)(**vars(codec) | {"ladder": QUALITIES}))
    results = measure_classical("jpeg", test_set)
    for point, quality in zip(results.points, QUALITIES, strict=True):
        for row, image in zip(point.images, test_set.pictures, strict=True):
            original = image.load().permute(1, 2, 0).numpy()
            path = folder / f"{image.name}.jpg"
            Image.fromarray(original).save(path, quality=quality, optimize=True, progressive=True, subsampling="4:2:0")
            decoded = np.asarray(Image.open(path))
            assert row.file_bpp == 8 * path.stat().st_size / (row.width * row.height)
            assert row.psnr == pytest.approx(peak_signal_noise_ratio(original, decoded, data_range=255), abs=1e-6)
            pair = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() for p in (decoded, original))
            assert row.ms_ssim == pytest.approx(float(theirs(*pair)), abs=1e-6)


def test_figures_of_jpeg_are_those_of_others(tmp_path, monkeypatch):
    check(
        TestSet("mine", [TestImage(f"p{seed}", lambda seed=seed: picture(176, 208, seed)) for seed in range(2)]),
        tmp_path,
        monkeypatch,
    )


@pytest.mark.minutes
def test_figures_of_jpeg_on_kodak_are_those_of_others(tmp_path, monkeypatch, shared):
    check(kodak(shared / "images" / "kodak"), tmp_path, monkeypatch)


@pytest.mark.minutes
@pytest.mark.parametrize("name, label, ladder, options, tolerance", [
    ("jpeg", "JPEG", (5, 10, 30, 50, 80, 95), {}, 0.15), ("webp", "WebP", (5, 15, 30, 75, 95), {"method": 4}, 0.01),
])  # fmt: skip
def test_curves_on_kodak_are_those_that_compressai_published(name, label, ladder, options, tolerance, monkeypatch, shared):
    """At their settings: what ours has besides, optimised and progressive JPEG, saves bits at the same picture."""
    codec = CLASSICAL[name]
    monkeypatch.setitem(CLASSICAL, name, type(codec)(**vars(codec) | {"ladder": ladder, "options": options}))
    theirs = published("kodak")[label].curve()
    for bpp, quality in measure_classical(name, kodak(shared / "images" / "kodak")).curve():
        expected = psnr_at_rate(theirs, bpp)
        assert expected is not None and quality == pytest.approx(expected, abs=tolerance), bpp
