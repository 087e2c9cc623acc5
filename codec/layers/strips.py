"""Functions of maps strip by strip: the values that the whole gives, in memory that does not grow with the picture.

A strip is computed with as much beside it as its values hang on, the halo, which is cut off again; at a border of the map
itself there is none, and layers pad there as they always do. So a value is the same sum of the same numbers, and differs by
what a library makes of another size: by a rounding, and in exact layers by nothing. Strips lie across the longer side and are
as thick as memory allows; where the whole fits, it is computed as a whole.

How far the halo of a function reaches stands nowhere: the function is asked, with a map of which one half is NaN. What it takes
is counted in the same run.

B batch, C channels, h w height and width of a map.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from codec.layers.taken import apart, counted

BESIDE = 1.1  # what libraries take for their work, and an allocator for its order, over the tensors alone
SHARE = 0.5  # of what is allowed: for what a function keeps while parts of it go in strips of their own
LEAST_UNITS, MOST_UNITS, PROBED_WIDTH = 8, 128, 8  # of the map that a function is asked with

_allowed: ContextVar[float] = ContextVar("allowed", default=math.inf)
_called: ContextVar["list[tuple[Strips, Tensor]] | None"] = ContextVar("called", default=None)


@contextmanager
def allowing(num_bytes: float) -> Iterator[None]:
    """Within, what works in strips takes at most so many bytes for its maps, or as little as it can."""
    token = _allowed.set(num_bytes)
    try:
        yield
    finally:
        _allowed.reset(token)


@contextmanager
def calls() -> "Iterator[list[tuple[Strips, Tensor]]]":
    """Which functions in strips are called within, and a map like the first that each gets; those within others are not."""
    seen: list[tuple[Strips, Tensor]] = []
    token = _called.set(seen)
    try:
        yield seen
    finally:
        _called.reset(token)


class Geometry(NamedTuple):
    """How the output of a function hangs on its input.

    halo: rows of the input beside a strip; None where each value hangs on all. scale: rows of the output for each. peak, kept:
    bytes for each position of the input, as codec.layers.taken counts them.
    """

    halo: int | None
    scale: Fraction
    peak: float
    kept: float

    @property
    def least(self) -> float:
        """Bytes for each position that must be allowed for a strip: less where parts of the function go in strips, too."""
        return BESIDE * min(self.peak, self.kept / SHARE)


class Strip(NamedTuple):
    """Rows `first` to `last` of a map, and those that are computed for them."""

    first: int
    last: int
    halo_first: int
    halo_last: int


class Strips:
    """A function of maps, which is called as the function is.

    function: of a map [B, C, h, w], or of several with as many rows or columns along the longer side of the first, to a map
    whose sides are the same multiple or fraction of its. unit: rows at whose multiples a strip may begin. then: what becomes of
    each strip of the result. A function in which all values hang on all is never cut.
    """

    def __init__(self, function: Callable[..., Tensor], unit: int, then: Callable[[Tensor], Tensor] = lambda part: part):
        self._function = function
        self._unit = unit
        self._then = then
        self._geometry: Geometry | None = None

    def __call__(self, *maps: Tensor, **others: Tensor) -> Tensor:
        with apart():
            strips = self.cut(*maps, **others)
            if len(strips) == 1:
                return next(self.parts(strips, *maps, **others))
            return self._assembled(strips, maps, others)

    def _assembled(self, strips: Sequence[Strip], maps: Sequence[Tensor], others: dict[str, Tensor]) -> Tensor:
        axis, geometry = longer_side(maps[0]), self.geometry(*maps, **others)
        out: Tensor | None = None
        for strip, part in zip(strips, self.parts(strips, *maps, **others), strict=True):
            if out is None:
                shape = list(part.shape)
                shape[axis] = math.ceil(maps[0].size(axis) * geometry.scale)
                out = torch.empty(shape, dtype=part.dtype, device=part.device, memory_format=_memory_format(part))
            out.narrow(axis, int(strip.first * geometry.scale), part.size(axis)).copy_(part)
        assert out is not None
        return out

    def parts(self, strips: Sequence[Strip], *maps: Tensor, **others: Tensor) -> Iterator[Tensor]:
        """What the function gives at each strip; others: what it takes besides, which is not cut."""
        if len(strips) == 1:
            with allowing(self._left(*maps, **others)):
                whole = self._function(*maps, **others)
            yield self._then(whole)
            return
        axis, geometry = longer_side(maps[0]), self.geometry(*maps, **others)
        for first, last, halo_first, halo_last in strips:
            of_strip = [x.narrow(axis, halo_first, halo_last - halo_first) for x in maps]
            with allowing(self._left(*of_strip, **others)):
                part = self._function(*of_strip, **others)
            above, rows = int((first - halo_first) * geometry.scale), math.ceil((last - first) * geometry.scale)
            yield self._then(part.narrow(axis, above, rows))

    def _left(self, *maps: Tensor, **others: Tensor) -> float:
        """What is allowed to the parts of the function while it works on these maps."""
        allowed = _allowed.get()
        if math.isinf(allowed):
            return allowed
        geometry, positions = self.geometry(*maps, **others), _positions(maps[0])
        return math.inf if geometry.peak * BESIDE * positions <= allowed else allowed - geometry.kept * BESIDE * positions

    def cut(self, *maps: Tensor, **others: Tensor) -> list[Strip]:
        """The strips in which the function works on these maps: one where it works on the whole."""
        x, allowed = maps[0], _allowed.get()
        axis = longer_side(x)
        rows = x.size(axis)
        whole = [Strip(0, rows, 0, rows)]
        if math.isinf(allowed):
            return whole
        if (seen := _called.get()) is not None:
            seen.append((self, x[..., :1, :1].expand_as(x)))
        geometry = self.geometry(*maps, **others)
        if geometry.halo is None or geometry.least * _positions(x) <= allowed:
            return whole
        thickest = int(allowed / (geometry.least * _positions(x) / rows)) - 2 * geometry.halo
        count = math.ceil(rows / max(thickest, self._unit))
        thickness = math.ceil(rows / count / self._unit) * self._unit
        bounds = [(first, min(first + thickness, rows)) for first in range(0, rows, thickness)]
        halo = geometry.halo
        return [Strip(first, last, max(first - halo, 0), min(last + halo, rows)) for first, last in bounds]

    def least(self, x: Tensor, height: int, width: int) -> float:
        """Bytes that the function must be allowed for a map like x, but for its height and width."""
        geometry, across, along = self.geometry(x), min(height, width), max(height, width)
        rows = along if geometry.halo is None else min(self._unit + 2 * geometry.halo, along)
        return geometry.least * len(x) * across * rows

    def geometry(self, *maps: Tensor, **others: Tensor) -> Geometry:
        """That of the function, asked once."""
        if self._geometry is None:
            self._geometry = self._found(*maps, **others)
        return self._geometry

    def _found(self, *maps: Tensor, **others: Tensor) -> Geometry:
        axis, units = longer_side(maps[0]), LEAST_UNITS
        while True:
            rows = units * self._unit
            probes = [_half_nan(x, axis, rows, max(self._unit, PROBED_WIDTH)) for x in maps]
            with allowing(math.inf), counted() as taken:
                out = self._function(*probes, **others)
            spoilt = out.isnan().any(dim=1).any(dim=-1 if axis == 2 else -2)  # [2, rows]
            scale, middle = Fraction(spoilt.size(1), rows), spoilt.size(1) // 2
            positions = _positions(probes[0])
            counts = scale, taken.peak / positions, taken.kept / positions
            clean = ~spoilt[0, middle:], ~spoilt[1, :middle].flip(0)
            if all(side.any() for side in clean):
                reach = max(int(side.int().argmax()) for side in clean)
                halo = math.ceil(reach / scale / self._unit) * self._unit
                return Geometry(halo, *counts)
            if units >= MOST_UNITS:
                return Geometry(None, *counts)
            units *= 2


def longer_side(x: Tensor) -> int:
    """The axis of x [B, C, h, w] along which strips follow one another."""
    return 2 if x.size(2) >= x.size(3) else 3


def _positions(x: Tensor) -> int:
    return x.size(0) * x.size(2) * x.size(3)


def _memory_format(x: Tensor) -> torch.memory_format:
    channels_last = x.stride(1) == 1 and x.size(1) > 1
    return torch.channels_last if channels_last else torch.contiguous_format


def _half_nan(x: Tensor, axis: int, rows: int, width: int) -> Tensor:
    """Two maps like x, with so many rows along the axis and at most `width` across: the first half of one is NaN, the
    second half of the other."""
    shape = [2, x.size(1), min(x.size(2), width), min(x.size(3), width)]
    shape[axis] = rows
    dtype = x.dtype if x.is_floating_point() else torch.float32
    probe = torch.zeros(shape, dtype=dtype, device=x.device).contiguous(memory_format=_memory_format(x))
    probe[:1].narrow(axis, 0, rows // 2).fill_(math.nan)
    probe[1:].narrow(axis, rows // 2, rows - rows // 2).fill_(math.nan)
    return probe
