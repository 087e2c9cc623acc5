"""Averages over regions and back: what they mean, whatever the number of regions."""

import pytest
import torch

from codec.layers.regions import AREA_FLOOR, Grid, RegionMap
from codec.models.base import pad_to_multiple, region_map


def features(batch=3, channels=4, height=8, width=12):
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def ids(height=8, width=12):
    """1, 2 and 40 regions."""
    generator = torch.Generator().manual_seed(1)
    return torch.stack([torch.randint(0, k, (height, width), generator=generator) for k in (1, 2, 40)])


def test_each_prototype_is_the_mean_of_its_region():
    x, regions = features(), RegionMap(ids(), 40)
    pooled = regions.pool(x)
    assert pooled.shape == (3, 4, *regions.shape)
    for image in range(3):
        for region in range(40):
            here = regions.ids[image] == region
            assert bool(regions.present[image, 0, region, 0]) == bool(here.any())
            expected = x[image][:, here].sum(1) / (here.sum() + AREA_FLOOR)
            torch.testing.assert_close(pooled[image, :, region, 0], expected, rtol=1e-6, atol=0)


def test_each_position_gets_the_prototype_of_its_region():
    regions = RegionMap(ids(), 40)
    prototypes = torch.randn(3, 4, 40, 1)
    expanded = regions.expand(prototypes, (8, 12))
    for image, row, col in ((0, 0, 0), (1, 3, 7), (2, 7, 11)):
        assert expanded[image, :, row, col].equal(prototypes[image, :, regions.ids[image, row, col], 0])


def test_gradients_reach_positions_and_prototypes():
    regions = RegionMap(ids()[:2], 3)
    x, prototypes = features(2).requires_grad_(), torch.randn(2, 4, 3, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(regions.pool, x)
    assert torch.autograd.gradcheck(lambda p: regions.expand(p, (8, 12)), prototypes)


def test_the_numbers_of_regions_do_not_matter():
    """Other names for the regions, and room for more of them, change nothing."""
    x, once = features(), ids()
    names = torch.randperm(50, generator=torch.Generator().manual_seed(2))
    plain, renamed = RegionMap(once, 40), RegionMap(names[once], 50)
    back = [regions.expand(regions.pool(x), (8, 12)) for regions in (plain, renamed)]
    torch.testing.assert_close(*back)


@pytest.mark.parametrize("rows, cols", [(4, 4), (1, 1), (2, 3), (3, 5), (16, 16)])
def test_a_grid_pools_and_expands_by_cells(rows, cols):
    grid = Grid(rows, cols)
    pooled = grid.pool(features())
    assert pooled.shape == (3, 4, rows, cols)
    assert grid.expand(pooled, (8, 12)).shape == (3, 4, 8, 12)
    if 8 % rows == 0 and 12 % cols == 0:
        cells = features().reshape(3, 4, rows, 8 // rows, cols, 12 // cols).mean((3, 5))
        torch.testing.assert_close(pooled, cells)
        torch.testing.assert_close(grid.expand(pooled, (8, 12))[..., -1, -1], cells[..., -1, -1])


def test_a_map_is_padded_and_resized_as_published():
    once = ids(30, 50)
    regions = region_map(once, 64)
    assert regions.num_regions == 40
    assert regions.ids.equal(pad_to_multiple(once[:, None].double(), 64)[:, 0].long())
    coarse = regions.at(4).at(4)
    assert coarse.ids.equal(regions.at(16).ids)
    assert coarse.ids.equal(regions.ids[:, ::16, ::16])
