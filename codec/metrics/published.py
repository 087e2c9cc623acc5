"""Curves that others published, to stand beside measured ones: <dataset>.json in this folder, each with its source."""

import json
from pathlib import Path

from codec.metrics.bd_rate import Curve


def published_curves(dataset: str) -> dict[str, Curve]:
    """(bits per pixel, PSNR in dB of RGB, means over the pictures) of each codec, by its name; none for an unknown set."""
    path = Path(__file__).with_name(f"{dataset}.json")
    if not path.exists():
        return {}
    return {name: [(bpp, psnr) for bpp, psnr in entry["points"]] for name, entry in json.loads(path.read_text()).items()}
