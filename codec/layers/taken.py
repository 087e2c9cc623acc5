"""How much memory is taken by the tensors that are made within a block of code."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Taken(TorchDispatchMode):
    """Counts the bytes of tensors that are made within it, on any device.

    peak: of those that are alive at once, at most. kept: the same, without what is made within `apart` and gone at its end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.kept = 0
        self._live = self._depth = 0
        self._known: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch would import its compiler, which takes seconds

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):
            self._know(storage, 0)  # unless it was made here, it was there before
        result = function(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._know(storage, storage.nbytes())
        self._note()
        return result

    def _know(self, storage: torch.UntypedStorage, num_bytes: int) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self._live += num_bytes
            weakref.finalize(storage, self._forget, key, num_bytes)

    def _forget(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self._live -= num_bytes

    def _note(self) -> None:
        self.peak = max(self.peak, self._live)
        if not self._depth:
            self.kept = max(self.kept, self._live)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is made within counts for `kept` only where it is still there afterwards."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            self._note()


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, Tensor)]


_counting: ContextVar[Taken | None] = ContextVar("counting", default=None)


@contextmanager
def counted() -> Iterator[Taken]:
    """What is taken within."""
    with Taken() as taken:
        token = _counting.set(taken)
        try:
            yield taken
        finally:
            _counting.reset(token)


@contextmanager
def apart() -> Iterator[None]:
    """Taken.apart of what is being counted, where anything is."""
    taken = _counting.get()
    if taken is None:
        yield
    else:
        with taken.apart():
            yield
