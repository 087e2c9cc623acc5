"""What conf/ computes beside plain values."""

import math
from collections.abc import Sequence

from omegaconf import OmegaConf


def width_at(lmbda: float, ladder: Sequence[float] | None, num_narrow: int, narrow: int, wide: int) -> int:
    """The paper's width for a rate point: `narrow` up to the ladder's num_narrow-th lambda, `wide` beyond.

    lmbda: of the point; ladder: that its loss was published with.
    Raises ValueError for a loss without a ladder.
    """
    if ladder is None:
        raise ValueError("the paper's width goes by the ladder of its loss, and this loss has none")
    return narrow if lmbda <= math.sqrt(ladder[num_narrow - 1] * ladder[num_narrow]) else wide


def at_most(most: int, steps: int, parts: int = 1) -> int:
    """`most`, or one of `parts` of the steps where these are fewer: a short run validates, too."""
    return min(most, steps // parts) if isinstance(steps, int) else most


def register() -> None:
    """Make them known to Hydra; again is nothing."""
    for resolver in (width_at, at_most):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
