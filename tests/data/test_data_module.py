"""Batches are functions of (seed, step, place), whoever loads them and wherever a run starts."""

from itertools import islice
from multiprocessing.reduction import ForkingPickler
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import Batch, UserError
from data import testsets
from data.module import ImageDataModule
from data.sources import Folder, Leaves
from data.testsets import photographs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(root / f"{number}.png")
    return root


def build(folder, num_workers=0, seed=1, **changes):
    sources = {"folder": Folder(folder, 64), "leaves": Leaves(4, 96, seed)}
    settings = dict(batch_size=4, crop=64, num_workers=num_workers, seed=seed, val=testsets.folder(folder)) | changes
    return ImageDataModule(sources, {"folder": 0.7, "leaves": 0.3}, **settings)


def first(data, count=5):
    return [batch.image for batch in islice(data.train_dataloader(), count)]


def at(data, step=0, rank=0, world=1, accumulate=1):
    data.trainer = SimpleNamespace(
        global_step=step, global_rank=rank, world_size=world, accumulate_grad_batches=accumulate, limit_val_batches=1.0
    )
    return data


def same(ours, theirs):
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_workers_do_not_change_the_batches(folder):
    alone = first(build(folder))
    assert same(alone, first(build(folder, num_workers=2)))
    assert alone[0].shape == (4, 3, 64, 64) and alone[0].dtype == torch.uint8
    assert not same(alone, first(build(folder, seed=2)))
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_that_starts_later_sees_what_it_would_have_seen(folder, num_workers):
    straight = first(build(folder), 6)
    assert same(straight[3:], first(at(build(folder, num_workers), step=3), 3))
    assert same(straight[4:], first(at(build(folder, num_workers), step=2, accumulate=2), 2))


def test_ranks_share_the_global_batch(folder):
    whole = first(build(folder), 3)
    halves = [first(at(build(folder), rank=rank, world=2), 3) for rank in (0, 1)]
    for step in range(3):
        assert torch.equal(whole[step][0::2], halves[0][step]) and torch.equal(whole[step][1::2], halves[1][step])
    with pytest.raises(UserError, match="data.batch_size=4 on 3 ranks"):
        at(build(folder), world=3).train_dataloader()


def test_validation_shows_each_whole_picture_once_over_all_ranks(folder):
    alone = list(build(folder).val_dataloader())
    assert [tuple(batch.image.shape) for batch in alone] == [(1, 3, 70, 80)] * 12 and not any(batch.again for batch in alone)
    for world in (2, 5, 20):  # which shares come out even, do not, and are empty
        shares = [list(at(build(folder), rank=rank, world=world).val_dataloader()) for rank in range(world)]
        assert {len(share) for share in shares} == {-(-12 // world)}
        counted = [batch.name[0] for share in shares for batch in share if not batch.again]
        assert counted == [batch.name[0] for batch in alone]


def test_pixels_become_floats_on_the_device(folder):
    batch = next(iter(build(folder).train_dataloader()))
    moved = build(folder).on_after_batch_transfer(batch, 0)
    assert isinstance(moved, Batch) and moved.image.dtype == torch.float32
    assert moved.image.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal((moved.image * 255).round().to(torch.uint8), batch.image) and moved.image.max() <= 1


def test_sample_crops_are_those_of_the_first_steps(folder):
    data = build(folder)
    crops = data.sample_crops(6)
    steps = torch.cat(first(data, 2))[:6]
    assert torch.equal((crops * 255).round().to(torch.uint8), steps)


def test_sources_are_drawn_by_weight(folder):
    data = build(folder).dataset
    data.sources = [_Numbered(0), _Numbered(1)]
    share = torch.stack([data[(step, place)] for step in range(250) for place in range(4)]).float().mean()
    assert abs(share - 0.3) < 0.05


class _Numbered:
    """A source whose crops say which source they are from."""

    def __init__(self, number):
        self.number = number

    def __len__(self):
        return 3

    def crop(self, index, side, rng):
        return torch.tensor(self.number)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_breaks_later_is_one_line(folder, tmp_path, num_workers):
    path = tmp_path / "cut.png"
    path.write_bytes((folder / "0.png").read_bytes())
    data = ImageDataModule({"folder": Folder(tmp_path, 64)}, {"folder": 1.0}, 4, 64, num_workers, 1, photographs())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"^[^\n]*cut.png[^\n]*$"):
        first(data, 1)


@pytest.mark.parametrize("crop", [0, 100])
def test_crops_are_multiples_of_64(folder, crop):
    with pytest.raises(UserError, match=f"data.crop={crop}"):
        build(folder, crop=crop)


def test_weights_belong_to_the_sources(folder):
    with pytest.raises(UserError, match="data.weights"):
        ImageDataModule({"folder": Folder(folder, 64)}, {"leaves": 1.0}, 4, 64, 0, 1, photographs())


def test_a_word_is_no_test_set(folder):
    with pytest.raises(UserError, match="data.val=kodak; expected a test set of conf/test; say test@data.val=kodak"):
        build(folder, val="kodak")


def test_workers_hand_batches_over_by_value(folder):
    """Through shared memory, as torch does, they wait for ever where it is full: in a container whose /dev/shm has 64 KB."""
    batch = next(iter(build(folder).train_dataloader()))._replace(regions=torch.arange(6, dtype=torch.int16), again=True)
    sent = bytes(ForkingPickler.dumps(batch))
    assert len(sent) > batch.image.nbytes  # else a handle of memory
    got = ForkingPickler.loads(sent)
    assert type(got) is Batch and same([got.image, got.regions], [batch.image, batch.regions]) and got.again
