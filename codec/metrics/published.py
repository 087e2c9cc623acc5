"""Curves that others published, to stand beside measured ones: curves/<dataset>.json, each with its source.

A column there is a quantity, as the source has it: bits per pixel, PSNR in dB of RGB, MS-SSIM from 0 to 1 (`ms_ssim`) or in dB
(`ms_ssim_db`), LPIPS by AlexNet, FID and KID over patches of 256 pixels; each the mean over the pictures of the set.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from codec.metrics.bd_rate import Curve

CURVES = Path(__file__).with_name("curves")
# Of many curves, those that stand where there is room for few.
FEW = (
    "Ballé 2018, factorized", "Ballé 2018, scale hyperprior", "Minnen 2018, mean-scale hyperprior", "VTM (CompressAI)",
)  # fmt: skip


def in_decibels(ms_ssim: float) -> float:
    """MS-SSIM from 0 to 1, below 1, in dB: −10 · log10(1 − MS-SSIM)."""
    return -10 * math.log10(1 - ms_ssim)


@dataclass(frozen=True)
class Published:
    """A codec on a set of pictures, as others measured it.

    source: where from. points: by rate, the means of each: bpp, and some of psnr, ms_ssim_db, lpips, fid, kid.
    converted: whether the source has MS-SSIM from 0 to 1. Then ms_ssim_db is that of the mean, which lies below the mean of the
    pictures' own dB.
    """

    name: str
    dataset: str
    source: str
    points: list[dict[str, float]]
    converted: bool

    def curve(self, quantity: str = "psnr") -> Curve:
        """(bits per pixel, quantity) of the points that have it."""
        return [(point["bpp"], point[quantity]) for point in self.points if quantity in point]


def _published(name: str, dataset: str, entry: dict) -> Published:
    columns = {quantity: values for quantity, values in entry.items() if quantity != "source"}
    linear = columns.pop("ms_ssim", None)
    if linear is not None:
        columns["ms_ssim_db"] = [in_decibels(value) for value in linear]
    points = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return Published(name, dataset, entry["source"], sorted(points, key=lambda point: point["bpp"]), linear is not None)


def published_sets() -> list[str]:
    """The names of the sets that curves were published on."""
    return sorted(path.stem for path in CURVES.glob("*.json"))


def published(dataset: str) -> dict[str, Published]:
    """All that was published on a set, by name; none for an unknown set."""
    if dataset not in published_sets():
        return {}
    entries = json.loads((CURVES / f"{dataset}.json").read_text())
    return {name: _published(name, dataset, entry) for name, entry in entries.items()}


def published_curves(dataset: str) -> dict[str, Curve]:
    """(bits per pixel, PSNR in dB) of the few codecs that stand for all, by name; of all where a set has none of those."""
    curves = {name: entry.curve() for name, entry in published(dataset).items() if entry.curve()}
    return {name: curves[name] for name in FEW if name in curves} or curves
