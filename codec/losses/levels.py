"""What each level of a codec with several rates is trained for.

L levels from low to high rate.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.types import UserError, as_float


class Ladder:
    """A lambda for each of `count` levels, spaced evenly in log from `lowest` to `highest`.

    A picture's loss grows with its lambda, about with the root of it (measured: 13 times from 0.0008 to 0.06), so that the top
    would be all that a training looks at: a level counts with weight lambda^-1/2, scaled so that the mean over all levels is 1.

    target_bpp: of a loss that steers, the targets of the lowest and the highest level, between which they are spaced alike; the
    weight of the rate is then divided by lambda / model.lmbda, and all levels count alike, since their distortion does.
    lmbdas, targets: of the levels, from low to high; there are no targets where none are given.
    Raises UserError for what is no ladder.
    """

    def __init__(self, count: int, lowest: float, highest: float, target_bpp: Sequence[float] | None = None):
        if type(count) is not int or count < 2:
            raise UserError(f"levels.count={count}; expected a whole number from 2 on; set levels.count")
        if not _rise(lowest, highest):
            raise UserError(
                f"levels.lowest={lowest} and levels.highest={highest}; expected positive numbers, the second larger; set both"
            )
        if target_bpp is not None and not (isinstance(target_bpp, Sequence) and _rise(*target_bpp)):
            raise UserError(
                f"levels.target_bpp={target_bpp}; expected null, or two positive numbers, the second larger, such as [0.14, "
                "0.45]; set levels.target_bpp"
            )
        self.count = count
        self._lmbdas, self._targets = (lowest, highest), target_bpp
        places = torch.arange(count, dtype=torch.float64) / (count - 1)
        self.lmbdas: list[float] = _at(self._lmbdas, places).tolist()
        self.targets: list[float] = [] if target_bpp is None else _at(target_bpp, places).tolist()
        self._mean = sum(lmbda**-0.5 for lmbda in self.lmbdas) / count

    @property
    def steers(self) -> bool:
        """Whether a level has a target for its rate."""
        return self._targets is not None

    # By arithmetic: a table would have to come from the host at each step, and the device would wait for it.

    def lmbda_of(self, levels: Tensor) -> Tensor:
        """Lambda at levels int64 [B]: float32 [B], there."""
        return _at(self._lmbdas, levels / (self.count - 1))

    def weight_of(self, levels: Tensor) -> Tensor:
        """What pictures at levels int64 [B] count in a mean: float32 [B], there."""
        return self.lmbda_of(levels) ** -0.5 / self._mean

    def target_of(self, levels: Tensor) -> Tensor:
        """The target in bits per pixel at levels int64 [B], of a loss that steers: float32 [B], there."""
        assert self._targets is not None
        return _at(self._targets, levels / (self.count - 1))


def _rise(*ends: object) -> bool:
    """Whether these are two positive numbers, the second larger."""
    numbers = [end for end in ends if type(end) in (int, float)]
    return len(ends) == len(numbers) == 2 and 0 < as_float(numbers[0]) < as_float(numbers[1]) < math.inf


def _at(ends: Sequence[float], places: Tensor) -> Tensor:
    """What lies at places from 0 to 1 between two numbers, evenly in log."""
    first, last = ends
    return first * (last / first) ** places
