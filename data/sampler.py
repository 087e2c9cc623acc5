"""Which sample goes where: the sample at a step depends on seed, step and place alone.

A step is one batch; a place is an index in the global batch, over all ranks.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count

import numpy as np

Key = tuple[int, int]
"""(step, place)."""


class StepBatchSampler:
    """Endless batches of keys, of the places `rank, rank + world, …` of each global batch.

    Handed to a DataLoader as batch_sampler; it has no length, so that a run is measured in steps alone.
    batch_size: pictures of a global batch, of which this is rank `rank` of `world`.
    start: says with which step to begin, each time anew: an epoch, where Lightning was told to make some, goes on where the
    last ended. overfit_batches: the first so many batches again and again, or None.
    """

    def __init__(
        self, batch_size: int, start: Callable[[], int], rank: int = 0, world: int = 1, overfit_batches: int | None = None
    ):
        self.batch_size, self.start, self.rank, self.world = batch_size, start, rank, world
        self.overfit_batches = overfit_batches

    def __iter__(self) -> Iterator[list[Key]]:
        for step in count(self.start()):
            drawn = step if self.overfit_batches is None else step % self.overfit_batches
            yield [(drawn, place) for place in range(self.rank, self.batch_size, self.world)]


@lru_cache(maxsize=8)  # one for each source of a mixture, and the next ones
def _order(seed: int, epoch: int, length: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, length)).permutation(length)


def picture_at(seed: int, draw: int, length: int) -> int:
    """The picture of draw number `draw`: each epoch of `length` draws is a permutation of its own."""
    return int(_order(seed, draw // length, length)[draw % length])
