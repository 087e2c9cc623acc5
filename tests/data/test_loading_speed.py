"""What a map costs: reading, cutting and relabelling it beside its photograph."""

import time

import pytest
import torch

from data import images
from data.module import CropDataset, MappedCropDataset
from data.region_sources.coco_panoptic import CocoPanoptic
from data.sources import Folder

MOST = 1.35  # times the seconds of images alone
ROUNDS = 5


@pytest.fixture
def crops(shared, tmp_path, monkeypatch):
    """Crops of COCO's photographs of 640x480, each decoded anew."""
    monkeypatch.setattr(images, "CACHE_BYTES", 0)
    root = shared / "images" / "coco_sample"
    rules = {"min_area": 0, "max_regions": None, "leftover": "one"}
    regions = CocoPanoptic(root / "panoptic.json", root / "panoptic", tmp_path / "maps", **rules)
    folder = Folder(root / "images", 256, (1.0, 0.75, 0.5), regions=regions)
    folder.make_maps()
    folder.check_maps()
    return CropDataset({"folder": folder}, {"folder": 1.0}, 256, 8, 1)


@pytest.mark.slow
def test_a_map_slows_loading_by_less_than_35_percent(crops, capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        alone, mapped = _milliseconds(crops, MappedCropDataset(crops))
    finally:
        torch.set_num_threads(threads)
    with capsys.disabled():
        print(f"\na crop of 256: {alone:.2f} ms, with its map {mapped:.2f} ms: {mapped / alone:.2f} times")
    assert mapped < MOST * alone


def _milliseconds(*datasets):
    """Mean over crops of the least CPU time of each; the data sets take turns, so that a machine's moods hit all."""
    keys = [(step, place) for step in range(6) for place in range(8)]
    least = [dict.fromkeys(keys, float("inf")) for _ in datasets]
    for _ in range(ROUNDS):
        for key in keys:
            for times, dataset in zip(least, datasets, strict=True):
                begun = time.thread_time()
                dataset[key]
                times[key] = min(times[key], time.thread_time() - begun)
    return [1000 * sum(times.values()) / len(keys) for times in least]
