"""Functions of maps in strips: how far their values reach is found, not said; what they take is counted."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from codec.layers.attention import AttentionBlock, WindowAttention
from codec.layers.in_strips import unit_of, work_in_strips
from codec.layers.region_adaptive import CAG, RAT
from codec.layers.regions import Grid
from codec.layers.strips import Strips, allowing
from codec.layers.taken import apart, counted

pytestmark = pytest.mark.usefixtures("on_one_thread")


def cuts_of(function, x, num_bytes):
    with torch.inference_mode(), allowing(num_bytes):
        return function.cut(x)


@pytest.mark.parametrize("network, unit, halo, scale", [
    (nn.Conv2d(2, 3, 3, padding=1), 1, 1, 1),
    (nn.Sequential(nn.Conv2d(2, 3, 5, padding=2), nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1)), 1, 3, 1),
    (nn.Conv2d(2, 3, 5, 2, padding=2), 2, 2, Fraction(1, 2)),
    (nn.Sequential(*(nn.Conv2d(2, 2, 5, 2, padding=2) for _ in range(4))), 16, 32, Fraction(1, 16)),
    (nn.ConvTranspose2d(2, 3, 5, 2, padding=2, output_padding=1), 1, 1, 2),
    (nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2)), 1, 1, 2),
    (nn.Conv2d(2, 3, 1), 1, 0, 1),
    (WindowAttention(8, 4), 4, 4, 1),
    (nn.Sequential(nn.Conv2d(2, 8, 5, 4, padding=2), WindowAttention(8, 4)), 16, 16, Fraction(1, 4)),
    (nn.Sequential(nn.ConvTranspose2d(2, 8, 4, 4), WindowAttention(8, 8)), 2, 2, 4),
])  # fmt: skip
def test_reach_and_units_are_those_of_the_layers(network, unit, halo, scale):
    network.requires_grad_(False)
    assert unit_of(network) == unit
    channels = next(layer.weight for layer in network.modules() if hasattr(layer, "weight")).shape
    first = network[0] if isinstance(network, nn.Sequential) else network
    inputs = 8 if isinstance(first, WindowAttention) else channels[0 if isinstance(first, nn.ConvTranspose2d) else 1]
    for size in [(64, 16), (16, 64)]:
        function, x = Strips(network, unit), torch.randn(1, inputs, *size)
        geometry = function.geometry(x)
        assert (geometry.halo, geometry.scale) == (halo, scale)
        assert len(cuts_of(function, x, 1)) == 64 // unit
        with torch.inference_mode(), allowing(1):
            assert torch.allclose(function(x), network(x), atol=1e-6)


def test_the_whole_is_computed_where_it_fits_and_strips_are_as_thick_as_they_may_be():
    function, x = Strips(nn.Conv2d(2, 4, 3, padding=1).requires_grad_(False), 1), torch.randn(1, 2, 100, 10)
    needed = function.geometry(x).least * 1000
    assert len(cuts_of(function, x, math.inf)) == len(cuts_of(function, x, needed)) == 1
    assert [len(cuts_of(function, x, needed / parts)) for parts in (1.9, 2.9, 10)] == [2, 4, 13]
    strips = cuts_of(function, x, needed / 10)
    assert [strip.first for strip in strips[1:]] == [strip.last for strip in strips[:-1]]
    assert (strips[0].halo_first, strips[-1].halo_last) == (0, 100)
    assert max(strip.halo_last - strip.halo_first for strip in strips) * 10 * function.geometry(x).least <= needed / 10 * 1.001


def test_where_all_hangs_on_all_nothing_is_cut():
    function, x = Strips(lambda x: x * x.mean(dim=(2, 3), keepdim=True), 1), torch.randn(1, 2, 64, 8)
    assert function.geometry(x).halo is None
    assert function.least(x, 640, 80) == pytest.approx(100 * function.least(x, 64, 8))
    with allowing(1):
        assert function(x).equal(x * x.mean(dim=(2, 3), keepdim=True))


def test_attention_is_cut_apart_from_the_convolutions_beside_it():
    """So that what lies between is the small maps, and less is kept than at the peak."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, padding=2), nn.Conv2d(8, 8, 5, 2, padding=2), AttentionBlock(8, 8),
        nn.Conv2d(8, 8, 5, 2, padding=2),
    ).requires_grad_(False)  # fmt: skip
    x = torch.randn(1, 3, 256, 64)
    expected = network(x)
    work_in_strips(network)
    geometry = network.forward.geometry(x)
    assert geometry.kept < geometry.peak / 2
    for num_bytes in (1, 1e5, 1e6, math.inf):
        with torch.inference_mode(), allowing(num_bytes):
            assert torch.allclose(network(x), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(40, 12), (12, 40)])
@pytest.mark.parametrize("grid", [Grid(4, 4), Grid(3, 5), Grid(40, 1)])
def test_a_rat_gates_by_the_means_of_the_whole(size, grid):
    torch.manual_seed(0)
    rat, x, prototypes = RAT(4).requires_grad_(False), torch.randn(1, 4, *size), torch.randn(1, 4, *grid)
    expected = rat(x, prototypes, grid)
    work_in_strips(rat)
    with torch.inference_mode(), allowing(1):
        assert torch.allclose(rat(x, prototypes, grid), expected, atol=1e-6)
    assert torch.equal(rat(x, prototypes, grid), expected)


def test_gates_are_those_of_the_sums_of_parts():
    cag, x = CAG(4).requires_grad_(False), torch.randn(1, 4, 20, 10)
    assert torch.allclose(cag.of_totals(cag.totals(x[:, :, :7]) + cag.totals(x[:, :, 7:]), 200), cag(x), atol=1e-6)


def test_memory_is_counted_at_its_peak_without_what_was_there():
    x = torch.zeros(1000)
    with counted() as taken:
        x.view(10, 100).add_(1)
        assert taken.peak == 0
        y = x + 1
        z = y * y
        del y
        z = z + 1
    assert taken.peak == taken.kept == 8000
    with counted() as taken:
        with apart():
            z = (x + 1) * (x + 2)
        x + 1
    assert (taken.peak, taken.kept) == (12000, 8000)
