"""What one rank knows and all have to act on in the same step."""

from contextlib import suppress
from typing import Any

import torch
import torch.distributed as dist


class Agreement:
    """The largest number that a rank named, heard by all of them at the next call: nobody waits for an answer within a step.

    The question of a step travels while the next one computes. It goes over gloo whatever carries the gradients, since there
    it is answered in memory of the CPU, where looking at it does not wait for a GPU. To be made, and called, by all ranks.
    """

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo")
        self._asked: tuple[torch.Tensor, Any] | None = None

    def __call__(self, mine: int) -> int:
        """Name a number from 0; the largest that any rank named at the call before, 0 at the first."""
        heard = 0
        if self._asked is not None:
            answer, work = self._asked
            work.wait()
            heard = int(answer)
        question = torch.tensor(mine, dtype=torch.int32)
        self._asked = question, dist.all_reduce(question, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return heard

    def close(self) -> None:
        """Wait for the last answer, so that no rank ends before it has given its own."""
        if self._asked is not None:
            with suppress(RuntimeError):  # another rank is gone
                self._asked[1].wait()
            self._asked = None
