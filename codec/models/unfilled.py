"""Networks whose weights come from a file: built without random numbers, in no more memory than those weights account for."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from codec.types import UserError

# What a constructor may take besides: buffers, and what it makes weights from.
SPARE_NUMBERS, SPARE_TENSORS = 1 << 20, 1 << 10
FILLS = {torch.Tensor.uniform_, torch.Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}
SIZED = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}


class Unfilled(TorchFunctionMode):
    """While it is on, tensors are made up to a limit, and zeros stand for random numbers.

    Building on the meta device would need no limit, but torch computes there in Python: importing what it takes to
    multiply two tensors is several times as long as coding a picture. Twice what the weights have leaves room for one that
    is made of another tensor; the number of tensors bounds the time of a network that has many small ones.
    Raises UserError, before memory is taken, for a network that is larger.
    """

    def __init__(self, num_numbers: int, num_tensors: int):
        super().__init__()
        self._numbers, self._tensors = 2 * num_numbers + SPARE_NUMBERS, 2 * num_tensors + SPARE_TENSORS

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in FILLS:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            with torch.no_grad():
                return tensor.zero_()
        if func in SIZED:
            self._numbers -= _num_numbers(func, args, kwargs)
            self._tensors -= 1
            if self._numbers < 0 or self._tensors < 0:
                raise UserError("its arguments make a larger network than its weights do")
        return func(*args, **kwargs)


def _num_numbers(func: Callable[..., Tensor], args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Of the tensor that a function of SIZED is asked for: its sizes are given one by one, or as a sequence."""
    given = [*args, *(kwargs[name] for name in ("size", "n", "m") if name in kwargs)]
    if not isinstance(given[0], int):
        given = list(given[0])
    if func is torch.eye and len(given) == 1:
        given *= 2
    return math.prod(side for side in given if isinstance(side, int))
