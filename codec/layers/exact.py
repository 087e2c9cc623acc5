"""Exact arithmetic for what stands between decoded symbols and the tables and means of the symbols that follow.

A range decoder goes astray at the first symbol whose table is not the encoder's. Sums of floats depend on their order, and that
on threads, memory format, instruction set, library and device. So the layers of a codec's entropy networks have a second mode
(codec/layers/exact_layers.py), in which nothing that they give depends on any of these. Bundles are written and read in it;
training knows nothing of it.

The idea. What a layer takes is rounded to the grid: multiples of 2^-14 within +-2^10. Its weights are multiples of 2^-18. Then
every product of the two is a multiple of 2^-32, and so is every sum of them: an integer, which float64 carries exactly below
2^53. A sum that is exact at every step does not depend on the order of its steps. What the layer gives is rounded to the grid
again, in float32, which holds every value of the grid: layers of both modes take and give the same kind of tensor.

The bound. A sum and all of its parts stay below 2^53 units of 2^-32 where Σ|w| 2^10 + |b| < 2^21 in each output, and in a
transposed convolution in each phase of its stride. That is looked at when the weights are rounded; a layer in which it does not
hold gets weights of fewer fractional bits, and with them larger units. (2,048 has room; Σ|w| of the shipped codec is 204.)

What is no sum of products:
- One + - x / or square root, a comparison, a power of two: IEEE 754 rounds each to the nearest, alike everywhere, in float32 as
  in float64. Layers may be put together by these, one operation at a time: ReLU, a gate times a map, a residual sum.
- GELU, tanh, sigmoid: libraries differ in their last bits. Their inputs are on the grid and therefore finitely many, and none
  lies so near to where rounding to the grid turns that the difference could show: tests/layers/test_exact.py looks at all.
- Means: an exact sum, and a division of its own. Products of two values of the grid are multiples of 2^-28 up to 2^20, of which
  nine sum exactly.

It rests on float64 products of matrices that sum products, in any order, instead of transforming them (as FFT and Winograd's
convolutions do); on rounding to nearest, and on no flag that allows less. A check value in each bundle tells (files/bundle.py).

C inputs, O outputs, h w height and width of a map.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.types import UserError

FRACTION = 14  # bits of a value on the grid
UNIT = 2.0**-FRACTION
LIMIT = 2.0**10  # of a value on the grid: 2^24 units, which float32 holds
WEIGHT_FRACTION = 18  # bits of a weight, at most
EXACT = 2.0**53  # integers below it are themselves in float64


def to_units(x: Tensor) -> Tensor:
    """x on the grid, as integers from -2^24 to 2^24 in units of 2^-14: contiguous float64."""
    units = (x / UNIT).round_().clamp_(-LIMIT / UNIT, LIMIT / UNIT)
    return units.to(torch.float64, memory_format=torch.contiguous_format)


def from_units(units: Tensor) -> Tensor:
    """The nearest values of the grid, contiguous float32, of float64 values in units of 2^-14."""
    whole = units.round().clamp_(-LIMIT / UNIT, LIMIT / UNIT)
    return whole.to(torch.float32, memory_format=torch.contiguous_format).mul_(UNIT)


def _multiples(x: Tensor, fraction: int) -> Tensor:
    """The nearest multiples of 2^-fraction, float64."""
    return torch.round(x.detach().double() * 2.0**fraction) * 2.0**-fraction


def rounded(weight: Tensor, bias: Tensor, total: Callable[[Tensor], Tensor], limit: float = LIMIT) -> tuple[Tensor, Tensor]:
    """weight and bias on the finest grids at which every sum is exact, float64. Rounding them once more changes nothing.

    total: Σ|w| of each output, [O], of such weights. limit: of the values that they are multiplied with.
    Raises UserError where there is no such grid.
    """
    for fraction in range(WEIGHT_FRACTION, -1, -1):
        on_grid = _multiples(weight, fraction), _multiples(bias, fraction + FRACTION)
        largest = (total(on_grid[0]) * limit + on_grid[1].abs()).max()
        if largest * 2.0 ** (fraction + FRACTION) < EXACT:  # false for NaN too
            return on_grid
    sum_of_magnitudes = float(total(_multiples(weight, 0)).max())
    raise UserError(
        f"weights of an entropy network whose magnitudes sum to {sum_of_magnitudes:.3g} in one output; expected finite ones, "
        f"below {EXACT * UNIT / limit:.3g}; the training went wrong, take an earlier checkpoint"
    )


Tap = tuple[int, int, Tensor]
"""Rows and columns from an output to an input, and the matrix [O, C] by which the input is multiplied."""


def products(x: Tensor, taps: Sequence[Tap], bias: Tensor) -> Tensor:
    """[O, h, w]: bias [O] and, for each tap, matrix times the input there, zeros beyond x [C, h, w]; all of it float64.

    One product of matrices a tap over the padded map in one piece, whose lines then hold a few places too many: it takes
    two thirds of the time of torch's float64 convolution, and a ninth of its memory.
    """
    (height, width), reach = x.shape[1:], max(max(abs(dy), abs(dx)) for dy, dx, _ in taps)
    line = width + 2 * reach
    padded = F.pad(x, (reach, reach, reach, reach + 1)).flatten(1)  # a line more, in which the last taps end
    sums = bias[:, None].repeat(1, height * line)
    for dy, dx, matrix in taps:
        first = (reach + dy) * line + reach + dx
        sums.addmm_(matrix, padded[:, first : first + height * line])
    return sums.view(-1, height, line)[..., :width]
