"""Dead leaves are functions of (seed, index), know their regions exactly, and have the statistics of photographs."""

import numpy as np
import pytest
import torch

from data import dead_leaves
from data.dead_leaves import DeadLeaves, grow

SIZE = 128


def test_a_picture_is_a_function_of_seed_and_index():
    one, two = DeadLeaves(10, SIZE, seed=1), DeadLeaves(10, SIZE, seed=1)
    two.load(7)
    picture = one.load(3)
    assert picture.dtype == torch.uint8 and picture.shape == (3, SIZE, SIZE) and len(one) == 10
    assert torch.equal(picture, two.load(3)) and torch.equal(one.regions(3), two.regions(3))
    assert not torch.equal(picture, one.load(4))
    assert not torch.equal(picture, DeadLeaves(10, SIZE, seed=2).load(3))


def test_threads_do_not_change_a_picture():
    threads = torch.get_num_threads()
    try:
        pictures = []
        for count in (1, 2):
            torch.set_num_threads(count)
            pictures.append([DeadLeaves(8, SIZE, seed=5).load(index) for index in range(8)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for one, two in zip(*pictures, strict=True))


def test_regions_are_a_partition_with_dense_ids():
    for index in range(4):
        regions = DeadLeaves(4, SIZE, seed=1).regions(index)
        assert regions.shape == (SIZE, SIZE) and regions.dtype == torch.int32
        assert torch.equal(regions.unique(), torch.arange(int(regions.max()) + 1, dtype=torch.int32))
        assert len(regions.unique()) > 3


def test_drawings_have_few_flat_colours_and_among_them_all_there_are():
    """A plain square of saturated green is one of them: photographs have none."""
    drawn = DeadLeaves(40, SIZE, seed=1, drawn=True)
    assert torch.equal(drawn.load(3), DeadLeaves(40, SIZE, seed=1, drawn=True).load(3))
    assert torch.equal(drawn.load_with_regions(3)[1].int(), drawn.regions(3))
    counts, colours = [], []
    for index in range(len(drawn)):
        found, shares = drawn.load(index).flatten(1).unique(dim=1, return_counts=True)
        counts.append(found.shape[1])
        colours.append(found[:, shares.argmax()].tolist())
    assert 1 in counts and sum(count <= 5 for count in counts) > len(drawn) / 2  # the others are out of focus
    red, green, blue = np.array(colours).T.astype(int)
    assert (green - np.maximum(red, blue) > 100).any() and (np.minimum(red, blue) - green > 100).any()


def test_regions_are_where_each_leaf_was_painted(monkeypatch):
    # Each leaf in one paint of its own, without shadow, lens, noise and blur: the picture must be the map.
    painted = {}

    def flat(rng, leaves):
        paint = np.random.default_rng(0).random((3, len(leaves.radius)), dtype=np.float32)
        return paint[:, leaves.owner]

    def bare(rng, log_light):
        painted["light"] = log_light
        return np.zeros(log_light.shape, dtype=np.uint8)

    monkeypatch.setattr(dead_leaves, "paint", flat)
    monkeypatch.setattr(dead_leaves, "photograph", bare)
    monkeypatch.setattr(dead_leaves, "_shadows", lambda rng, owner: np.float32(0))
    monkeypatch.setattr(dead_leaves, "_blur", lambda image, factor: image)
    leaves = DeadLeaves(3, SIZE, seed=4)
    for index in range(3):
        leaves.load(index)
        regions = leaves.regions(index).numpy()
        paints = [np.unique(painted["light"][:, regions == region], axis=1) for region in range(regions.max() + 1)]
        assert all(paint.shape[1] == 1 for paint in paints)
        assert len({tuple(paint.ravel()) for paint in paints}) == len(paints)


def test_sizes_fall_with_the_cube_of_the_radius():
    radii = np.concatenate([_lone_radii(grow(np.random.default_rng(seed), 256)) for seed in range(12)])
    # Density r^-3 above r: the share beyond 2r is a quarter.
    assert 0.18 < (radii > 50).mean() / (radii > 25).mean() < 0.32


def _lone_radii(leaves):
    """Radii of leaves that are in no swarm and not the ground."""
    families, uses = np.unique(leaves.family, return_counts=True)
    return leaves.radius[np.isin(leaves.family, families[uses == 1])][1:]


@pytest.mark.parametrize("size", [64, 200])
def test_any_size_can_be_made(size):
    assert DeadLeaves(1, size, seed=0).load(0).shape == (3, size, size)


def test_statistics_are_those_of_photographs():
    pictures = [DeadLeaves(30, SIZE, seed=9).load(index).double().numpy() for index in range(30)]
    slopes, correlations = zip(*[(_slope(picture.mean(0)), _correlation(picture)) for picture in pictures], strict=True)
    assert -3.3 < np.mean(slopes) < -2  # the 24 photographs of Kodak: -2.3, those of the test set: -2.65
    assert 0.7 < np.mean(correlations) < 0.97  # Kodak: 0.83
    levels = np.array([picture.mean() for picture in pictures])
    assert 70 < levels.mean() < 140 and levels.min() < 70 and levels.max() > 120  # dark and bright pictures


def _slope(grey):
    """Slope of the power spectrum against frequency, both logarithmic."""
    window = np.hanning(SIZE)
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window[:, None] * window)) ** 2
    frequency = np.log(np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)) + 1e-9)
    edges = np.linspace(np.log(0.03), np.log(0.45), 10)
    rings = [power[(frequency >= low) & (frequency < high)].mean() for low, high in zip(edges, edges[1:], strict=False)]
    return np.polyfit((edges[1:] + edges[:-1]) / 2, np.log(rings), 1)[0]


def _correlation(picture):
    between = np.corrcoef(picture.reshape(3, -1))
    return (between[0, 1] + between[0, 2]) / 2
