"""Weights that others publish: downloaded once to where torch.hub keeps its files, or taken from a path."""

import os
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from codec.download import download
from codec.saved_tensors import read_state_dict
from codec.types import UnavailableError

MOST_BYTES = 1 << 30  # of a file; VGG16's has 553 MB
HASH = re.compile(r"-([0-9a-f]{8,64})\.")  # in the names of files that PyTorch publishes: the first digits of their SHA-256


def hub_path(url: str) -> Path:
    """Where the file of that address lies once it is downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(url)


def published_weights(url: str, purpose: str, remedy: str) -> dict[str, Tensor]:
    """The state dict at an address whose name ends in its hash, from the disk where it has been downloaded before.

    purpose: what needs it. remedy: what to do where there is no network, beside putting the file in its place.
    Raises UnavailableError, with file, address and place.
    """
    path, named = hub_path(url), HASH.search(os.path.basename(url))
    assert named is not None, url
    if not path.exists():
        print(f"downloading {url} to {path.parent}", file=sys.stderr)
        try:
            download(url, path, named[1], MOST_BYTES, f"put it into {path.parent}, or {remedy}")
        except UnavailableError as error:
            raise UnavailableError(f"{purpose} needs {path.name}: {error}") from None
    return read_state_dict(path, f"the file of {url} for {purpose}")


def weights_at(path: Path, purpose: str, remedy: str) -> dict[str, Tensor]:
    """The state dict in a file.

    Raises UserError for a file that is missing or something else.
    """
    return read_state_dict(path, f"a file with a state dict for {purpose} ({remedy})")
