"""Symbols to one range-coded payload and back.

The coder is constriction's (Rust, memory-safe). Symbols are grouped by table, so that a tensor of any size takes one
call a table; both sides group alike.

n symbols of one call.
"""

from functools import cached_property

import constriction
import numpy as np

from codec.entropy.tables import PRECISION, Tables
from codec.types import UserError

CHUNK_BITS = 16  # of an escaped symbol, coded at once
MAX_LENGTH = 34  # bits of an escaped symbol: its distance from the table in 33, and its side in one
# The length of an escaped symbol, from 0 to 34 bits, by counts like those of any table; each is four fifths of the one before.
LENGTH_COUNTS = np.array(
    [13527, 10737, 8522, 6763, 5368, 4261, 3381, 2684, 2130, 1690, 1342, 1065, 845, 671, 532, 422, 335, 266, 211, 167, 133, 105]
    + [83, 66, 52, 41, 33, 26, 20, 16, 13, 10, 8, 6, 5],
    dtype=np.float64,
)  # fmt: skip
LENGTHS = constriction.stream.model.Categorical(LENGTH_COUNTS / 2**PRECISION, perfect=False)
LENGTH_COSTS = PRECISION - np.log2(LENGTH_COUNTS)
CHUNKS = constriction.stream.model.Uniform()  # 2^bits values, by symbol
# What a reader may be ahead of the payload: the coder's state, and its 24-bit probabilities against the tables' 16 bits.
SLACK_BITS, SLACK_SHARE = 64, 0.01
MAX_READ = 1 << 18  # symbols between two looks at how much of the payload is used up


class _Models:
    """constriction's models of some tables, built once, and the cost of each entry."""

    def __init__(self, tables: Tables):
        self._tables = tables
        self._models: dict[int, object] = {}

    def model(self, index: int) -> object:
        """The coder's model of one table."""
        if index not in self._models:
            # perfect=False: the counts are exact in its 24 bits but for one 2^-24 an entry, which costs nothing.
            probabilities = self._tables.table(index).astype(np.float64) / 2**PRECISION
            self._models[index] = constriction.stream.model.Categorical(probabilities, perfect=False)
        return self._models[index]

    @cached_property
    def starts(self) -> np.ndarray:
        return self._tables.starts

    @cached_property
    def costs(self) -> np.ndarray:
        """Bits of each entry, flat like the counts, float64."""
        return PRECISION - np.log2(self._tables.counts.astype(np.float64))


def _models_of(tables: Tables) -> _Models:
    """The models of `tables`, kept as long as the tables are."""
    models = getattr(tables, "_coder_models", None)
    if models is None:
        models = _Models(tables)
        object.__setattr__(tables, "_coder_models", models)
    return models


def _groups(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The order that groups symbols by table, the tables in use, and where the group of each begins and ends."""
    narrow = indices.astype(np.int16)  # which numpy sorts by radix
    order = np.argsort(narrow, kind="stable")
    used, starts = np.unique(narrow[order], return_index=True)
    return order, used, np.append(starts, len(indices))


class SymbolWriter:
    """Appends symbols to a payload. num_escaped: how many of them, so far, lay beyond their table."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()
        self.num_escaped = 0

    def write(self, symbols: np.ndarray, indices: np.ndarray, tables: Tables) -> float:
        """Append int32 symbols [n], each by the table of its index [n]; returns their ideal bits at those tables."""
        assert symbols.dtype == np.int32  # beyond it, an escape has no length
        models = _models_of(tables)
        places = symbols.astype(np.int64) - tables.offsets[indices]
        escape = tables.lengths[indices] - 1
        escaped = (places < 0) | (places >= escape)
        entries = np.where(escaped, escape, places).astype(np.int32)
        order, used, bounds = _groups(indices)
        sorted_entries = entries[order]
        for index, start, end in zip(used.tolist(), bounds[:-1], bounds[1:], strict=True):
            self._encoder.encode(sorted_entries[start:end], models.model(index))
        bits = float(models.costs[models.starts[indices] + entries].sum())
        if escaped.any():
            bits += self._write_escaped(places[escaped], escape[escaped])
        return bits

    def _write_escaped(self, places: np.ndarray, ends: np.ndarray) -> float:
        """Places relative to a table of `ends` entries, all outside it: twice the distance, and one more if below."""
        self.num_escaped += len(places)
        magnitudes = np.where(places < 0, 2 * (-1 - places) + 1, 2 * (places - ends))
        lengths = np.ceil(np.log2(magnitudes + 1.0)).astype(np.int32)
        self._encoder.encode(lengths, LENGTHS)
        for chunk in range(-(-MAX_LENGTH // CHUNK_BITS)):
            bits = np.clip(lengths - chunk * CHUNK_BITS, 0, CHUNK_BITS)
            there = bits > 0
            if there.any():
                part = (magnitudes[there] >> (chunk * CHUNK_BITS)) & (2**CHUNK_BITS - 1)
                self._encoder.encode(part.astype(np.int32), CHUNKS, (2 ** bits[there]).astype(np.int32))
        return float(LENGTH_COSTS[lengths].sum() + lengths.sum())

    def finish(self) -> bytes:
        """The payload: 32-bit words, little endian."""
        return self._encoder.get_compressed().astype("<u4").tobytes()


class SymbolReader:
    """Takes symbols from a payload.

    Raises UserError where the payload cannot hold what is asked of it: the coder itself would go on for ever.
    """

    def __init__(self, payload: bytes):
        if len(payload) % 4:
            raise UserError(f"the file is damaged: its payload of {len(payload)} bytes is cut; get the file again")
        self._decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(payload, dtype="<u4").astype(np.uint32))
        self._bits_left = 8.0 * len(payload) * (1 + SLACK_SHARE) + SLACK_BITS

    def expect(self, bits: float) -> None:
        """Raises UserError where so many bits cannot be left."""
        if bits > self._bits_left:
            raise UserError("the file is damaged: its payload ends before its symbols do; get the file again")

    def _spend(self, bits: float) -> None:
        self.expect(bits)
        self._bits_left -= bits

    def _decode(self, *model: object) -> np.ndarray:
        try:
            return self._decoder.decode(*model)
        except (AssertionError, ValueError) as error:  # constriction's answer to bits that no encoder writes
            raise UserError(f"the file is damaged: {error}; get the file again") from None

    def read(self, indices: np.ndarray, tables: Tables) -> np.ndarray:
        """The next int32 symbols [n], each by the table of its index [n]."""
        models = _models_of(tables)
        order, used, bounds = _groups(indices)
        entries = np.empty(len(indices), dtype=np.int32)
        for index, start, end in zip(used.tolist(), bounds[:-1], bounds[1:], strict=True):
            model, costs = models.model(index), models.costs[models.starts[index] :]
            for at in range(start, end, MAX_READ):
                part = self._decode(model, int(min(MAX_READ, end - at)))
                self._spend(float(costs[part].sum()))
                entries[at : at + len(part)] = part
        unsorted = np.empty_like(entries)
        unsorted[order] = entries
        places = unsorted.astype(np.int64)
        ends = tables.lengths[indices] - 1
        escaped = places == ends
        if escaped.any():
            places[escaped] = self._read_escaped(ends[escaped])
        symbols = places + tables.offsets[indices]
        if len(symbols) and not -(2**31) <= symbols.min() <= symbols.max() < 2**31:
            raise UserError("the file is damaged: it holds a symbol beyond 32 bits; get the file again")
        return symbols.astype(np.int32)

    def _read_escaped(self, ends: np.ndarray) -> np.ndarray:
        """Places outside tables of `ends` entries."""
        lengths = self._decode(LENGTHS, len(ends))
        self._spend(float(LENGTH_COSTS[lengths].sum() + lengths.sum()))
        magnitudes = np.zeros(len(ends), dtype=np.int64)
        for chunk in range(-(-MAX_LENGTH // CHUNK_BITS)):
            bits = np.clip(lengths - chunk * CHUNK_BITS, 0, CHUNK_BITS)
            there = bits > 0
            if there.any():
                part = self._decode(CHUNKS, (2 ** bits[there]).astype(np.int32)).astype(np.int64)
                magnitudes[there] |= part << (chunk * CHUNK_BITS)
        return np.where(magnitudes & 1, -1 - magnitudes // 2, magnitudes // 2 + ends)

    def finish(self) -> None:
        """Raises UserError where the payload goes on after its last symbol, by two words or more.

        One word more cannot be told from the coder's own state; the file's checksum sees it.
        """
        if not self._decoder.maybe_exhausted():
            raise UserError("the file is damaged: its payload goes on after its last symbol; get the file again")
