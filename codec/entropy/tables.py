"""Integer probability tables of the range coder, and which table codes which symbol.

T tables, n entries of one table, C channels. A table covers the symbols offset .. offset + n - 2; its last entry is the
escape, after which the symbol itself follows.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codec.layers.exact import UNIT
from codec.types import UserError

PRECISION = 16
TOTAL = 1 << PRECISION
MAX_ENTRIES = 1 << 14  # of one table
REACH = MAX_ENTRIES // 2 - 1  # symbols on each side of 0 in a table; what lies beyond is left to the escape
MAX_TABLES = (1 << 15) - 1  # the coder sorts symbols by a 16-bit index
TABLE_TYPES = {"counts": torch.uint16, "lengths": torch.int32, "offsets": torch.int32}  # in a file
TAIL_MASS = 1e-9  # CompressAI's: the support of a table holds all but this
TAIL = -float(torch.special.ndtri(torch.tensor(TAIL_MASS / 2, dtype=torch.float64)))  # where it begins, in deviations


@dataclass(frozen=True)
class Tables:
    """Ragged tables.

    counts: uint16, the tables one after the other; each sums to 2^16. lengths: int32 [T], entries with the escape;
    offsets: int32 [T], the symbol of the first entry.
    Raises UserError where that does not hold: bundles come from anywhere, and the coder aborts on a bad table.
    """

    counts: np.ndarray
    lengths: np.ndarray
    offsets: np.ndarray

    def __post_init__(self) -> None:
        lengths = self.lengths.astype(np.int64)
        sound = (
            self.counts.ndim == self.lengths.ndim == self.offsets.ndim == 1
            and 0 < len(self.lengths) == len(self.offsets) <= MAX_TABLES
            and bool(((lengths >= 2) & (lengths <= MAX_ENTRIES)).all())
            and lengths.sum() == len(self.counts)
            and bool((self.counts >= 1).all())
            and bool((np.abs(self.offsets.astype(np.int64)) < 2**30).all())
        )
        if not sound or not (np.add.reduceat(self.counts.astype(np.int64), self.starts) == TOTAL).all():
            raise UserError("the codec's coder tables are damaged; expected counts that sum to 2^16; get the bundle again")

    @property
    def starts(self) -> np.ndarray:
        """Where each table begins in counts, int64 [T]."""
        return np.concatenate(([0], np.cumsum(self.lengths[:-1], dtype=np.int64)))

    def table(self, index: int) -> np.ndarray:
        """The counts of one table."""
        start = self.starts[index]
        return self.counts[start : start + self.lengths[index]]

    def least_bits(self) -> np.ndarray:
        """What a symbol of each table costs at least, float64 [T]."""
        return PRECISION - np.log2(np.maximum.reduceat(self.counts, self.starts).astype(np.float64))

    def to_tensors(self) -> dict[str, Tensor]:
        """For a file: counts as uint16, lengths and offsets as int32."""
        return {
            "counts": torch.from_numpy(self.counts.astype(np.uint16)),
            "lengths": torch.from_numpy(self.lengths.astype(np.int32)),
            "offsets": torch.from_numpy(self.offsets.astype(np.int32)),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Tables":
        """What to_tensors gave, copied: of tensors out of a file, one that lives would keep all of it. UserError for others."""
        if {name: t.dtype for name, t in tensors.items()} != TABLE_TYPES:
            raise UserError("the codec's coder tables are damaged; expected counts, lengths, offsets; get the bundle again")
        return cls(**{name: tensor.numpy().copy() for name, tensor in tensors.items()})


def quantize_pmf(pmf: np.ndarray, tail: float) -> np.ndarray:
    """uint16 [n + 1] counts summing to 2^16, each at least 1, for probabilities pmf [n] and the mass `tail` beyond them.

    The scale is the largest at which the rounded-down counts, lifted to 1, fit; what is left goes where rounding took
    most. In float64 on the CPU, so that every machine makes the same tables.
    """
    p = np.append(np.maximum(pmf.astype(np.float64), 0), max(float(tail), 0.0))
    assert 0 < p.sum() < np.inf  # false for NaN too
    p /= p.sum()
    low, high = 0.0, 2.0 * TOTAL
    for _ in range(60):
        middle = (low + high) / 2
        fits = np.maximum(np.floor(p * middle), 1).sum() <= TOTAL
        low, high = (middle, high) if fits else (low, middle)
    counts = np.maximum(np.floor(p * low), 1).astype(np.int64)
    rest = TOTAL - int(counts.sum())
    order = np.argsort(-(p * low - counts), kind="stable")
    for place in np.resize(order, rest):
        counts[place] += 1
    return counts.astype(np.uint16)


def joined(parts: Sequence[Tables]) -> Tables:
    """The tables of all parts, one after the other."""
    return Tables(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("counts", "lengths", "offsets")))


def _ragged(tables: list[tuple[int, np.ndarray, float]]) -> Tables:
    """Tables from (offset, pmf, tail) of each."""
    counts = [quantize_pmf(pmf, tail) for _, pmf, tail in tables]
    lengths = np.array([len(c) for c in counts], dtype=np.int32)
    return Tables(np.concatenate(counts), lengths, np.array([offset for offset, _, _ in tables], dtype=np.int32))


_NOT_FINITE = "the codec's factorized density holds NaN or infinity; expected finite weights; take an earlier checkpoint"


def factorized_tables(likelihood: Callable[[Tensor, Tensor], Tensor], medians: Tensor, tails: Tensor, steps: Tensor) -> Tables:
    """One table a channel of a factorized density.

    likelihood: of intervals around samples float64 [C, 1, n], by half their widths [C, 1, 1]. medians, steps: [C]; symbol k
    stands for the interval of width step around median + k step. tails: [C, 2], the lower and upper quantile between which the
    density is tabulated, 8191 symbols on each side at most.
    Raises UserError where any of them is not finite.
    """
    steps = steps.double()
    if not (torch.isfinite(medians).all() and torch.isfinite(tails).all()):
        raise UserError(_NOT_FINITE)
    below = torch.ceil((medians - tails[:, 0]) / steps).clamp(0, REACH).long()
    above = torch.ceil((tails[:, 1] - medians) / steps).clamp(0, REACH).long()
    symbols = torch.arange(-int(below.max()), int(above.max()) + 1, dtype=torch.float64)
    samples = medians.double()[:, None] + symbols * steps[:, None]
    pmf = likelihood(samples[:, None], steps[:, None, None] / 2)[:, 0].numpy()
    if not np.isfinite(pmf).all():
        raise UserError(_NOT_FINITE)
    first = int(below.max())
    rows = []
    for channel in range(len(pmf)):
        low, high = int(below[channel]), int(above[channel])
        row = pmf[channel, first - low : first + high + 1]
        rows.append((-low, row, max(1 - row.sum(), 0.0)))
    return _ragged(rows)


def gaussian_tables(scale_table: Tensor) -> Tables:
    """One symmetric table a scale, of a Gaussian integrated over unit intervals."""
    rows = []
    for scale in scale_table.double().tolist():
        centre = min(math.ceil(scale * TAIL), REACH)
        distances = torch.arange(-centre, centre + 1, dtype=torch.float64).abs()
        beyond = [0.5 * torch.special.erfc((distances + shift) / (scale * math.sqrt(2))) for shift in (-0.5, 0.5)]
        pmf = (beyond[0] - beyond[1]).numpy()
        rows.append((-centre, pmf, max(1 - pmf.sum(), TAIL_MASS)))
    return _ragged(rows)


def scale_bounds(scale_table: Tensor, rule: str) -> Tensor:
    """The largest scale that each table but the last codes, int32 [T - 1] in units of codec.layers.exact's grid.

    rule "nearest": of the entry nearest in log (costs 0.1 % of the rate); "upper": of the next larger entry, as CompressAI
    codes (costs 3 to 4 % after short training).
    """
    table = scale_table.float().double()  # as CompressAI compares
    bounds = torch.sqrt(table[1:] * table[:-1]) if rule == "nearest" else table[:-1]
    return torch.floor(bounds / UNIT).int()


def scale_index(scales: Tensor, bounds: Tensor) -> Tensor:
    """The table, int16 and in the shape of `scales`, that codes a symbol of that predicted scale; bounds: see scale_bounds.

    Scales are rounded to the grid and compared as integers.
    """
    units = torch.round(scales.double() / UNIT).contiguous()
    return torch.bucketize(units, bounds.to(units), out_int32=True).to(torch.int16)
