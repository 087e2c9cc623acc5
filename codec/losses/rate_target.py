"""A weight of the rate that steers a codec to a target (HiFiC, Mentzer et al. 2020, eq. 9)."""

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from codec.optim.schedules import Schedule
from codec.types import UserError


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a scalar over all processes of a distributed training, on its device; itself where there is one."""
    if not dist.is_available() or not dist.is_initialized():
        return value
    total = value.detach().clone()  # the reduction is in place
    dist.all_reduce(total)
    return total / dist.get_world_size()


class Decision(NamedTuple):
    """The weight of the rate of one batch, a scalar; the quantised rate that decided, and the target."""

    rate_weight: Tensor
    quantized_bpp: Tensor
    target_bpp: Tensor | float


class RateTarget:
    """Weight `above` on the rate of a batch whose quantised rate is above the target, weight `below` on others.

    The codec then settles where the batches of both kinds balance: at the target, if it is between the rates of the two
    weights. target_bpp: in bits per pixel. weight_schedule and target_schedule multiply weights and target, by step.
    Raises UserError for a target or weights that steer nowhere.
    """

    def __init__(self, target_bpp: float, above: float, below: float, weight_schedule: Schedule, target_schedule: Schedule):
        if not target_bpp > 0 or not math.isfinite(target_bpp):
            raise UserError(f"target_bpp={target_bpp}; expected a positive number of bits per pixel; set target_bpp")
        if not 0 <= below < above < math.inf:
            raise UserError(
                f"rate_target.above={above}, below={below}; expected 0 <= below < above; set rate_target.above and below"
            )
        self.target_bpp, self.above, self.below = target_bpp, above, below
        self.weight_schedule, self.target_schedule = weight_schedule, target_schedule

    def decide(self, quantized_bpp: Tensor, step: int | None, target: Tensor | None = None) -> Decision:
        """The weight for a batch of that quantised rate, a scalar, chosen on its device.

        step: of the training, where the rate of the global batch decides, over all ranks, and the schedules apply. None:
        outside training, where each batch decides for itself and the schedules are over. target: of this batch, in place of
        target_bpp.
        """
        bpp = self.target_bpp if target is None else target
        if step is None:
            return self._weigh(quantized_bpp, bpp, 1.0)
        bpp = bpp * self.target_schedule.factor(step)
        return self._weigh(mean_over_ranks(quantized_bpp), bpp, self.weight_schedule.factor(step))

    def _weigh(self, quantized_bpp: Tensor, target: Tensor | float, factor: float) -> Decision:
        above, below = (quantized_bpp.new_full((), factor * weight) for weight in (self.above, self.below))
        return Decision(torch.where(quantized_bpp > target, above, below), quantized_bpp, target)


def make_rate_target(
    target_bpp: float | None, above: float, below: float, weight_schedule: Schedule, target_schedule: Schedule
) -> RateTarget | None:
    """The RateTarget of conf/, or None where target_bpp is null.

    target_bpp, above, below, weight_schedule, target_schedule: as of RateTarget.
    """
    return None if target_bpp is None else RateTarget(target_bpp, above, below, weight_schedule, target_schedule)
