"""Learned image codecs: `codec.load()` gives one that codes pictures; `codec train` and the other commands: codec --help.

Importing this costs nothing: what needs torch is imported when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from os import PathLike

    from torch import nn

    from codec.interface import PictureCodec


def load(bundle: str | PathLike[str] | None = None, device: str = "cpu", max_memory: int | str | None = None) -> PictureCodec:
    """The codec of a bundle, ready to code; None: the one that ships.

    bundle: a codec.safetensors that `codec train`, `codec import` or codec.save wrote. device: cpu, cuda, mps, or auto.
    max_memory: what the process may take with what it has now, in bytes or as "3G": larger pictures are coded in strips;
        if not given, most of what is free at the time.
    Raises codec.types.UserError, a ValueError, for what is no sound bundle and for a device that is not there.
    """
    from codec.interface import load_codec

    return load_codec(bundle, device, max_memory)


def save(model: nn.Module, path: str | PathLike[str], **facts: Any) -> None:
    """Write a network of one's own training as a bundle, which `load` and every command take.

    model: what `load(…).model` gave, or codec.models.build_model. facts: kept in the bundle's header, plain JSON values.
    Raises codec.types.UserError where weights are not finite, or too large for exact sums.
    """
    from codec.interface import save_codec

    save_codec(model, path, facts)
