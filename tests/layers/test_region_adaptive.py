"""The region-adaptive transform: what its prototypes do."""

import torch

from codec.layers.region_adaptive import RAT, SAL
from codec.layers.regions import Grid, RegionMap


def test_a_map_of_the_grids_cells_gives_what_the_grid_gives():
    torch.manual_seed(0)
    layer, x = RAT(8), torch.randn(2, 8, 8, 8)
    grid = Grid(4, 4)
    rows = torch.arange(8) // 2
    cells = RegionMap((4 * rows[:, None] + rows).expand(2, 8, 8), 16)
    prototypes = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(layer(x, prototypes, grid), layer(x, prototypes.reshape(2, 8, 16, 1), cells))


def test_a_prototype_changes_its_region_and_what_is_next_to_it():
    torch.manual_seed(0)
    layer, x = RAT(8), torch.randn(1, 8, 16, 16)
    layer.cag.gate[2].weight.data.zero_()  # the gate sees the whole map
    ids = torch.zeros(1, 16, 16, dtype=torch.int64)
    ids[:, :, 8:] = 1
    prototypes = torch.randn(1, 8, 2, 1)
    changed = prototypes.clone()
    changed[:, :, 1] += 1
    difference = (layer(x, changed, RegionMap(ids, 2)) - layer(x, prototypes, RegionMap(ids, 2))).abs().amax((0, 1))
    assert (difference[:, 8:] > 0).all() and difference[:, :6].max() == 0  # two 3x3 convolutions make the kernels


def test_sal_is_the_identity_at_zero_weights():
    layer, x = SAL(8), torch.randn(1, 8, 4, 4)
    for parameter in layer.parameters():
        parameter.data.zero_()
    assert layer(x).equal(x)


def test_sal_is_its_formula_with_its_gradients_eager_and_compiled():
    torch.manual_seed(0)
    layer, x = SAL(8).double(), torch.randn(2, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    leaves = [x, *layer.parameters()]
    scale, shift = layer.scale_and_shift(x).chunk(2, dim=1)
    expected = x * (1 + scale) + shift
    for sal in (layer, torch.compile(layer, backend="aot_eager", fullgraph=True)):
        result = sal(x)
        torch.testing.assert_close(result, expected)
        ours, wanted = (torch.autograd.grad(y.square().sum(), leaves, retain_graph=True) for y in (result, expected))
        torch.testing.assert_close(ours, wanted)
