"""A bundle that is loaded: the networks between pictures and latents, and what coding with them takes.

B pictures of one size, H W height and width of them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from codec.entropy.tables import Tables
from codec.files.memory import Memory, Needs, needs_of
from codec.layers.strips import Strips
from codec.models import Codec
from codec.models.base import Latents
from codec.types import UserError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Bundle:
    """A codec that codes: the model in evaluation mode, its tables, and what the bundle says of itself.

    fingerprint: eight bytes that every file names which this codec wrote.
    scale_bounds: by which a predicted scale finds its table; see codec.entropy.tables.scale_bounds.
    device: where analysis and synthesis compute; pass_device: where the latent pass does.
    memory: what coding may take, if not what is free at the time.
    """

    model: Codec
    tables: dict[str, Tables]
    scale_bounds: Tensor
    fingerprint: bytes
    header: dict[str, Any]
    device: torch.device = CPU
    pass_device: torch.device = CPU
    memory: Memory | None = None

    @cached_property
    def needs(self) -> Needs:
        """What coding takes; told by coding a small picture, once."""
        return needs_of(self)

    @cached_property
    def analysis(self) -> Strips:
        """The model's analysis of pictures [B, 3, H, W] in 0 to 255, whose sides are multiples of its stride."""

        def analysis(images: Tensor) -> Tensor:
            return self.model.analysis((images.float() / 255).contiguous(memory_format=torch.channels_last))

        return Strips(analysis, self.model.stride)

    @cached_property
    def _synthesis(self) -> Strips:
        def synthesis(y_hat: Tensor) -> Tensor:
            return self.model.synthesis(Latents(y_hat))

        return Strips(synthesis, self.model.stride // self.model.latent_stride, _eight_bits)

    def pictures(self, latents: Latents) -> Tensor:
        """The pictures uint8 [B, 3, H, W] of latents, padding included.

        Raises UserError for latents of which the synthesis makes none.
        """
        latents = latents.to(self.device)
        if latents.prototypes is None:
            return self._synthesis(latents.y_hat)
        return _eight_bits(self.model.synthesis(latents))


def _eight_bits(x_hat: Tensor) -> Tensor:
    """x_hat in [0, 1] as uint8, laid out as picture files have it. Raises UserError for what is no number."""
    if not torch.isfinite(x_hat).all():
        raise UserError("the file's latents give values beyond floating point; expected those of a picture; get the file again")
    return x_hat.clamp(0, 1).mul_(255).round_().to(torch.uint8, memory_format=torch.channels_last)
