"""Weights that others publish: downloaded once to where torch.hub keeps its files, or taken from a path."""

import os
from pathlib import Path
from pickle import UnpicklingError
from urllib.error import URLError

import torch
from torch import Tensor

from codec.types import UnavailableError, UserError


def hub_path(url: str) -> Path:
    """Where the file of that address lies once it is downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)


def published_weights(url: str, purpose: str, remedy: str, check_hash: bool) -> dict[str, Tensor]:
    """The state dict at an address, from the disk where it has been downloaded before.

    purpose: what needs it. remedy: what to do where there is no network, beside putting the file in its place.
    Raises UnavailableError, with file, address and place.
    """
    path = hub_path(url)
    try:
        return torch.hub.load_state_dict_from_url(
            url, str(path.parent), progress=False, check_hash=check_hash, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise UnavailableError(
            f"{purpose} needs {path.name}, which is not at {path.parent} and cannot be had from {url} "
            f"({' '.join(str(error).split())}); expected a network or the file; put it there, or {remedy}"
        ) from None


def weights_at(path: Path, purpose: str, remedy: str) -> dict[str, Tensor]:
    """The state dict in a file.

    Raises UserError for a file that is missing or something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise UserError(
            f"no weights for {purpose} at {path} ({type(error).__name__}); expected a file with a state dict; {remedy}"
        ) from None
