"""Exact arithmetic: integers in float64, the same whatever the order, and close to the floats that they stand for."""

import copy
import math
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from conftest import one_thread
from torch import nn

from codec.layers.exact import FRACTION, LIMIT, UNIT, WEIGHT_FRACTION, from_units, to_units
from codec.layers.exact_layers import expanded, make_exact
from codec.layers.gdn import GDN
from codec.layers.gelu import GELU
from codec.layers.mixed_precision import Conv2d, ConvTranspose2d
from codec.layers.region_adaptive import RAT
from codec.layers.regions import Grid, RegionMap
from codec.types import UserError

REACH = 16  # beyond it the three functions are their limits, to the grid


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def conv(inputs=6, outputs=5, kernel=3):
    torch.manual_seed(0)
    return Conv2d(inputs, outputs, kernel, padding=kernel // 2)


def deconv(inputs=6, outputs=5, kernel=5, stride=2):
    torch.manual_seed(0)
    return ConvTranspose2d(inputs, outputs, kernel, stride, padding=kernel // 2, output_padding=stride - 1)


def exact(layer):
    layer = copy.deepcopy(layer)
    make_exact(layer)
    return layer


def grid(*shape, spread=4.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return from_units(torch.randn(shape, generator=generator, dtype=torch.float64) * spread / UNIT)


def in_integers(layer, x):
    """What the exact layer must give, in int64 and by sums over places of the kernel written down one by one."""
    units = to_units(x).long()
    weight, bias = ((p.detach() * 2**bits).long() for p, bits in ((layer.weight, WEIGHT_FRACTION), (layer.bias, 32)))
    transposed, kernel = layer.transposed, weight.size(-1)
    stride, padding = layer.stride[0], layer.padding[0]
    height, width = (stride * side if transposed else side for side in x.shape[2:])
    sums = bias.view(1, -1, 1, 1).repeat(len(x), 1, height + 2 * kernel, width + 2 * kernel)
    rows, cols = (torch.arange(side) * stride + kernel for side in x.shape[2:])
    for i in range(kernel):
        for j in range(kernel):
            matrix = weight[:, :, i, j].T if transposed else weight[:, :, i, j]
            product = torch.einsum("oc,bchw->bohw", matrix, units)
            down, right = (i - padding, j - padding) if transposed else (padding - i, padding - j)
            sums[:, :, (rows + down)[:, None], cols + right] += product
    sums = sums[:, :, kernel : kernel + height, kernel : kernel + width]
    return from_units(sums.double() / 2**WEIGHT_FRACTION)


@pytest.mark.parametrize("make", [conv, deconv])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("height, width", [(1, 1), (4, 7), (9, 2)])
def test_convolutions_are_integer_arithmetic(make, kernel, height, width):
    layer = exact(make(kernel=kernel) if make is conv or kernel > 1 else make(kernel=3))
    x = grid(2, 6, height, width)
    assert layer(x).equal(in_integers(layer, x))


@pytest.mark.parametrize("make", [conv, deconv])
def test_the_largest_sums_are_exact_too(make):
    """At weights and inputs that reach the bound, of one sign: the largest sum there is."""
    layer = make(inputs=64)
    with torch.no_grad():
        layer.weight.copy_(torch.rand_like(layer.weight) * 1.9 * 2**11 / 64 / (9 if make is conv else 4.5))
    layer = exact(layer)
    assert (layer.weight * 2**WEIGHT_FRACTION % 1 == 0).all()
    x = torch.full((1, 64, 5, 5), LIMIT)
    units = to_units(x).long()
    expected = F.unfold(F.pad(units.double(), (1, 1, 1, 1)), 3).long() if make is conv else None
    if expected is not None:
        products = (layer.weight.detach() * 2**WEIGHT_FRACTION).long().flatten(1) @ expected[0]
        assert products.max() < 2**53
    assert layer(x).equal(in_integers(layer, x)) and layer(-x).equal(in_integers(layer, -x))


@pytest.mark.parametrize("make, sums", [(conv, 9 * 6), (deconv, 9 * 6)])
def test_large_weights_get_fewer_bits_and_larger_ones_are_refused(make, sums):
    layer = make()
    noise = 1 - 0.001 * torch.rand_like(layer.weight)
    for magnitude, bits in ((2.0**10, 18), (2.0**12, 17), (2.0**20, 9), (2.0**29, 0)):
        with torch.no_grad():
            layer.weight.copy_(noise * magnitude / sums)
        rounded = exact(layer).weight.detach()
        assert (rounded * 2.0**bits % 1 == 0).all()
        assert bits == 0 or not (rounded * 2.0 ** (bits - 1) % 1 == 0).all()
        x = torch.full((1, 6, 3, 3), LIMIT)
        assert exact(layer)(x).isfinite().all()
    for wrong in (2.0**32, math.inf, math.nan):
        with torch.no_grad():
            layer.weight.copy_(noise * wrong)
        with pytest.raises(UserError, match="entropy network"):
            exact(layer)


@pytest.mark.parametrize("magnitude", [0.1, 30.0, 2.0**11 / 54, 2.0**14 / 54])
def test_rounding_parameters_twice_is_rounding_them_once(magnitude):
    """A bundle's weights are rounded when it is written and when it is read; half precision holds what it held."""
    layer = conv()
    with torch.no_grad():
        layer.weight.normal_().mul_(magnitude).copy_(layer.weight.half())
    once = exact(layer)
    twice = conv()
    twice.load_state_dict({name: value.float() for name, value in once.state_dict().items()})
    assert exact(twice).weight.equal(once.weight) and exact(twice).bias.equal(once.bias)
    assert once.weight.half().double().equal(once.weight)


def all_kinds():
    """Every kind of layer and block, as an x to be given and a network that takes it."""
    torch.manual_seed(1)
    gdn, rat = GDN(6, inverse=True), RAT(6)
    with torch.no_grad():
        gdn.gamma.add_(torch.rand_like(gdn.gamma) * 0.2)
    return {
        "conv": conv(), "pointwise": conv(kernel=1), "deconv": deconv(), "gelu": GELU(), "tanh": nn.Tanh(),
        "sigmoid": nn.Sigmoid(), "leaky": nn.Sequential(conv(), nn.LeakyReLU(0.1), conv(inputs=5)), "gdn": gdn, "rat": rat,
    }  # fmt: skip


def call(network, x):
    prototypes = grid(len(x), 6, 3, 4, seed=2)
    with torch.no_grad():
        return network(x, prototypes, Grid(3, 4)) if isinstance(network, RAT) else network(x)


@pytest.mark.parametrize("kind", all_kinds())
def test_an_exact_network_does_what_the_network_does(kind):
    network, x = all_kinds()[kind], grid(2, 6, 11, 17)
    expected, given = call(network, x), call(exact(network), x)
    assert given.dtype == torch.float32 and (given / UNIT * 2 % 1 == 0).all()
    torch.testing.assert_close(given, expected, rtol=2e-5, atol=8 * UNIT)


@pytest.mark.parametrize("kind", all_kinds())
def test_nothing_changes_a_bit(kind):
    """Neither batch, nor memory format, nor threads, nor the order of channels, nor noise below the grid."""
    network, x = exact(all_kinds()[kind]), grid(3, 6, 11, 17)
    expected = call(network, x)
    assert call(network, x.contiguous(memory_format=torch.channels_last)).equal(expected)
    moved = copy.deepcopy(network).to(memory_format=torch.channels_last)
    assert call(moved, x).equal(expected)
    torch.set_num_threads(2)
    assert call(network, x).equal(expected)
    if kind != "rat":
        assert torch.cat([call(network, picture[None]) for picture in x]).equal(expected)
        assert call(network, x + 0.4 * UNIT * torch.rand_like(x)).equal(expected)
        assert call(network, x.double()).equal(expected)


def test_a_sum_over_channels_does_not_know_their_order():
    network, x = exact(conv(inputs=64)), grid(1, 64, 5, 5, spread=100)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = copy.deepcopy(network)
    shuffled.weight = nn.Parameter(network.weight[:, order], requires_grad=False)
    assert shuffled(x[:, order]).equal(network(x))


def test_what_is_beyond_the_grid_is_clamped_and_what_is_no_number_stays_none():
    layer = exact(GELU())
    assert layer(torch.tensor([[[[1e9, 2000.0, -1e9, 1e38]]]])).tolist() == [[[[LIMIT, LIMIT, 0.0, LIMIT]]]]
    assert exact(conv())(torch.full((1, 6, 2, 2), math.nan)).isnan().all()


def test_a_layer_without_an_exact_mode_is_not_taken_for_exact():
    with pytest.raises(AssertionError, match="Softplus has no exact mode"):
        make_exact(nn.Sequential(conv(), nn.Softplus()))


FUNCTIONS = {
    "gelu": (F.gelu, lambda x: x * math.erfc(-x / math.sqrt(2)) / 2, lambda x: x.clamp(min=0)),
    "tanh": (torch.tanh, math.tanh, torch.sign),
    "sigmoid": (torch.sigmoid, lambda x: 1 / (1 + math.exp(-x)), lambda x: (x > 0).double()),
}

OTHERS = """
import sys, torch
x = torch.arange(-16 * 2**14, 16 * 2**14 + 1, dtype=torch.float64) * 2.0**-14
torch.save([f(x) for f in (torch.nn.functional.gelu, torch.tanh, torch.sigmoid)], sys.argv[1])
"""


@pytest.fixture(scope="module")
def by_other_instructions(tmp_path_factory):
    """The three functions over the grid as another CPU would compute them."""
    path = tmp_path_factory.mktemp("others") / "values.pt"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    subprocess.run([sys.executable, "-c", OTHERS, path], check=True, env=environment)
    return dict(zip(FUNCTIONS, torch.load(path, weights_only=True), strict=True))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_value_of_the_grid_lies_where_rounding_turns(name, by_other_instructions):
    """All inputs there are: what two libraries may differ by is far smaller than the way to the nearest boundary."""
    function, reference, limit = FUNCTIONS[name]
    x = torch.arange(-REACH << FRACTION, (REACH << FRACTION) + 1, dtype=torch.float64) * UNIT
    steps = torch.tensor([reference(value) for value in x.tolist()], dtype=torch.float64) / UNIT
    distance = float((steps - steps.floor() - 0.5).abs().min())
    here, there = function(x) / UNIT, by_other_instructions[name] / UNIT
    error = max(float((values - steps).abs().max()) for values in (here, there))
    print(f"{name}: {distance:.1e} of a step to the nearest boundary, libraries are within {error:.1e}")
    assert error < distance / 20 and here.round().equal(there.round())
    for first in range(REACH, int(LIMIT), 64):
        x = torch.arange(first << FRACTION, min(first + 64, int(LIMIT)) << FRACTION, dtype=torch.float64) * UNIT
        for beyond in (x, -x):
            assert (function(beyond) - limit(beyond)).abs().max() < UNIT / 4


@pytest.mark.parametrize("side", [1, 2, 13, 164, 188, 220, 244, 752])
def test_prototypes_find_their_cells_in_integers(side):
    """Also at the widths where torch's own place depends on the memory format: 2624, 3008, 3520 and 3904 over 16."""
    prototypes = grid(1, 8, 4, 3)
    at_each = expanded(prototypes, Grid(4, 3), 5, side)
    for i in range(5):
        for j in range(side):
            assert at_each[0, :, i, j].equal(prototypes[0, :, i * 4 // 5, j * 3 // side])
    ids = torch.arange(5 * side).view(1, 5, side) % 12
    assert expanded(prototypes.reshape(1, 8, 12, 1), RegionMap(ids, 12), 5, side).shape == (1, 8, 5, side)
