"""Crops are exact pieces of their pictures, and photographs of the test set are never trained on."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import UserError
from data import images
from data.crops import draw_window, random_crop
from data.images import PictureCache, read_image
from data.regions import ExactRegions
from data.sources import Folder, Leaves, SkimagePhotographs, photograph_paths

RAMP = torch.arange(60 * 90).remainder(251).to(torch.uint8).reshape(1, 60, 90).repeat(3, 1, 1)


def test_a_crop_is_a_piece_of_the_picture_or_of_its_mirror():
    pieces = {tuple(view.flatten().tolist()) for view in RAMP[0].unfold(0, 32, 1).unfold(1, 32, 1).reshape(-1, 32 * 32)}
    mirrored = 0
    for seed in range(40):
        crop = random_crop(RAMP, 32, (1.0,), np.random.default_rng(seed))
        assert crop.shape == (3, 32, 32) and crop.dtype == torch.uint8
        if tuple(crop[0].flatten().tolist()) not in pieces:
            mirrored += 1
            assert tuple(crop[0].flip(1).flatten().tolist()) in pieces
    assert 8 < mirrored < 32


def test_a_scaled_crop_is_the_crop_of_the_scaled_picture():
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 20, 20), (256, 256), mode="bicubic")[0]
    image = (image.clamp(0, 1) * 255).to(torch.uint8)
    small = torch.nn.functional.interpolate(image[None], (128, 128), mode="bilinear", antialias=True)[0].float()
    crop = random_crop(image, 128, (0.5,), np.random.default_rng(0)).float()
    assert min((crop - small).abs().max(), (crop - small.flip(2)).abs().max()) <= 1


def test_a_scale_that_does_not_fit_is_raised_until_it_does():
    assert random_crop(RAMP, 48, (0.1,), np.random.default_rng(0)).shape == (3, 48, 48)


def test_a_crop_larger_than_the_picture_is_an_error(tmp_path):
    with pytest.raises(UserError, match="data.crop=64"):
        random_crop(RAMP, 64, (1.0,), np.random.default_rng(0))
    Image.fromarray(RAMP.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="crop of 64"):
        Folder(tmp_path, min_side=64)
    with pytest.raises(UserError, match="data.crop=128"):
        Leaves(2, 64, seed=0).crop(0, 128, np.random.default_rng(0))


@pytest.mark.parametrize("scales", [[], [0.0], [1.5]])
def test_scales_are_checked(scales):
    with pytest.raises(UserError, match="scales="):
        SkimagePhotographs(scales)


def test_training_photographs_are_not_those_of_the_test():
    train, test = photograph_paths("train"), photograph_paths("test")
    assert all(path.is_file() for path in train + test)
    assert not {path.name for path in train} & {path.name for path in test}
    assert "motorcycle_right.png" not in {path.name for path in train}  # the stereo partner of a test picture
    assert {"astronaut", "chelsea", "coffee", "motorcycle_left", "rocket"} == {path.stem for path in test}


def test_pictures_are_kept_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(images, "CACHE_BYTES", 1000)
    cache = PictureCache()
    for index in range(5):
        cache.put(index, torch.zeros(400, dtype=torch.uint8))
    assert [index for index in range(5) if cache.get(index) is not None] == [3, 4]
    cache.put(9, torch.zeros(2000, dtype=torch.uint8))  # larger than the bound: not kept, and nothing breaks
    assert cache.get(9) is None


def test_a_picture_from_the_cache_is_the_same(tmp_path):
    source = SkimagePhotographs()
    first = source.crop(0, 64, np.random.default_rng(3))
    assert torch.equal(first, source.crop(0, 64, np.random.default_rng(3)))
    assert torch.equal(source.load(0), read_image(photograph_paths("train")[0]))


def test_leaves_come_with_their_exact_map():
    """At a pixel the crop's id is that of the leaf which the picture shows there; the crop is that of leaves alone."""
    plain, mapped = Leaves(3, 96, 1), Leaves(3, 96, 1, ExactRegions())
    for index in (0, 1, 2, 1):  # the last from the cache
        image, ids = mapped.crop_with_regions(index, 64, np.random.default_rng(index))
        assert torch.equal(image, plain.crop(index, 64, np.random.default_rng(index)))
        window = draw_window(96, 96, 64, (1.0,), np.random.default_rng(index))
        assert torch.equal(image, window.cut_image(plain.load(index)))
        assert torch.equal(ids, window.cut_map(plain.regions(index)))
