"""The three ways over the latents: estimating their rate, writing them, reading them.

A model writes its pass over the latents once, against LatentCoder; because the same lines estimate, write and read,
encoder and decoder cannot disagree.

B batch, C latent channels, h w height and width of the latent. A model may hand over latents, or parts of them, of any other
shape, as long as B comes first, and in a factorized stream C second.
"""

import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.entropy.stream import SymbolReader, SymbolWriter
from codec.entropy.tables import Tables, scale_index
from codec.layers.mixed_precision import at_least_float32
from codec.types import UserError

STRIP = 16
"""Rows of a latent whose symbols follow one another in a payload, grouped by table: a part of the format.

A picture of any size can be coded strip by strip in memory that does not grow with its height, and the order of its symbols
does not depend on how much there is of it.
"""

Noise = Callable[[Tensor], Tensor]
"""Gives noise of U(-1/2, 1/2) in the shape, type and place of its argument."""


def uniform_noise(like: Tensor) -> Tensor:
    """Noise of U(-1/2, 1/2) from the device's own generator."""
    return torch.empty_like(like).uniform_(-0.5, 0.5)


class LatentCoder(Protocol):
    """What a model's pass over its latents talks to. A stream may be coded in parts, one call each."""

    def factorized(
        self,
        name: str,
        z: Tensor | None,
        shape: tuple[int, ...],
        density: FactorizedDensity,
        present: Tensor | None = None,
    ) -> Tensor:
        """z_hat [B, *shape] of stream `name`; shape is (C, h, w) or any other that begins with C; z is None when reading.

        density: what z is coded by. present: bool [B, 1, h, w], which columns exist (None: all). Those that do not cost
        nothing, and only an estimate knows any.
        """
        ...

    def gaussian(self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior) -> Tensor:
        """y_hat of stream `name`, in the shape of its scales and means (None: zero), [B, C, h, w] or any other.

        y is None when reading. prior: what it is coded by.
        """
        ...


def rounded(x: Tensor) -> Tensor:
    """x rounded to integers, with the gradient of the identity."""
    return torch.round(x).detach() + (x - x.detach())


def _medians(density: FactorizedDensity, shape: Sequence[int]) -> Tensor:
    """[C, 1, …]: what rounding leaves where it is, beside latents [B, *shape] with shape (C, …)."""
    return density.medians().view(-1, *[1] * (len(shape) - 1))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts [B, …] of one stream as one tensor: side by side as channels where they fit so, else as rows [B, n]."""
    if len({(*part.shape[:1], *part.shape[2:]) for part in parts}) > 1:
        parts = [part.flatten(1) for part in parts]
    return torch.cat(tuple(parts), dim=1) if len(parts) > 1 else parts[0]


class RateEstimator:
    """Estimates rates: of noisy values in training, of rounded ones otherwise.

    noise: the source of noise, or None to round. straight_through: the streams of which the decoder gets rounded values in
    training too, as HiFiC's of y; of the others it gets the noisy ones, as in Ballé 2018. quantized: estimate the rounded
    values in training too, by the same densities and without gradient.
    """

    def __init__(self, noise: Noise | None, straight_through: Collection[str] = (), quantized: bool = False):
        self.noise = noise
        self.straight_through = straight_through
        self.quantized = quantized
        self._likelihoods: dict[str, list[Tensor]] = {}
        self._quantized: dict[str, list[Tensor]] = {}

    def _estimate(self, name: str, values: Tensor, centre: Tensor | None, likelihood: Callable[[Tensor], Tensor]) -> Tensor:
        """What the decoder gets of `values`, whose likelihoods are noted; centre: what rounding leaves where it is."""
        nearest = rounded(values) if centre is None else rounded(values - centre) + centre
        noisy = nearest if self.noise is None else values + self.noise(values)
        rated = likelihood(noisy)
        self._likelihoods.setdefault(name, []).append(rated)
        if self.noise is None:
            self._quantized.setdefault(name, []).append(rated)
        elif self.quantized:
            with torch.no_grad():
                self._quantized.setdefault(name, []).append(likelihood(nearest))
        return nearest if name in self.straight_through else noisy

    @property
    def likelihoods(self) -> dict[str, Tensor]:
        """What was estimated by stream name, each [B, …] in [1e-9, 1]; see _joined for a stream of several parts."""
        return {name: _joined(parts) for name, parts in self._likelihoods.items()}

    @property
    def quantized_likelihoods(self) -> dict[str, Tensor]:
        """Those of the rounded values: the same ones without noise, nothing with noise where it was not asked for."""
        return {name: _joined(parts) for name, parts in self._quantized.items()}

    def factorized(
        self,
        name: str,
        z: Tensor | None,
        shape: tuple[int, ...],
        density: FactorizedDensity,
        present: Tensor | None = None,
    ) -> Tensor:
        assert z is not None and tuple(z.shape[1:]) == shape
        with torch.autocast(z.device.type, enabled=False):
            z = at_least_float32(z)

            def likelihood(values: Tensor) -> Tensor:
                rated = density.likelihood(values)
                return rated if present is None else torch.where(present, rated, 1.0)

            return self._estimate(name, z, _medians(density, shape).to(z), likelihood)

    def gaussian(self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior) -> Tensor:
        assert y is not None
        with torch.autocast(y.device.type, enabled=False):
            y, scales = at_least_float32(y), at_least_float32(scales)
            means = None if means is None else at_least_float32(means)

            def likelihood(values: Tensor) -> Tensor:
                return prior.likelihood(values, scales, means)

            return self._estimate(name, y, means, likelihood)


class _SymbolCoder:
    """What writing and reading share: which table codes which symbol, and values from symbols.

    tables: by the name of each factorized stream, and "gaussian" for all others; bounds: see scale_index.
    """

    def __init__(self, tables: dict[str, Tables], bounds: Tensor):
        self._tables = tables
        self._bounds = bounds
        self.symbols_crc = 0
        self.bits: dict[str, float] = {}

    @staticmethod
    def _channel_indices(shape: tuple[int, ...]) -> np.ndarray:
        """[C, ...]: the table of each symbol of a factorized stream, one a channel."""
        return np.broadcast_to(np.arange(shape[0], dtype=np.int32).reshape(-1, *[1] * (len(shape) - 1)), shape)

    def _scale_indices(self, scales: Tensor) -> np.ndarray:
        """[C, h, w]: the table of each symbol of these scales [1, C, h, w]."""
        if not torch.isfinite(scales).all():
            raise UserError("the codec's scales are not finite; expected finite weights; the bundle was trained badly")
        return scale_index(scales[0], self._bounds).cpu().numpy()

    @staticmethod
    def _strips(indices: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Where each strip of rows lies in indices [C, h, w], and its part of them, flat; of other shapes all is one strip."""
        if indices.ndim != 3:
            yield ..., indices.ravel()
            return
        for top in range(0, indices.shape[1], STRIP):
            place = np.s_[:, top : top + STRIP]
            yield place, indices[place].ravel()

    def _note(self, symbols: np.ndarray) -> None:
        self.symbols_crc = zlib.crc32(np.ascontiguousarray(symbols, dtype="<i4").tobytes(), self.symbols_crc)

    @staticmethod
    def _values(symbols: np.ndarray, shape: tuple[int, ...], centre: Tensor | None, like: Tensor) -> Tensor:
        values = torch.from_numpy(symbols.astype(np.float32)).to(like).reshape(shape)
        return values if centre is None else values + centre


class StreamWriter(_SymbolCoder):
    """Rounds the latents of one picture and appends their symbols to a range-coded payload."""

    def __init__(self, tables: dict[str, Tables], bounds: Tensor):
        super().__init__(tables, bounds)
        self._writer = SymbolWriter()

    def _write(self, name: str, values: Tensor, indices: np.ndarray, tables: Tables) -> np.ndarray:
        """The symbols of values [1, C, h, w], by the tables of indices [C, h, w]."""
        symbols = torch.round(values[0].double()).cpu().numpy()
        if not (np.abs(symbols) < 2**31).all():  # false for NaN too
            raise UserError(
                f"stream {name} holds a value that is not finite or beyond 32-bit integers; expected latents of a "
                "trained codec; check the picture and the codec"
            )
        symbols = symbols.astype(np.int32)
        for place, indices_there in self._strips(indices):
            part = symbols[place].ravel()
            self.bits[name] = self.bits.get(name, 0.0) + self._writer.write(part, indices_there, tables)
            self._note(part)
        return symbols

    def factorized(
        self,
        name: str,
        z: Tensor | None,
        shape: tuple[int, ...],
        density: FactorizedDensity,
        present: Tensor | None = None,
    ) -> Tensor:
        assert z is not None and z.size(0) == 1 and tuple(z.shape[1:]) == shape and present is None
        medians = _medians(density, shape).to(z)
        symbols = self._write(name, z - medians, self._channel_indices(shape), self._tables[name])
        return self._values(symbols, (1, *shape), medians, z)

    def gaussian(self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior) -> Tensor:
        assert y is not None and y.size(0) == 1
        indices = self._scale_indices(scales)
        symbols = self._write(name, y if means is None else y - means, indices, self._tables["gaussian"])
        return self._values(symbols, tuple(scales.shape), means, scales)

    def finish(self) -> bytes:
        """The payload."""
        return self._writer.finish()


class StreamReader(_SymbolCoder):
    """Takes the symbols of one picture back from its payload."""

    def __init__(self, payload: bytes, tables: dict[str, Tables], bounds: Tensor):
        super().__init__(tables, bounds)
        self._reader = SymbolReader(payload)

    def _read(self, indices: np.ndarray, tables: Tables) -> np.ndarray:
        """The next symbols, by the tables of indices [C, h, w] and in that shape."""
        symbols = np.empty(indices.shape, dtype=np.int32)
        for place, indices_there in self._strips(indices):
            part = self._reader.read(indices_there, tables)
            self._note(part)
            symbols[place] = part.reshape(symbols[place].shape)
        return symbols

    def factorized(
        self,
        name: str,
        z: Tensor | None,
        shape: tuple[int, ...],
        density: FactorizedDensity,
        present: Tensor | None = None,
    ) -> Tensor:
        assert z is None and present is None
        symbols = self._read(self._channel_indices(shape), self._tables[name])
        medians = _medians(density, shape)
        return self._values(symbols, (1, *shape), medians, medians)

    def gaussian(self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior) -> Tensor:
        assert y is None
        symbols = self._read(self._scale_indices(scales), self._tables["gaussian"])
        return self._values(symbols, tuple(scales.shape), means, scales)

    def finish(self) -> None:
        """Raises UserError where the payload holds more than was read."""
        self._reader.finish()
