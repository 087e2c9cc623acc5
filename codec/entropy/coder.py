"""A model's pass over its latents, and the first of three ways over them: estimating their rate.

A model writes its pass once, against LatentCoder; because the same lines estimate, write and read (codec/entropy/payload.py),
encoder and decoder cannot disagree.

B batch, C latent channels, h w height and width of the latent. A model may hand over latents, or parts of them, of any other
shape, as long as B comes first, and in a factorized stream C second.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from codec.entropy.density import Density
from codec.entropy.gaussian import GaussianPrior
from codec.entropy.noise import Noise
from codec.layers.mixed_precision import at_least_float32


class LatentCoder(Protocol):
    """What a model's pass over its latents talks to. A stream may be coded in parts, one call each."""

    def factorized(
        self, name: str, z: Tensor | None, shape: tuple[int, ...], density: Density, present: Tensor | None = None
    ) -> Tensor:
        """z_hat [B, *shape] of stream `name`; shape is (C, h, w) or any other that begins with C; z is None when reading.

        density: what z is coded by. present: bool [B, 1, h, w], which columns exist (None: all). Those that do not cost
        nothing, and only an estimate knows any.
        """
        ...

    def gaussian(
        self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior, first_channel: int = 0
    ) -> Tensor:
        """y_hat of stream `name`, in the shape of its scales and means (None: zero), [B, C, h, w] or any other.

        y is None when reading. prior: what it is coded by. first_channel: of a stream that is coded in parts, which of its
        channels this part begins with.
        """
        ...


def rounded(x: Tensor) -> Tensor:
    """x rounded to integers, with the gradient of the identity."""
    return torch.round(x).detach() + (x - x.detach())


def medians_beside(density: Density, shape: Sequence[int]) -> Tensor:
    """[C, 1, …]: what rounding leaves where it is, beside latents [B, *shape] with shape (C, …)."""
    return density.medians().view(-1, *[1] * (len(shape) - 1))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts [B, …] of one stream as one tensor: side by side as channels where they fit so, else as rows [B, n]."""
    if len({(*part.shape[:1], *part.shape[2:]) for part in parts}) > 1:
        parts = [part.flatten(1) for part in parts]
    return torch.cat(tuple(parts), dim=1) if len(parts) > 1 else parts[0]


def _all_joined(streams: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    return {name: _joined(parts) for name, parts in streams.items()}


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
        return _all_joined(self._likelihoods)

    @property
    def quantized_likelihoods(self) -> dict[str, Tensor]:
        """Those of the rounded values: the same ones without noise, nothing with noise where it was not asked for."""
        return _all_joined(self._quantized)

    def factorized(
        self, name: str, z: Tensor | None, shape: tuple[int, ...], density: Density, present: Tensor | None = None
    ) -> Tensor:
        assert z is not None and tuple(z.shape[1:]) == shape
        with torch.autocast(z.device.type, enabled=False):
            z = at_least_float32(z)

            def likelihood(values: Tensor) -> Tensor:
                rated = density.likelihood(values)
                return rated if present is None else torch.where(present, rated, 1.0)

            return self._estimate(name, z, medians_beside(density, shape).to(z), likelihood)

    def gaussian(
        self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior, first_channel: int = 0
    ) -> Tensor:
        assert y is not None
        with torch.autocast(y.device.type, enabled=False):
            y, scales = at_least_float32(y), at_least_float32(scales)
            means = None if means is None else at_least_float32(means)

            def likelihood(values: Tensor) -> Tensor:
                return prior.likelihood(values, scales, means)

            return self._estimate(name, y, means, likelihood)


class Recorder:
    """Passes latents on to another LatentCoder, and keeps what passes."""

    def __init__(self, coder: LatentCoder) -> None:
        self._coder = coder
        self._values: dict[str, list[Tensor]] = {}
        self._scales: dict[str, list[Tensor]] = {}
        self._means: dict[str, list[Tensor]] = {}

    def factorized(
        self, name: str, z: Tensor | None, shape: tuple[int, ...], density: Density, present: Tensor | None = None
    ) -> Tensor:
        values = self._coder.factorized(name, z, shape, density, present)
        self._values.setdefault(name, []).append(values)
        return values

    def gaussian(
        self, name: str, y: Tensor | None, scales: Tensor, means: Tensor | None, prior: GaussianPrior, first_channel: int = 0
    ) -> Tensor:
        values = self._coder.gaussian(name, y, scales, means, prior, first_channel)
        self._values.setdefault(name, []).append(values)
        self._scales.setdefault(name, []).append(scales)
        if means is not None:
            self._means.setdefault(name, []).append(means)
        return values

    @property
    def values(self) -> dict[str, Tensor]:
        """What the decoder has by stream name, [B, C, h, w]; see _joined for a stream of several parts."""
        return _all_joined(self._values)

    @property
    def scales(self) -> dict[str, Tensor]:
        """Those of each stream that has any, in the shape of its values."""
        return _all_joined(self._scales)

    @property
    def means(self) -> dict[str, Tensor]:
        """Those of each stream whose means are not zero, in the shape of its values."""
        return _all_joined(self._means)
