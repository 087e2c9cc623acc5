"""Factors by step on a learning rate, a weight or a target. A step is one batch."""

import math
from collections.abc import Sequence
from typing import Any

from codec.types import UserError


class Schedule:
    """The factor on the base learning rate at each step; this one stays at 1 (Ballé 2018: no decay)."""

    def factor(self, step: int) -> float:
        """The factor for the step with that index, from 0."""
        return 1.0

    def observe(self, loss: float) -> None:
        """Take in a validation loss."""

    def state_dict(self) -> dict[str, Any]:
        """What `observe` has changed, as plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state_dict back."""


class Cosine(Schedule):
    """A linear rise over `warmup` steps, then half a cosine down to `floor` at `steps` (Loshchilov 2017)."""

    def __init__(self, steps: int, warmup: int = 0, floor: float = 0.0):
        if not 0 <= warmup < steps:
            raise UserError(f"schedule.warmup={warmup} of {steps} steps; expected fewer than steps; lower schedule.warmup")
        self.steps, self.warmup, self.floor = steps, warmup, floor

    def factor(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / (self.steps - self.warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


class Milestones(Schedule):
    """Multiplies by `gamma` at each of `milestones`, in steps."""

    def __init__(self, milestones: Sequence[int], gamma: float):
        self.milestones, self.gamma = sorted(milestones), gamma

    def factor(self, step: int) -> float:
        return self.gamma ** sum(step >= milestone for milestone in self.milestones)


class FirstBatches(Schedule):
    """`factor` for the first `batches` steps, then 1 (HiFiC: half the rate weight, 0.20 / 0.14 of the target)."""

    def __init__(self, batches: int, factor: float):
        if batches < 0 or not factor > 0:
            raise UserError(f"a factor of {factor} for {batches} batches; expected both positive; set rate_target")
        self.batches, self.initial = batches, factor

    def factor(self, step: int) -> float:
        return self.initial if step < self.batches else 1.0


class Plateau(Schedule):
    """Multiplies by `gamma` when the validation loss has not fallen by 0.01 % for more than `patience` validations.

    floor: the smallest factor. The rule is torch's ReduceLROnPlateau, whose own class wants to own the optimizer.
    """

    def __init__(self, gamma: float, patience: int, floor: float):
        self.gamma, self.patience, self.floor = gamma, patience, floor
        self._current, self._best, self._bad = 1.0, math.inf, 0

    def factor(self, step: int) -> float:
        return self._current

    def observe(self, loss: float) -> None:
        if loss < self._best * (1 - 1e-4):
            self._best, self._bad = loss, 0
            return
        self._bad += 1
        if self._bad > self.patience:
            self._current, self._bad = max(self.floor, self._current * self.gamma), 0

    def state_dict(self) -> dict[str, Any]:
        return {"current": self._current, "best": self._best, "bad": self._bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._current, self._best, self._bad = state["current"], state["best"], state["bad"]
