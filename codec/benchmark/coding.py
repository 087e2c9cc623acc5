"""A picture coded here and by CompressAI, both at one network's weights."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.benchmark.sides import Settings, Sides, Steps, build_sides
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, encode
from codec.files.loaded import Bundle
from data.sources import Leaves


def picture_of(settings: Settings) -> Tensor:
    """Dead leaves, uint8 [3, H, W]."""
    height, width = settings.size
    return Leaves(1, max(height, width), 1).load(0)[:, :height, :width]


def bundle_of(sides: Sides) -> Bundle:
    """Our side as a codec that codes, with CompressAI's choice of tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "codec.safetensors"
        save_bundle(path, sides.ours, {}, half=False, scale_rule="upper", solve=False)
        return load_bundle(path)


def coding_steps(bundle: Bundle, picture: Tensor) -> Steps:
    """Encoding the picture, and decoding its file."""
    file = encode(bundle, picture).file
    return lambda: encode(bundle, picture), lambda: decode(bundle, file)


def _their_steps(sides: Sides, picture: Tensor) -> Steps:
    model: Any = sides.theirs.eval()
    model.update(force=True)
    x = picture[None].float() / 255

    def without_gradient(step: Callable[[], Any]) -> Callable[[], Any]:
        return torch.inference_mode()(step)

    compress = without_gradient(lambda: model.compress(x))
    coded = compress()
    return compress, without_gradient(lambda: model.decompress(coded["strings"], coded["shape"]))


def encoding_steps(settings: Settings) -> Steps:
    """Ours and CompressAI's; of a picture to its file, and to its strings."""
    sides, picture = build_sides(settings), picture_of(settings)
    return coding_steps(bundle_of(sides), picture)[0], _their_steps(sides, picture)[0]


def decoding_steps(settings: Settings) -> Steps:
    """Ours and CompressAI's; back to the picture."""
    sides, picture = build_sides(settings), picture_of(settings)
    return coding_steps(bundle_of(sides), picture)[1], _their_steps(sides, picture)[1]
