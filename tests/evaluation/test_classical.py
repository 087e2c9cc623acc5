"""JPEG, WebP, AVIF and JPEG 2000 as baselines."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from codec.evaluation.classical import CLASSICAL, measure_classical
from codec.metrics.quality import psnr
from codec.types import UnavailableError, UserError
from data.testsets import TestImage, TestSet


def colourful(height: int = 96, width: int = 120) -> torch.Tensor:
    """Blurred colours under a little noise: uint8 [3, height, width]."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(1, 3, 7, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]
    noisy = smooth + 0.03 * torch.randn(smooth.shape, generator=generator)
    return (noisy.clamp(0, 1) * 255).to(torch.uint8)


PICTURE = TestImage("colourful", colourful)


def is_here(name: str) -> bool:
    try:
        CLASSICAL[name].check()
    except UnavailableError:
        return False
    return True


HERE = [name for name in CLASSICAL if is_here(name)]


@pytest.fixture(scope="module", params=HERE)
def measured(request):
    return request.param, measure_classical(request.param, TestSet("mine", [PICTURE]))


def test_more_rate_gives_more_quality(measured):
    _, results = measured
    curve = results.curve()
    assert len(curve) == len(results.points) == len(CLASSICAL[measured[0]].ladder)
    assert curve[-1][0] > 3 * curve[0][0]
    assert curve[-1][1] > curve[0][1] + 3
    in_order = [(point.images[0].file_bpp, point.images[0].psnr) for point in results.points]
    assert [bpp for bpp, _ in in_order] == sorted(bpp for bpp, _ in in_order)


def test_rows_say_what_the_bytes_say(measured):
    name, results = measured
    codec, original = CLASSICAL[name], colourful()
    setting = codec.ladder[len(codec.ladder) // 2]
    data = codec.encode(Image.fromarray(original.permute(1, 2, 0).numpy()), setting)
    row = next(p.images[0] for p in results.points if p.setting == {codec.parameter: setting})
    assert row.file_bpp == 8 * len(data) / (96 * 120)
    decoded = torch.from_numpy(np.array(codec.decode(data))).permute(2, 0, 1)
    assert row.psnr == psnr(decoded, original)
    assert (row.payload_bpp, row.table_bpp, row.estimated_bpp) == (None, None, None)


def test_jpeg2000_transforms_colours():
    """Grey spread to three channels gets three times the bytes of one channel; coded as RGB, each would get a third."""
    codec, ratio = CLASSICAL["jpeg2000"], 12
    grey = Image.fromarray(colourful().permute(1, 2, 0).numpy()).convert("L")
    alone = io.BytesIO()
    grey.save(alone, "JPEG2000", quality_layers=[ratio], irreversible=True)
    spread, single = (
        np.square(np.asarray(Image.open(io.BytesIO(data)).convert("L"), float) - np.asarray(grey, float)).mean()
        for data in (codec.encode(grey.convert("RGB"), ratio), alone.getvalue())
    )
    assert spread < 0.5 * single


@pytest.mark.parametrize("name", sorted(set(HERE) - {"jxl"}))  # whose colours are XYB in floats: a step off
def test_a_picture_that_comes_back_exactly_is_told_and_written(name, tmp_path):
    flat = TestImage("flat", lambda: torch.full((3, 32, 32), 128, dtype=torch.uint8))
    results = measure_classical(name, TestSet("mine", [flat]))
    assert results.points[-1].images[0].psnr is None
    assert "exactly" in results.not_computed["psnr"]
    results.write(tmp_path / name)
    assert "Infinity" not in json.dumps(json.loads((tmp_path / f"{name}.json").read_text()))


@pytest.mark.parametrize("height, width", [(1, 1), (17, 5)])
@pytest.mark.parametrize("name", HERE)
def test_small_pictures(name, height, width):
    results = measure_classical(name, TestSet("mine", [TestImage("small", lambda: colourful(height, width))]))
    assert all(point.images[0].file_bpp > 0 for point in results.points)
    assert (results.points[0].images[0].width, results.points[0].images[0].height) == (width, height)


def test_an_unknown_baseline_is_one_line():
    with pytest.raises(UserError, match="unknown baseline 'bpg'; expected some of jpeg, webp, webp_slowest, avif, .*jxl, heic"):
        measure_classical("bpg", TestSet("mine", [PICTURE]))
