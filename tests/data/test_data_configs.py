"""The data that `codec train` can be given: who has regions, and what did not change for those who have none."""

import subprocess
import sys

import pytest
import torch
from conftest import configured
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor

from codec.types import UserError


def build(*overrides):
    return instantiate(configured(*overrides).data)


def first_regions(data) -> Tensor | None:
    data.prepare_data()
    data.setup("fit")
    return next(iter(data.train_dataloader())).regions


def test_sources_are_drawn_in_the_order_of_their_file():
    """Another order would be another draw at each step, and a run could not be taken up again."""
    assert [type(source).__name__ for source in build().dataset.sources] == ["Leaves", "SkimagePhotographs"]
    assert list(configured("data=folder_and_leaves").data.sources) == ["folder", "dead_leaves", "drawn"]


def test_offline_data_has_regions_where_they_are_asked_for():
    offline = ["data.sources.dead_leaves.num_pictures=2", "data.sources.dead_leaves.size=128"]
    assert first_regions(build(*offline)) is None
    with pytest.raises(InstantiationException) as caught:
        build("data/regions=dead_leaves", *offline)
    assert "set data/regions@data.sources.photographs.regions=grid" in str(UserError.behind(caught.value))
    grid = "data/regions@data.sources.photographs.regions=grid"
    mapped = build("data/regions=dead_leaves", grid, *offline)
    counts = {len(ids.unique()) for ids in first_regions(mapped)}
    assert 16 in counts and len(counts) > 1
    assert torch.equal(mapped.sample_crops(4), build(*offline).sample_crops(4))
    assert {len(ids.unique()) for ids in first_regions(build("data/regions=grid", grid, *offline))} == {16}


def test_a_small_segpic_trains_and_validates_on_maps_and_one_without_masks_on_none():
    small = ["data.sources.dead_leaves.num_pictures=2", "data.sources.dead_leaves.size=128", "profile=tiny"]
    data = build("experiment=segpic", *small, "data.val_source.num_pictures=6")
    assert first_regions(data) is not None
    once, again = (list(data.val_dataloader()) for _ in range(2))
    assert [tuple(batch.regions.shape) for batch in once] == [(1, 128, 128)] * 6
    assert all(a.image.equal(b.image) and a.regions.equal(b.regions) for a, b in zip(once, again, strict=True))
    images = torch.cat([batch.image for batch in once]).flatten(1)
    assert len(images.unique(dim=0)) == 6  # each picture once
    unmapped = build("experiment=segpic_nomask", *small)
    assert first_regions(unmapped) is None and next(iter(unmapped.val_dataloader())).regions is None


@pytest.mark.parametrize("choice, layout", [
    ("coco_panoptic", "images/coco_sample"), ("coco_instances", "images/coco_sample"), ("bsds500", "images/bsds500"),
])  # fmt: skip
def test_annotated_sets_give_batches_with_maps(shared, tmp_path, choice, layout):
    root, maps = shared / layout, tmp_path / "maps"
    data = build(f"data={choice}", f"data.root={root}", f"data.regions.maps={maps}", "data.crop=128", "data.num_workers=0")
    regions = first_regions(data)
    assert regions.shape == (8, 128, 128) and regions.dtype == torch.uint8
    for ids in regions:
        assert torch.equal(ids.unique().long(), torch.arange(int(ids.max()) + 1))
    assert int(regions.max()) > 1 and len(list(maps.rglob("*.png"))) == len(data.dataset.sources[0])


@pytest.mark.slow
def test_a_run_from_photographs_and_maps_to_a_bundle(shared, tmp_path):
    root = shared / "images" / "coco_sample"
    words = ["data=coco_panoptic", f"data.root={root}", "data.regions.maps=maps", "data.crop=64", "data.batch_size=2",
             "steps=4", "val_every=2", "save_every=2", "log_every=2", "schedule.warmup=1", "model.N=8", "model.M=12",
             "test.baselines=[]", "run_dir=run"]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "codec", "train", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "making 32 region maps in maps" in done.stdout and (tmp_path / "run" / "codec.safetensors").is_file()
    assert len(list(tmp_path.glob("maps/*.png"))) == 32 and (tmp_path / "run" / "results" / "photographs.json").is_file()
