"""Batches with region maps: the crops of the same data without maps, ids dense, functions of (seed, step, place)."""

import pickle
import shutil
from itertools import islice
from types import SimpleNamespace

import lightning
import numpy as np
import pytest
import torch
from conftest import OPTIMIZERS
from PIL import Image

from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import build_model
from codec.modules.rate_distortion import RateDistortionModule
from codec.optim.schedules import Schedule
from codec.types import UserError
from data import map_making
from data.folders import list_images
from data.module import ImageDataModule
from data.region_sources.source import RegionSource
from data.regions import ExactRegions, GridRegions, map_path, write_map
from data.sources import Folder, Leaves, SkimagePhotographs
from data.testsets import photographs

NUM_PICTURES, COLOURS = 6, 23
RULES = {"min_area": 0, "max_regions": None}


class Drawn(RegionSource):
    """A source of maps that are there already."""

    name = "drawn"

    def __init__(self, maps):
        super().__init__(maps, RULES)


class Halves(RegionSource):
    """Left and right half of each picture; counts what it made."""

    name = "halves"
    made = 0

    def region_map(self, image, relative):
        self.made += 1
        width, height = Image.open(image).size
        return np.tile((np.arange(width) >= width // 2).astype(int), (height, 1))


def draw_regions(height, width, seed, count=COLOURS):
    """A map of `count` ids in blobs of about 9 pixels, and the picture that shows id i in the grey 10 * i."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, count, (height // 9 + 1, width // 9 + 1))
    coarse.flat[:count] = np.arange(count)
    ids = coarse.repeat(9, 0).repeat(9, 1)[:height, :width]
    return ids, np.repeat((10 * (ids % 25)).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("mapped")
    for number in range(NUM_PICTURES):
        ids, image = draw_regions(90, 130 + number, number)
        path = root / "images" / "deep" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        write_map(map_path(root / "maps", f"deep/{number}.png"), ids)
    return root


def unprepared(root, regions, num_workers=0, seed=1, scales=(1.0,), **changes):
    folder = Folder(root / "images", 64, scales, regions=regions)
    settings = dict(batch_size=4, crop=64, num_workers=num_workers, seed=seed, val=photographs()) | changes
    return ImageDataModule({"folder": folder}, {"folder": 1.0}, regions=regions, **settings)


def build(root, regions, **settings):
    data = unprepared(root, regions, **settings)
    data.prepare_data()
    data.setup("fit")
    return data


def first(data, count=5):
    return list(islice(data.train_dataloader(), count))


def same(ours, theirs):
    return all(torch.equal(a.image, b.image) and torch.equal(a.regions, b.regions) for a, b in zip(ours, theirs, strict=True))


def is_dense(ids):
    return torch.equal(ids.unique().long(), torch.arange(int(ids.max()) + 1))


def test_ids_are_dense_and_name_what_the_picture_shows(root):
    """At scale 1 a pixel's grey is its region's: one grey for each id, one id for each grey."""
    for batch in first(build(root, Drawn(root / "maps"))):
        assert batch.regions.shape == (4, 64, 64)
        for image, ids in zip(batch.image, batch.regions, strict=True):
            assert is_dense(ids)
            pairs = torch.stack([image[0].long(), ids.long()]).flatten(1).unique(dim=1)
            assert pairs.shape[1] == len(image[0].unique()) == len(ids.unique())


def test_maps_do_not_change_the_pictures(root):
    mapped, plain = build(root, Drawn(root / "maps"), scales=(1.0, 0.75)), build(root, None, scales=(1.0, 0.75))
    for ours, theirs in zip(first(mapped), first(plain), strict=True):
        assert torch.equal(ours.image, theirs.image) and theirs.regions is None
    assert torch.equal(mapped.sample_crops(6), plain.sample_crops(6))


@pytest.mark.parametrize("scales", [(1.0,), (0.9, 0.72)])
def test_batches_are_functions_of_the_seed_and_the_step(root, scales):
    straight = first(build(root, Drawn(root / "maps"), scales=scales))
    assert same(straight, first(build(root, Drawn(root / "maps"), num_workers=2, scales=scales)))
    later = build(root, Drawn(root / "maps"), scales=scales)
    later.trainer = SimpleNamespace(global_step=3, global_rank=0, world_size=1, accumulate_grad_batches=1)
    assert same(straight[3:], first(later, 2))
    other = first(build(root, Drawn(root / "maps"), seed=2, scales=scales))
    assert not any(torch.equal(a.regions, b.regions) for a, b in zip(straight, other, strict=True))


def test_ids_travel_small_and_arrive_as_integers_of_64_bits(root, tmp_path):
    data = build(root, Drawn(root / "maps"))
    batch = first(data, 1)[0]
    assert batch.regions.dtype == torch.uint8
    moved = data.on_after_batch_transfer(batch, 0)
    assert moved.regions.dtype == torch.int64 and torch.equal(moved.regions, batch.regions.long())

    ids = np.arange(80 * 80).reshape(80, 80) // 2  # over 2,000 regions in a crop
    (tmp_path / "images").mkdir()
    Image.fromarray((ids % 251).astype(np.uint8)).save(tmp_path / "images" / "a.png")
    write_map(tmp_path / "maps" / "a.png", ids)
    batch = first(build(tmp_path, Drawn(tmp_path / "maps")), 1)[0]
    assert batch.regions.dtype == torch.int16 and batch.regions.max() > 2000 and all(map(is_dense, batch.regions))


def test_a_batch_holds_crops_of_few_and_of_many_regions(tmp_path):
    (tmp_path / "images").mkdir()
    for name, ids in (("few", np.zeros((64, 64), int)), ("many", np.arange(64 * 64).reshape(64, 64))):
        Image.fromarray(ids.astype(np.uint8)).save(tmp_path / "images" / f"{name}.png")
        write_map(tmp_path / "maps" / f"{name}.png", ids)
    counts = {int(ids.max()) + 1 for batch in first(build(tmp_path, Drawn(tmp_path / "maps"))) for ids in batch.regions}
    assert counts == {1, 64 * 64}


def test_a_grid_needs_no_maps(root):
    batch = first(build(root, GridRegions(3, 5), scales=(1.0, 0.75)), 1)[0]
    plain = first(build(root, None, scales=(1.0, 0.75)), 1)[0]
    assert torch.equal(batch.image, plain.image) and batch.regions.max() == 14
    assert all(torch.equal(ids, batch.regions[0]) for ids in batch.regions)
    shipped = SkimagePhotographs(regions=GridRegions(2, 2)).crop_with_regions(0, 64, np.random.default_rng(0))
    assert shipped[1].shape == (64, 64) and len(shipped[1].unique()) == 4


def test_workers_get_paths_alone(root):
    """The annotations that a source of maps may hold do not travel."""

    class Heavy(Drawn):
        def __reduce__(self):
            raise AssertionError("a source of maps was copied")

    source = Folder(root / "images", 64, regions=Heavy(root / "maps"))
    source.check_maps()
    copy = pickle.loads(pickle.dumps(source))
    ours, theirs = (s.crop_with_regions(2, 64, np.random.default_rng(0)) for s in (source, copy))
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_a_mixture_has_maps_everywhere_or_nowhere(root):
    def mixed(leaves, folder, regions):
        sources = {"leaves": Leaves(2, 96, 0, leaves), "folder": Folder(root / "images", 64, regions=folder)}
        return ImageDataModule(sources, {"leaves": 1, "folder": 1}, 4, 64, 0, 1, photographs(), regions=regions)

    with pytest.raises(UserError, match="data.sources.leaves.*set data/regions@data.sources.leaves.regions=grid"):
        mixed(None, Drawn(root / "maps"), Drawn(root / "maps"))
    with pytest.raises(UserError, match="data.sources.leaves and folder"):
        mixed(None, None, GridRegions(2, 2))
    with pytest.raises(UserError, match="Drawn for dead leaves; expected dead_leaves, grid or none"):
        mixed(Drawn(root / "maps"), None, None)
    with pytest.raises(UserError, match="ExactRegions for a folder"):
        mixed(None, ExactRegions(), None)
    data = mixed(GridRegions(4, 4), Drawn(root / "maps"), Drawn(root / "maps"))
    data.setup("fit")
    assert {len(ids.unique()) == 16 for batch in first(data, 4) for ids in batch.regions} == {True, False}
    assert not mixed(None, None, None).has_regions


def test_a_map_that_changes_later_is_one_line(root, tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    write_map(tmp_path / "maps" / "a.png", np.zeros((80, 80), int))
    data = build(tmp_path, Drawn(tmp_path / "maps"))
    write_map(tmp_path / "maps" / "a.png", np.zeros((80, 90), int))
    with pytest.raises(UserError, match=r"^[^\n]*a.png is 90x80 and its picture 80x80[^\n]*$"):
        first(data, 1)


class RecordBatches(lightning.Callback):
    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch)


def test_training_makes_the_maps_of_a_small_set_once_and_hands_them_to_the_step(root, tmp_path):
    codec = build_model("factorized", N=4, M=6)
    record = RecordBatches()
    for _ in range(2):
        regions = Halves(tmp_path / "maps", RULES)
        trainer = lightning.Trainer(
            accelerator="cpu", max_steps=2, max_epochs=-1, limit_val_batches=0, use_distributed_sampler=False, logger=False,
            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=10,
            callbacks=[record], default_root_dir=tmp_path,
        )  # fmt: skip
        module = RateDistortionModule(
            codec,
            RateDistortion(mse_255, 0.01),
            Schedule(),
            optimizer=OPTIMIZERS["adam"],
            lr=1e-3,
            quantiles_lr=1e-3,
            clip_norm=1.0,
            seed=1,
        )
        data = unprepared(root, regions)
        data.sample_crops(3)  # as a start from data does, before the trainer prepares anything
        trainer.fit(module, data)
        assert regions.made == (NUM_PICTURES if len(record.batches) == 2 else 0)
    for batch in record.batches:
        assert batch.image.dtype == torch.float32 and batch.regions.dtype == torch.int64
        assert batch.regions.shape == (4, 64, 64) and all(map(is_dense, batch.regions)) and batch.regions.max() <= 1


def test_a_large_set_without_maps_stops_with_the_command(root, tmp_path, monkeypatch):
    monkeypatch.setattr(map_making, "SMALL_SET", NUM_PICTURES - 1)
    data = unprepared(root, Halves(tmp_path / "maps", RULES))
    for start in (data.prepare_data, lambda: data.sample_crops(1)):
        with pytest.raises(UserError, match="6 of 6 pictures have no map.*run codec masks"):
            start()
    data = unprepared(root, None)
    data.prepare_data()
    data.sample_crops(1)


def test_maps_below_the_pictures_are_no_pictures(root, tmp_path):
    shutil.copytree(root / "images", tmp_path / "images")
    data = build(tmp_path, Halves(tmp_path / "images" / "maps" / "halves", RULES))
    assert len(list((tmp_path / "images").rglob("*.png"))) == 2 * NUM_PICTURES
    assert len(data.dataset.sources[0]) == len(list_images(tmp_path / "images")) == NUM_PICTURES
    assert len(Folder(tmp_path / "images", 64)) == NUM_PICTURES


def test_a_picture_without_a_map_is_left_out(root, tmp_path):
    """Only where there are many; of a few it would be more than one in a hundred."""
    for number in range(100):
        shutil.copyfile(root / "images" / "deep" / "0.png", _in(tmp_path / "images") / f"{number:02}.png")
        shutil.copyfile(root / "maps" / "deep" / "0.png", _in(tmp_path / "maps") / f"{number:02}.png")
    (tmp_path / "maps" / "42.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 of 100 pictures are left out: 42.png \(map empty\)"):
        data = build(tmp_path, Drawn(tmp_path / "maps"))
    assert len(data.dataset.sources[0]) == 99 and "42.png" not in data.dataset.sources[0].relatives()


def _in(folder):
    folder.mkdir(exist_ok=True)
    return folder
