"""The two other ways over the latents: writing them to range-coded payloads, and reading them back.

B pictures of one size, coded together, each with a payload of its own; C latent channels, h w height and width of the latent.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.entropy.coder import medians_beside
from codec.entropy.density import Density
from codec.entropy.gaussian import GaussianPrior
from codec.entropy.stream import SymbolReader, SymbolWriter
from codec.entropy.tables import Tables, scale_index
from codec.layers.taken import apart
from codec.types import UserError

STRIP = 16
"""Rows of a latent whose symbols follow one another in a payload, grouped by table: a part of the format.

A picture of any size can be coded strip by strip in memory that does not grow with its height, and the order of its symbols
does not depend on how much there is of it.
"""


class StreamCost(NamedTuple):
    """What one stream of a picture took: ideal bits at the tables, its symbols, and how many of them lay beyond their table."""

    bits: float
    symbols: int
    escapes: int


NO_COST = StreamCost(0.0, 0, 0)


class Payload(NamedTuple):
    """One picture's symbols: range-coded, the CRC-32 of all of them, and what each stream took."""

    content: bytes
    symbols_crc: int
    streams: dict[str, StreamCost]


class _SymbolCoder:
    """What writing and reading share: which table codes which symbol, and values from symbols.

    tables: by the name of each factorized stream, and "gaussian" for all others; bounds: see scale_index.
    """

    def __init__(self, tables: dict[str, Tables], bounds: Tensor):
        self._tables = tables
        self._bounds = bounds

    @staticmethod
    def _channel_indices(batch: int, shape: tuple[int, ...], first: int | Tensor) -> np.ndarray:
        """[B, C, ...]: the table of each symbol of a factorized stream, one a channel from the first of them on."""
        channels = torch.arange(shape[0], dtype=torch.int16).view(-1, *[1] * (len(shape) - 1))
        return (channels + first).expand(batch, *shape).numpy()

    def _scale_indices(self, scales: Tensor) -> np.ndarray:
        """[B, C, h, w]: the table of each symbol of these scales."""

        def indices(part: Tensor) -> Tensor:
            if not torch.isfinite(part).all():
                raise UserError("the codec's scales are not finite; expected finite weights; the bundle was trained badly")
            return scale_index(part, self._bounds)

        return _in_pieces(indices, torch.int16, scales)

    @staticmethod
    def _values(symbols: np.ndarray, centre: Tensor | None, like: Tensor) -> Tensor:
        values = torch.from_numpy(symbols).to(like)
        return values if centre is None else values.add_(centre)


def _in_pieces(function: Callable[..., Tensor], dtype: torch.dtype, *maps: Tensor) -> np.ndarray:
    """What a function gives for each number of maps, on the CPU.

    Strip by strip where they have rows: what lies between takes up to 45 bytes for each.
    """
    result = torch.empty(maps[0].shape, dtype=dtype)
    if result.ndim != 4:
        return result.copy_(function(*maps)).numpy()
    for pieces in zip(result.split(STRIP, 2), *(x.split(STRIP, 2) for x in maps), strict=True):
        with apart():
            pieces[0].copy_(function(*pieces[1:]))
    return result.numpy()


def strips(symbols: np.ndarray) -> Iterator[Any]:
    """The place of each strip of rows in symbols [C, h, w]; of other shapes all is one strip."""
    if symbols.ndim != 3:
        yield ...
        return
    for top in range(0, symbols.shape[1], STRIP):
        yield np.s_[:, top : top + STRIP]


def _crc(symbols: np.ndarray, before: int) -> int:
    return zlib.crc32(np.ascontiguousarray(symbols, dtype="<i4").tobytes(), before)


class StreamWriter(_SymbolCoder):
    """Rounds the latents of some pictures of one size, and keeps their symbols until finish() codes them.

    That takes no network, so a thread may do it while the networks work on the next pictures.
    """

    def __init__(self, tables: dict[str, Tables], bounds: Tensor):
        super().__init__(tables, bounds)
        self._kept: list[tuple[str, np.ndarray, np.ndarray, Tables]] = []

    def _keep(self, name: str, y: Tensor, centre: Tensor | None, indices: np.ndarray, tables: Tables) -> np.ndarray:
        """The symbols of y [B, C, h, w] about its centre (None: zero), coded by the tables of indices [B, C, h, w]."""

        def symbols_of(part: Tensor, its_centre: Tensor | None = None) -> Tensor:
            symbols = torch.round((part if its_centre is None else part - its_centre).double())
            if not (symbols.abs() < 2**31).all():  # false for NaN too
                raise UserError(
                    f"stream {name} holds a value that is not finite or beyond 32-bit integers; expected latents of a "
                    "trained codec; check the picture and the codec"
                )
            return symbols

        maps = [y] if centre is None else [y, centre.expand_as(y)]
        symbols = _in_pieces(symbols_of, torch.int32, *maps)
        self._kept.append((name, symbols, indices, tables))
        return symbols

    def factorized(
        self, name: str, z: Tensor | None, shape: tuple[int, ...], density: Density, present: Tensor | None = None
    ) -> Tensor:
        assert z is not None and tuple(z.shape[1:]) == shape and present is None
        medians = medians_beside(density, shape).to(z)
        indices = self._channel_indices(len(z), shape, density.first_table)
        symbols = self._keep(name, z, medians, indices, self._tables[name])
        del z
        return self._values(symbols, medians, medians)

    def gaussian(
        self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior, first_channel: int = 0
    ) -> Tensor:
        assert y is not None
        indices = self._scale_indices(scales)
        symbols, like = self._keep(name, y, means, indices, self._tables["gaussian"]), scales.new_empty(0)
        del y, scales  # nobody else may have them, and the values are as large as each
        return self._values(symbols, means, like)

    def finish(self) -> list[Payload]:
        """The payload of each picture."""
        return [self._payload(number) for number in range(len(self._kept[0][1]))]

    def _payload(self, number: int) -> Payload:
        writer, crc = SymbolWriter(), 0
        streams: dict[str, StreamCost] = {}
        for name, symbols, indices, tables in self._kept:
            so_far, escaped, bits = streams.get(name, NO_COST), writer.num_escaped, 0.0
            for place in strips(symbols[number]):
                part = symbols[number][place].ravel()
                bits += writer.write(part, indices[number][place].ravel(), tables)
                crc = _crc(part, crc)
            more = (bits, symbols[number].size, writer.num_escaped - escaped)
            streams[name] = StreamCost(*(a + b for a, b in zip(so_far, more, strict=True)))
        return Payload(writer.finish(), crc, streams)


class StreamReader(_SymbolCoder):
    """Takes the symbols of some pictures of one size back, each from its payload.

    symbols_crcs: the CRC-32 of the symbols of each, so far.
    """

    def __init__(self, payloads: Sequence[bytes], tables: dict[str, Tables], bounds: Tensor):
        super().__init__(tables, bounds)
        self._readers = [SymbolReader(payload) for payload in payloads]
        self.symbols_crcs = [0] * len(payloads)

    def _read(self, indices: np.ndarray, tables: Tables) -> np.ndarray:
        """The next symbols, by the tables of indices [B, C, h, w] and in that shape."""
        symbols = torch.empty(indices.shape, dtype=torch.int32).numpy()
        for number, (reader, its_indices, its_symbols) in enumerate(zip(self._readers, indices, symbols, strict=True)):
            for place in strips(its_indices):
                part = reader.read(its_indices[place].ravel(), tables)
                self.symbols_crcs[number] = _crc(part, self.symbols_crcs[number])
                its_symbols[place] = part.reshape(its_symbols[place].shape)
        return symbols

    def factorized(
        self, name: str, z: Tensor | None, shape: tuple[int, ...], density: Density, present: Tensor | None = None
    ) -> Tensor:
        assert z is None and present is None
        tables, first = self._tables[name], density.first_table
        least, firsts = tables.least_bits(), torch.as_tensor(first).expand(shape[1:]).unique(return_counts=True)
        bits = sum(float(least[at : at + shape[0]].sum()) * int(count) for at, count in zip(*firsts, strict=True))
        for reader in self._readers:  # before memory is taken for what the payload cannot hold
            reader.expect(bits)
        symbols = self._read(self._channel_indices(len(self._readers), shape, first), tables)
        medians = medians_beside(density, shape)
        return self._values(symbols, medians, medians)

    def gaussian(
        self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior, first_channel: int = 0
    ) -> Tensor:
        assert y is None
        symbols, like = self._read(self._scale_indices(scales), self._tables["gaussian"]), scales.new_empty(0)
        del scales
        return self._values(symbols, means, like)

    def finish(self) -> None:
        """Raises UserError where a payload holds more than was read."""
        for reader in self._readers:
            reader.finish()
