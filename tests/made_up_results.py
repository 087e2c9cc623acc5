"""Results of no measurement, and pictures of every shape, for tests of what shows them."""

import functools

import torch

from codec.evaluation.classical import measure_classical
from codec.evaluation.results import ImageRow, Point, Results
from data.testsets import TestImage, TestSet


def smooth(height: int, width: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(height))
    return (torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0].clamp(0, 1) * 255).byte()


PICTURES = [
    TestImage(name, lambda height=height, width=width: smooth(height, width))
    for name, height, width in (("wide", 60, 400), ("tall", 350, 50), ("dot", 1, 1), ("even", 64, 64))
]


def learned(name: str, lmbda: float | None, bpp: float, psnr: float, dataset: str = "folder") -> Results:
    rows = [ImageRow(p.name, 64, 64, bpp * k, psnr + k, estimated_bpp=bpp) for k, p in enumerate(PICTURES, start=1)]
    return Results(name, "made up", dataset, [Point({} if lmbda is None else {"lmbda": lmbda}, rows)])


@functools.cache
def jpeg() -> Results:
    """Measured, not made up: JPEG on PICTURES."""
    return measure_classical("jpeg", TestSet("folder", PICTURES))
