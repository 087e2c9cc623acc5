"""What `import codec` gives to a program: a codec that takes pictures as programs have them.

H W height and width of the picture, h w height and width of the latent, M latent channels.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from codec.entropy.coder import RateEstimator, Recorder
from codec.files.bundle import SHIPPED, float_model, load_bundle, save_bundle
from codec.files.coding import analyse, chosen_grid, chosen_level, decode, reconstruct
from codec.files.container import read_container
from codec.files.devices import chosen_device, on_device
from codec.files.level_map import OFFSET, level_offsets, told_offsets
from codec.files.loaded import Bundle
from codec.files.memory import allowed_memory, holding, memory_for_networks
from codec.files.quality import Wanted, encode_wanted
from codec.layers.regions import Grid
from codec.layers.strips import allowing
from codec.models import Codec
from codec.types import UserError, printable, read_size, shown
from data.images import as_tensor, eight_bit_rgb
from data.quality_maps import painted_map, without_ones

Picture = Image.Image | np.ndarray | Tensor
EXPECTED = "expected a PIL image, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W]"
EXPECTED_MAP = "expected bool or uint8 [H, W], or a grey picture"


@dataclass(frozen=True)
class Analysis:
    """What a codec makes of one picture; all tensors float32 on the CPU but for the reconstruction.

    y: [M, h, w], the latent before it is rounded (SegPIC: what its first transform gives, [N, H/4, W/4]). values: what the
    decoder has of each stream, y_hat as values["y"]. scales, means: of the streams that are coded by Gaussians; means are
    missing where they are zero. bits: of each stream at each position, summed over channels, [h, w] at the stream's own
    resolution: -log2 of the likelihood. reconstruction: uint8 [3, H, W].
    """

    y: Tensor
    values: dict[str, Tensor]
    scales: dict[str, Tensor]
    means: dict[str, Tensor]
    bits: dict[str, Tensor]
    reconstruction: Tensor


class PictureCodec:
    """A codec that codes: of a bundle, on a device. Made by codec.load.

    bundle: what the bundle holds, its header among it.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle

    def __repr__(self) -> str:
        header = self.bundle.header
        return f"<codec {header['model']} {header['arguments']}, bundle {self.bundle.fingerprint.hex()}, {self.bundle.device}>"

    def compress(
        self,
        picture: Picture,
        grid: tuple[int, int] | None = None,
        *,
        quality: float | None = None,
        bpp: float | None = None,
        max_bytes: int | None = None,
        psnr: float | None = None,
        roi: Picture | None = None,
        roi_offset: float | None = None,
    ) -> bytes:
        """The content of the picture's .lic file.

        picture: a PIL image (turned as its EXIF says, in sRGB by its profile, alpha over white), uint8 [H, W, 3] or uint8
            tensor [3, H, W].
        grid: rows and columns of the regions of a codec that adapts to them, if not its own.
        Of a codec with several rates, one of these, if not its middle rate: quality, from 0 to 100; bpp or max_bytes, which the
            whole file has at most; psnr in dB, which the decoded picture has at least.
        roi: also of such a codec, where in the picture it shall be better: bool or uint8 [H, W], or a PIL image that is grey,
            of any mode (turned as its EXIF says). White, which is 255, or True gets roi_offset more of quality (25 where none
            is given), black nothing; numbers that are 0 and 1 alone are refused. A small map of it is in the file; where it
            changes nothing, a warning says why.
        Raises UserError for what is no such picture, or too large, and for what no rate of the codec meets.
        """
        if roi is None and roi_offset is not None:
            raise UserError(f"roi_offset={shown(roi_offset)} without roi; expected a map to use it with; give roi, too")
        image, wanted = as_image(picture), Wanted(quality, bpp, max_bytes, psnr)
        size = image.size(1), image.size(2)
        more = OFFSET if roi_offset is None else roi_offset
        offsets = None if roi is None else level_offsets(self.bundle, as_quality_map(roi), more, size)
        file = encode_wanted(self.bundle, image, _as_grid(grid), wanted, offsets).file
        if offsets is not None and read_container(file).level_map is None:
            warnings.warn(told_offsets(offsets), stacklevel=2)
        return file

    def decompress(self, data: bytes) -> Image.Image:
        """The picture in the content of a .lic file.

        Raises UserError for anything but an intact file of this very codec.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise UserError(f"{type(data).__name__} to decompress; expected bytes, the content of a .lic file; read it first")
        return Image.fromarray(decode(self.bundle, bytes(data)).permute(1, 2, 0).contiguous().numpy())

    @torch.inference_mode()
    def analyse(self, picture: Picture, grid: tuple[int, int] | None = None, level: int | None = None) -> Analysis:
        """Latents, what predicts them, their bits and the reconstruction; picture, grid and errors as of compress.

        level: of a codec that has several, if not the middle one.
        """
        image = as_image(picture)
        height, width = image.shape[1:]
        adapted_to = chosen_grid(self.bundle, _as_grid(grid))
        level = None if level is None else _whole(level, "level")
        size, estimator = self.bundle.model.latent_size(height, width), RateEstimator(noise=None)
        recorder = Recorder(self.bundle.model.at_levels(estimator, chosen_level(self.bundle, level)))
        with allowing(memory_for_networks(self.bundle, height, width)):
            y = analyse(self.bundle, image[None])
            latents = self.bundle.model.code_latents(recorder, y, size, adapted_to)
        with holding(y):
            x_hat = reconstruct(self.bundle, latents, height, width)
        values, scales, means = (
            {name: tensor[0].cpu() for name, tensor in of_kind.items()}
            for of_kind in (recorder.values, recorder.scales, recorder.means)
        )
        bits = {name: -torch.log2(p[0].double()).sum(0).float().cpu() for name, p in estimator.likelihoods.items()}
        return Analysis(y[0].cpu(), values, scales, means, bits, x_hat)

    @cached_property
    def model(self) -> Codec:
        """A network with the bundle's weights, float32, with gradients, for a training loop of one's own; coding keeps its own.

        model(x, noise) of x [B, 3, H, W] in [0, 1] gives a codec.types.CodecOutput; where the codec has several rates, it is
        model(x, noise, levels=…), int64 [B] from 0 up to one less than its rates. codec.save makes a bundle of it again.
        """
        return float_model(self.bundle).to(self.bundle.device)


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UserError(f"{shown(value)} for {name}; expected a whole number; give one")
    return int(value)


def _as_grid(grid: Any) -> Grid | None:
    if grid is None:
        return None
    try:
        rows, cols = grid
    except (TypeError, ValueError):
        raise UserError(f"{shown(grid)} for grid; expected rows and columns, such as (4, 4); give both") from None
    return Grid(_whole(rows, "rows of grid"), _whole(cols, "columns of grid"))


def _pixels_of(image: Image.Image, name: str, read: Callable[[Image.Image], Tensor]) -> Tensor:
    """What `read` makes of an opened picture, whose file may be cut or closed by now; name: for messages."""
    try:
        return read(image)
    except UserError as error:
        raise UserError(f"{name} {error}") from None
    except (OSError, SyntaxError, ValueError, AssertionError) as error:  # Pillow's, of a file that is broken or closed
        reason = printable(str(error)) or "its file is closed"
        raise UserError(f"{name} cannot be read: {reason}; expected a whole one, and open; open it again") from None


def _check_dense(tensor: Tensor, name: str) -> None:
    """Raise UserError for a tensor of another layout, or without values."""
    if tensor.layout != torch.strided or tensor.is_meta:
        kind = "without values" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")
        raise UserError(f"a tensor {kind} for {name}; expected a dense one with values; convert it")


def as_image(picture: Picture) -> Tensor:
    """The picture as uint8 [3, H, W]; UserError for what is none."""
    if isinstance(picture, Image.Image):
        pixels = _pixels_of(picture, "the picture", lambda image: as_tensor(eight_bit_rgb(image)))
    elif isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise UserError(f"an array {picture.dtype} {list(picture.shape)} for a picture; {EXPECTED}; convert it")
        # torch warns of arrays that nobody may write to, as Pillow's are.
        pixels = torch.from_numpy(np.require(picture, requirements=["C", "W"])).permute(2, 0, 1)
    elif isinstance(picture, Tensor):
        _check_dense(picture, "a picture")
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.size(0) != 3:
            dtype = str(picture.dtype).removeprefix("torch.")
            raise UserError(f"a tensor {dtype} {list(picture.shape)} for a picture; {EXPECTED}; convert it")
        pixels = picture
    else:
        text = ", such as Image.open(path)" if isinstance(picture, (str, os.PathLike)) else ""
        raise UserError(f"{type(picture).__name__} for a picture; {EXPECTED}{text}; convert it")
    if not pixels.numel():
        raise UserError(f"a picture of {pixels.size(2)}x{pixels.size(1)}; expected at least one pixel")
    return pixels.contiguous()


def as_quality_map(roi: Picture) -> Tensor:
    """The map as uint8 [H, W]; UserError for what is none."""
    if isinstance(roi, Image.Image):
        return _pixels_of(roi, "the map", painted_map)
    if isinstance(roi, Tensor):
        _check_dense(roi, "roi")
    try:
        found = np.asarray(roi.detach().cpu() if isinstance(roi, Tensor) else roi)
    except (TypeError, ValueError):  # of numbers that NumPy does not have, or lists of several lengths
        kind = str(roi.dtype).removeprefix("torch.") if isinstance(roi, Tensor) else "no array"
        raise UserError(f"{type(roi).__name__}, {kind}, for roi; {EXPECTED_MAP}; convert it") from None
    if found.dtype == np.uint8 and found.ndim == 2:
        try:
            return without_ones(torch.from_numpy(found.copy()))
        except UserError as error:
            raise UserError(f"the map {error}") from None
    if found.dtype != np.bool_ or found.ndim != 2:
        raise UserError(f"{type(roi).__name__}, {found.dtype} {list(found.shape)}, for roi; {EXPECTED_MAP}; convert it")
    return torch.from_numpy(found.astype(np.uint8) * 255)


def load_codec(bundle: str | os.PathLike[str] | None, device: str, max_memory: int | str | None) -> PictureCodec:
    """See codec.load."""
    loaded = on_device(load_bundle(SHIPPED if bundle is None else Path(bundle)), chosen_device(device))
    if max_memory is None:
        return PictureCodec(loaded)
    return PictureCodec(replace(loaded, memory=allowed_memory(read_size(max_memory), loaded.device)))


def save_codec(model: nn.Module, path: str | os.PathLike[str], facts: dict[str, Any]) -> None:
    """See codec.save."""
    if not isinstance(model, Codec):
        raise UserError(f"{type(model).__name__} to save; expected a network of codec.models, such as codec.load().model")
    target = Path(path)
    if target.is_dir():
        raise UserError(
            f"{shown(str(path))} is a folder; expected the path of a file to save to; give one, such as codec.safetensors"
        )
    save_bundle(target, model, facts, half=False)
