"""What each level of a codec with several rates is trained for.

L levels from low to high rate.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.types import UserError

MOST_LEVELS = 256


class Ladder:
    """A lambda for each of `count` levels, spaced evenly in log from `lowest` to `highest`.

    A picture's loss grows with its lambda, about with the root of it (measured: 13 times from 0.0008 to 0.06), so that the top
    would be all that a training looks at: a level counts with weight lambda^-1/2, scaled so that the mean over all levels is 1.

    target_bpp: of a loss that steers, the targets of the lowest and the highest level, between which they are spaced alike; the
    weight of the rate is then divided by lambda / model.lmbda, and all levels count alike, since their distortion does.
    Raises UserError for what is no ladder.
    """

    def __init__(self, count: int, lowest: float, highest: float, target_bpp: Sequence[float] | None = None):
        if type(count) is not int or not 2 <= count <= MOST_LEVELS:
            raise UserError(f"levels.count={count}; expected a whole number from 2 to {MOST_LEVELS}; set levels.count")
        for name, ends in (("levels.lowest and highest", (lowest, highest)), ("levels.target_bpp", target_bpp or (1.0, 2.0))):
            if len(ends) != 2 or not 0 < ends[0] < ends[1] < math.inf:
                raise UserError(f"{name} {list(ends)}; expected two positive numbers, the second larger; set {name}")
        self.lmbdas = _spaced(lowest, highest, count)
        self.targets = None if target_bpp is None else _spaced(target_bpp[0], target_bpp[1], count)
        mean = sum(lmbda**-0.5 for lmbda in self.lmbdas) / count
        self.weights = [lmbda**-0.5 / mean for lmbda in self.lmbdas]


def _spaced(low: float, high: float, count: int) -> list[float]:
    return [low * (high / low) ** (place / (count - 1)) for place in range(count)]


def at(values: Sequence[float], levels: Tensor) -> Tensor:
    """Those of `values`, one a level, that are of levels int64 [B]: float32 [B] there."""
    return torch.tensor(values, device=levels.device)[levels]
