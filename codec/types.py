"""The words that every layer shares.

B batch, H W height and width of the picture, C latent channels, h w height and width of a latent.
"""

from __future__ import annotations

import math
import re
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor  # two seconds, which what answers a mistake at once does not have


class UserError(ValueError):
    """A mistake that a user can make and mend: one line with what was given, what was expected and what to do."""

    @staticmethod
    def behind(error: BaseException) -> UserError | None:
        """The user's mistake in the chain of causes of `error`, where there is one: Hydra wraps what it instantiates."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        return cause


def printable(text: str) -> str:
    """The text with control characters and undecodable bytes written out: a file's name cannot steer a terminal."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


class UnavailableError(UserError):
    """Something to download or to install cannot be had: a training ends there, a measurement leaves out what needs it."""


MADE_BY = ("Software", "codec")  # a text in each PNG that is drawn here, by which a folder of pictures knows it for none


def as_float(value: object) -> float:
    """A number as a float, infinite where it is too large for one; NaN for anything else."""
    if not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return -math.inf if isinstance(value, int) and value < 0 else math.inf


def shown(value: object, length: int = 60) -> str:
    """A value out of a file as a part of one line, cut at `length` characters: nothing in it moves a terminal's cursor."""
    number = as_float(value)
    text = repr(number if math.isinf(number) else value)  # an integer of thousands of digits has no other text
    return text if len(text) <= length else f"{text[:length]}…"


UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def read_size(text: str | int, of: str = "an amount of memory", such_as: str = "3G or 800M") -> int:
    """The bytes that a text such as 3G names, by powers of 1024, or a whole number.

    of, such_as: for messages, what has that size, and examples. Raises UserError for any other text, and for zero.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([KMGT]?)(?:i?B)?", str(text).strip(), re.IGNORECASE | re.ASCII)
    number, unit = (found[1], found[2].upper()) if found else ("0", "")
    size = float(number) * UNITS[unit]
    if size < 1 or (not unit and "." in number):
        raise UserError(f"{str(text)[:20]!r} for {of}; expected a number and a unit, such as {such_as}; give one")
    return int(size)


class Batch(NamedTuple):
    """Pictures of one step.

    image: float32 [B, 3, H, W] in [0, 1] (uint8 between the loader and the device).
    regions: int64 [B, H, W], ids 0..K-1 in each picture, or None (a smaller integer between the loader and the device).
    name: the file or generator index of each picture, or None.
    again: in a validation over several ranks, whether these pictures are shown once more, so that all ranks have equally many
        batches; they count for nothing.
    """

    image: Tensor
    regions: Tensor | None = None
    name: list[str] | None = None
    again: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # From a worker to the training by value: by torch's own way, through shared memory, both wait for ever where that is
        # full, as in a container whose /dev/shm has 64 MB.
        arrays = [None if tensor is None else tensor.numpy() for tensor in (self.image, self.regions)]
        return _batch_of, (*arrays, self.name, self.again)


def _batch_of(image: Any, regions: Any, name: list[str] | None, again: bool) -> Batch:
    from torch import from_numpy

    return Batch(from_numpy(image), None if regions is None else from_numpy(regions), name, again)


class CodecOutput(NamedTuple):
    """What a codec's forward pass returns.

    x_hat: float32 [B, 3, H, W], unclamped.
    likelihoods: by stream name, each [B, C, h, w] ([B, n] where its parts have other shapes) in (0, 1]: the rate of the
        stream is -log2 of it, summed.
    quantized_likelihoods: those of the rounded latents, without gradient in training; empty where not asked for.
    y_hat: [B, M, h, w], the latent that x_hat is made of, or None.
    levels: int64 [B], at which the pictures were coded, of a codec that has several rates.
    """

    x_hat: Tensor
    likelihoods: dict[str, Tensor]
    quantized_likelihoods: dict[str, Tensor] = {}
    y_hat: Tensor | None = None
    levels: Tensor | None = None
