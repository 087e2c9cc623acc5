"""Means over the pictures of all processes."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor


class Means:
    """Means over pictures that come in batches, of which each process has as many, but not as many pictures.

    Sums and counts travel, not means: Lightning averages a mean over processes as if each had as many pictures (#21859).
    They travel in one message; torchmetrics' MeanMetric, which does the same for one value, sends two for each.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, values: Mapping[str, Tensor], count: int) -> None:
        """Count a batch of `count` pictures with its mean values, scalars on one device; of 0 pictures, only its names."""
        self._count += count
        for name, value in values.items():
            precise = torch.float32 if value.device.type == "mps" else torch.float64
            weighted = value.detach().to(precise) * count if count else torch.zeros((), dtype=precise, device=value.device)
            self._sums[name] = self._sums.get(name, 0) + weighted

    def take(self) -> dict[str, float]:
        """The means by name, alike in all processes; then begin anew. Every process has to ask at once."""
        names = sorted(self._sums)
        totals = torch.stack([*(self._sums[name] for name in names), torch.full_like(self._sums[names[0]], self._count)])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(totals)
        *sums, count = totals.tolist()
        self._sums, self._count = {}, 0
        return {name: value / count for name, value in zip(names, sums, strict=True)}
