"""Several rates out of one codec: before y is rounded it is multiplied by a gain, and divided by it afterwards.

Cui et al. 2021 ("Asymmetric Gained Deep Image Compression With Continuous Rate Adaptation") have a gain for each level and
channel. Here it acts at y - mean: symbols are rounded((y - mean) g), coded by the Gaussian of scale g, and the decoder has
symbol / g + mean. What tells of y (side information, earlier slices) sees it without gains, whatever the level.

B batch, L levels, A anchors, M channels of y, C channels of a part of it, h w height and width of it.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from codec.entropy.coder import LatentCoder, medians_beside
from codec.entropy.density import Density
from codec.entropy.gaussian import GaussianPrior
from codec.layers.exact import LIMIT, UNIT
from codec.layers.mixed_precision import at_least_float32
from codec.layers.taken import apart
from codec.types import UserError, shown

LEVELLED = "y"  # the stream that has levels
MAX_LEVELS = 256  # what a file's one byte tells apart
ROWS = 16  # of a map that are multiplied at once
ANCHORS = 8  # levels whose gains are learned; those between interpolate, in log


class Levels(nn.Module):
    """The gains of L levels from low to high rate, and their inverses, the steps.

    Learned at anchors, so that a level shares what its neighbours see. A bundle holds gains and steps of each level as integers
    of the grid of exact arithmetic: where they are set (`fix`), they hold.
    Raises UserError for less than 2 levels, and more than a file's byte tells apart.
    """

    def __init__(self, count: int, channels: int):
        super().__init__()
        if not 2 <= count <= MAX_LEVELS:
            raise UserError(f"{shown(count)} levels; expected 2 to {MAX_LEVELS}; set levels.count")
        self.count = count
        self.log_gains = nn.Parameter(torch.zeros(min(count, ANCHORS), channels))
        self._fixed: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def start(self, lmbdas: Sequence[float], reference: float) -> None:
        """Begin at sqrt(lmbda / reference) of each level's lmbda, log-spaced: at high rate a step has the slope of lmbda then.

        reference: that of the weights beside it, whose gain is 1.
        """
        first, last = (0.5 * math.log(lmbda / reference) for lmbda in (lmbdas[0], lmbdas[-1]))
        self.log_gains.copy_(torch.linspace(first, last, len(self.log_gains))[:, None])

    @torch.no_grad()
    def move(self, before: Sequence[float], after: Sequence[float]) -> None:
        """Keep the gains of each lambda: levels of the lambdas `before` become levels of the lambdas `after`.

        Each log-spaced, from low to high. Beyond both ends of those before, gains go on as in `start`.
        """
        anchors = len(self.log_gains)
        first, last, new_first, new_last = (math.log(lmbda) for lmbda in (before[0], before[-1], after[0], after[-1]))
        places = (torch.linspace(new_first, new_last, anchors) - first) * ((anchors - 1) / (last - first))
        inside = places.clamp(0, anchors - 1)
        below = inside.long().clamp(max=anchors - 2)
        logs = torch.lerp(self.log_gains[below], self.log_gains[below + 1], (inside - below)[:, None])
        self.log_gains.copy_(logs + 0.5 * (places - inside)[:, None] * (last - first) / (anchors - 1))

    def spread(self, number: int) -> list[int]:
        """So many levels from the lowest to the highest, spread evenly; all where there are no more."""
        number = min(number, self.count)
        return [round(place * (self.count - 1) / (number - 1)) for place in range(number)]

    def of(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Gains and steps of levels int64 [B], each [B, M]."""
        if self._fixed is not None:
            gains, steps = (values.to(levels.device)[levels] for values in self._fixed)
            return gains, steps
        anchors = len(self.log_gains)
        places = levels * ((anchors - 1) / (self.count - 1))
        below = places.long().clamp(max=anchors - 2)
        share = (places - below).to(self.log_gains)[:, None]
        logs = torch.lerp(self.log_gains[below], self.log_gains[below + 1], share)
        return torch.exp(logs), torch.exp(-logs)

    def on_grid(self) -> tuple[Tensor, Tensor]:
        """Gains and steps of all levels as a bundle holds them: int32 [L, M] in units of the grid.

        Raises UserError for gains that the grid does not hold.
        """
        gains, _ = self.of(torch.arange(self.count, device=self.log_gains.device))
        gains = gains.detach().double().cpu()
        if not ((gains > 1 / LIMIT) & (gains < LIMIT)).all():  # false for NaN too
            raise UserError(
                f"gains of levels from {float(gains.min()):.3g} to {float(gains.max()):.3g}; expected them between "
                f"{1 / LIMIT:.3g} and {LIMIT:.0f}; the training went wrong, take an earlier checkpoint"
            )
        units = torch.round(gains / UNIT)
        return units.int(), torch.round(1 / (units * UNIT) / UNIT).int()

    def fix(self, gains: Tensor, steps: Tensor) -> None:
        """Hold to these gains and steps, int32 [L, M] in units of the grid.

        Raises UserError where they are no gains of these levels.
        """
        expected, largest = (self.count, self.log_gains.size(1)), round(LIMIT / UNIT)
        for units in (gains, steps):
            if units.dtype != torch.int32 or units.shape != expected or not ((units > 0) & (units <= largest)).all():
                raise UserError(f"gains of levels that are none; expected {list(expected)} integers from 1 to {largest}")
        self._fixed = gains.float() * UNIT, steps.float() * UNIT  # exact: float32 holds all of the grid

    def coder(self, coder: LatentCoder, levels: int | Tensor) -> "LevelCoder":
        """What codes y at a level by means of `coder`.

        levels: of all pictures; or of each, int64 [B], which only an estimate can have; or of each place of y, int64 [h, w].
        Raises UserError for a level that there is not; not for levels [B] on a GPU, which would have to be waited for.
        """
        if isinstance(levels, int) or levels.ndim != 1 or levels.device.type == "cpu":
            every = torch.as_tensor(levels)
            lowest, highest = int(every.min()), int(every.max())
            if lowest < 0 or highest >= self.count:
                wrong = lowest if lowest < 0 else highest
                raise UserError(f"level {wrong} of a codec that has levels 0 to {self.count - 1}; give one of them")
        if isinstance(levels, int):
            return LevelCoder(coder, *self.of(torch.tensor([levels], device=self.log_gains.device)), levels)
        if levels.ndim == 1:
            return LevelCoder(coder, *self.of(levels), 0)
        device = self.log_gains.device
        return LevelCoder(coder, *self.of(torch.arange(self.count, device=device)), levels.to(device))


class LevelCoder:
    """A LatentCoder that hands another one stream y multiplied by gains and about zero, and everything else as it is.

    gains, steps: [B, M], or [1, M] for all pictures, or [L, M] with a map. level: at which a density's tables begin, or a map
    of levels, int64 [h, w]: that of each place, in all pictures. What the other one gives of y are symbols, so that it may
    estimate, write or read; each operation on them here is rounded on its own, in float32.
    """

    def __init__(self, coder: LatentCoder, gains: Tensor, steps: Tensor, level: int | Tensor):
        self._coder, self._gains, self._steps, self._level = coder, gains, steps, level

    def _beside(self, values: Tensor, first: int, like: Tensor) -> Tensor:
        """Gains or steps of the channels of `like` [B, C, ...], which are those of y from `first` on.

        With a map they are as large as `like`, so nobody keeps them.
        """
        values = values[:, first : first + like.size(1)].to(like.dtype)
        if isinstance(self._level, int):
            return values.unflatten(1, (like.size(1), *[1] * (like.ndim - 2)))
        return values[self._level].movedim(-1, 0)[None]

    def _times(self, values: Tensor, factors: Tensor, first: int) -> Tensor:
        """Values [B, C, ...] times gains or steps; with a map some rows after others, so that few lie beside them."""
        if isinstance(self._level, int):
            return values * self._beside(factors, first, values)
        factors, product = factors[:, first : first + values.size(1)].to(values.dtype), torch.empty_like(values)
        for out, rows, levels in zip(*(x.split(ROWS, dim=-2) for x in (product, values, self._level)), strict=True):
            with apart():
                torch.mul(rows, factors[levels].movedim(-1, 0), out=out)
        return product

    def _gained(self, values: Tensor, centre: Tensor | None, first: int) -> Tensor:
        """Those about a centre (None: zero), in units of the symbols."""
        values = at_least_float32(values)
        return self._times(values if centre is None else values - centre, self._gains, first)

    def _first_table(self, channels: int) -> int | Tensor:
        """The number of a density's first table; with a map that at each place, int16 [h, w] on the CPU."""
        first = self._level * channels
        return first if isinstance(first, int) else first.short().cpu()

    def factorized(
        self, name: str, z: Tensor | None, shape: tuple[int, ...], density: Density, present: Tensor | None = None
    ) -> Tensor:
        if name != LEVELLED:
            return self._coder.factorized(name, z, shape, density, present)
        medians = medians_beside(density, shape)
        with torch.autocast(medians.device.type, enabled=False):
            at_levels = _DensityAtLevels(density, partial(self._beside, self._steps, 0), self._first_table(shape[0]))
            values = self._coder.factorized(name, None if z is None else self._gained(z, medians, 0), shape, at_levels, present)
            return self._times(values, self._steps, 0) + medians

    def gaussian(
        self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior, first_channel: int = 0
    ) -> Tensor:
        if name != LEVELLED:
            return self._coder.gaussian(name, y, scales, means, prior, first_channel)
        with torch.autocast(scales.device.type, enabled=False):
            means = None if means is None else at_least_float32(means)
            # No name for what is made for the other one: it may free it, as large as y, before it makes its values.
            values = self._coder.gaussian(
                name,
                None if y is None else self._gained(y, means, first_channel),
                self._gained(scales, None, first_channel),
                None,
                prior,
                first_channel,
            )
            values = self._times(values, self._steps, first_channel)
            return values if means is None else values + means


class _DensityAtLevels:
    """A density of y as that of its symbols about zero, each of which stands for an interval of its level's width.

    steps_beside: the steps of values [B, C, ...], in a shape that goes beside them. first_table: of the level.
    """

    def __init__(self, density: Density, steps_beside: Callable[[Tensor], Tensor], first_table: int | Tensor):
        self._density, self._steps_beside, self.first_table = density, steps_beside, first_table

    def medians(self) -> Tensor:
        return torch.zeros_like(self._density.medians())

    def likelihood(self, values: Tensor, widths: Tensor | None = None) -> Tensor:
        assert widths is None
        medians, steps = medians_beside(self._density, values.shape[1:]), self._steps_beside(values)
        return self._density.likelihood(values * steps + medians, steps)
