"""Means of gradients over processes, for steps of several backward passes."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

MESSAGE_BYTES = 25 * 2**20  # as of DistributedDataParallel's: large enough for the net, many for a backward pass


class GradientMeans:
    """Replaces the gradients of some parameters by their means over all processes, as they come.

    The last ones of a backward pass are computed while the first ones travel, in messages of 25 MiB. DistributedDataParallel
    does the same for one backward pass through all parameters; here each optimizer has a pass of its own, and parts of a batch
    may add up before it.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self._messages: list[list[nn.Parameter]] = [[]]
        self._place: dict[int, int] = {}
        size = 0
        for parameter in reversed(list(parameters)):  # about the order in which gradients come
            if size > MESSAGE_BYTES:
                self._messages.append([])
                size = 0
            self._messages[-1].append(parameter)
            self._place[id(parameter)] = len(self._messages) - 1
            size += parameter.numel() * parameter.element_size()
            parameter.register_post_accumulate_grad_hook(self._came)
        self._missing: list[int] = []
        self._sent: list[tuple[list[Tensor], Tensor, Any]] = []

    def begin(self) -> None:
        """The backward pass that follows completes the gradients of a step: they may travel."""
        if dist.is_available() and dist.is_initialized():
            self._missing = [len(message) for message in self._messages]

    def _came(self, parameter: nn.Parameter) -> None:
        if self._missing:
            self._missing[self._place[id(parameter)]] -= 1
            while len(self._sent) < len(self._messages) and not self._missing[len(self._sent)]:
                self._send()

    def _send(self) -> None:
        """The next message: in one order on all processes, since what they send meets by its order."""
        gradients = [p.grad for p in self._messages[len(self._sent)] if p.grad is not None]
        message = torch.cat([gradient.flatten() for gradient in gradients])
        self._sent.append((gradients, message, dist.all_reduce(message, async_op=True)))

    def finish(self) -> None:
        """The pass is over: wait for the means, those of parameters that it did not reach among them."""
        if not self._missing:
            return
        while len(self._sent) < len(self._messages):
            self._send()
        for gradients, message, work in self._sent:
            work.wait()
            message /= dist.get_world_size()
            for gradient, mean in zip(gradients, message.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(mean.view_as(gradient))
        self._missing, self._sent = [], []
