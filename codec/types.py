"""The words that every layer shares.

B batch, H W height and width of the picture, C latent channels, h w height and width of a latent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


class UnavailableError(UserError):
    """Something to download or to install cannot be had: a training ends there, a measurement leaves out what needs it."""


class Batch(NamedTuple):
    """Pictures of one step.

    image: float32 [B, 3, H, W] in [0, 1] (uint8 between the loader and the device).
    regions: int64 [B, H, W], ids 0..K-1 in each picture, or None (a smaller integer between the loader and the device).
    name: the file or generator index of each picture, or None.
    """

    image: Tensor
    regions: Tensor | None = None
    name: list[str] | None = None


class CodecOutput(NamedTuple):
    """What a codec's forward pass returns.

    x_hat: float32 [B, 3, H, W], unclamped.
    likelihoods: by stream name, each [B, C, h, w] ([B, n] where its parts have other shapes) in (0, 1]: the rate of the
        stream is -log2 of it, summed.
    quantized_likelihoods: those of the rounded latents, without gradient in training; empty where not asked for.
    y_hat: [B, M, h, w], the latent that x_hat is made of, or None.
    """

    x_hat: Tensor
    likelihoods: dict[str, Tensor]
    quantized_likelihoods: dict[str, Tensor] = {}
    y_hat: Tensor | None = None
