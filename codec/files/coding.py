"""Pictures to files and back, with the codec of a bundle, on any device.

H W height and width of the picture, h w height and width of the latent, B pictures of one size, coded together.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from codec.entropy.coder import RateEstimator
from codec.entropy.payload import Payload, StreamReader, StreamWriter
from codec.files.container import MAX_PIXELS, Container, read_container, write_container
from codec.files.limits import check_pixels
from codec.files.loaded import Bundle
from codec.files.memory import memory_for_networks
from codec.layers.regions import Grid, check_grid
from codec.layers.strips import allowing
from codec.models.base import Latents, pad_to_multiple
from codec.types import UserError


@dataclass(frozen=True)
class Encoded:
    """A coded picture.

    file: the .lic file. payload_bytes: its range-coded part. bits_by_stream: ideal bits at the tables that coded it.
    symbols_crc: CRC-32 of all symbols. y: the model's analysis, before quantisation; size: (h, w) of the latent; grid: the
    regions, where the codec adapts to them; latents: what the decoder will have.
    """

    file: bytes
    payload_bytes: int
    bits_by_stream: dict[str, float]
    symbols_crc: int
    y: Tensor
    size: tuple[int, int]
    grid: Grid | None
    latents: Latents

    @property
    def table_bits(self) -> float:
        """The size of the payload that an ideal coder would reach with the same tables."""
        return sum(self.bits_by_stream.values())


def analyse(bundle: Bundle, images: Tensor) -> Tensor:
    """The model's analysis of pictures uint8 [B, 3, H, W], where its latent pass computes."""
    return bundle.analysis(pad_to_multiple(images.to(bundle.device), bundle.model.stride)).to(bundle.pass_device)


def chosen_grid(bundle: Bundle, grid: Grid | None) -> Grid | None:
    """The regions that coding with the codec uses: `grid`, or its own; None for a codec that adapts to none.

    Raises UserError for a grid that no file can name, or that the codec has no use for.
    """
    model = bundle.model
    if grid is not None and model.grid is None:
        raise UserError(f"a grid of {grid.rows}x{grid.cols} for {bundle.header['model']}, which has no regions; give none")
    grid = model.grid if grid is None else grid
    if grid is not None:
        check_grid(grid)
    return grid


@torch.inference_mode()
def begin_encoding(bundle: Bundle, images: Tensor, grid: Grid | None = None) -> Callable[[], list[Encoded]]:
    """All that needs networks of encoding pictures uint8 [B, 3, H, W] of any size from 1x1; what it gives codes the symbols.

    The latter needs the CPU alone: a thread may do it while the networks work on the next pictures. Encoding in a batch
    gives each picture the file that it has alone, but for what g_a's floats depend on.
    grid: the regions to which the codec adapts, if not its own; the file says which.
    Raises UserError for pictures that no file holds, where a latent is not finite or beyond 32-bit integers, and for a grid
    that the codec has no use for.
    """
    height, width = images.shape[-2:]
    check_pixels(bundle.model, height, width)  # before minutes of work, not after them
    memory = memory_for_networks(bundle, height, width, len(images))
    grid, size = chosen_grid(bundle, grid), bundle.model.latent_size(height, width)
    coder = StreamWriter(bundle.tables, bundle.scale_bounds)
    with allowing(memory):
        y = analyse(bundle, images)
        latents = bundle.model.code_latents(coder, y, size, grid)

    def encoded(number: int, payload: Payload) -> Encoded:
        content, crc, bits = payload
        file = write_container(bundle.fingerprint, height, width, content, crc, grid)
        return Encoded(file, len(content), bits, crc, y[number : number + 1], size, grid, latents.of(number))

    return lambda: [encoded(number, payload) for number, payload in enumerate(coder.finish())]


def encode(bundle: Bundle, image: Tensor, grid: Grid | None = None) -> Encoded:
    """The file of a picture, uint8 [3, H, W]; grid and errors as begin_encoding."""
    return begin_encoding(bundle, image[None], grid)()[0]


@torch.inference_mode()
def estimated_bits(bundle: Bundle, encoded: Encoded) -> float:
    """The bits of the picture by the continuous likelihood of its rounded latents: what training minimises."""
    coder = RateEstimator(noise=None)
    height, width = (side * bundle.model.latent_stride for side in encoded.size)
    with allowing(memory_for_networks(bundle, height, width)):
        bundle.model.code_latents(coder, encoded.y, encoded.size, encoded.grid)
    return float(sum(-torch.log2(p).double().sum() for p in coder.likelihoods.values()))


def _opened(bundle: Bundle, data: bytes) -> Container:
    """What a file of this very codec holds."""
    file = read_container(data)
    if file.fingerprint != bundle.fingerprint:
        raise UserError(
            f"the file was written by codec {file.fingerprint.hex()}, this one is {bundle.fingerprint.hex()}; expected "
            "the same; give the bundle that wrote it with --codec"
        )
    if (file.grid is None) != (bundle.model.grid is None):
        raise UserError("the file is damaged: its grid does not fit its codec; get the file again")
    return file


@torch.inference_mode()
def decode_batch(bundle: Bundle, files: Sequence[bytes], max_pixels: int = MAX_PIXELS) -> tuple[Latents, int, int]:
    """The latents of B pictures, [B, M, h, w], and their height and width, from .lic files that share size and grid.

    max_pixels: of a picture as the codec pads it.
    Raises UserError, in one line, where one of them is no intact file of this very codec, or too large for this machine.
    """
    opened = [_opened(bundle, data) for data in files]
    first = opened[0]
    assert all(file.shape == first.shape for file in opened)
    check_pixels(bundle.model, first.height, first.width, max_pixels)
    memory = memory_for_networks(bundle, first.height, first.width, len(files))
    coder = StreamReader([file.payload for file in opened], bundle.tables, bundle.scale_bounds)
    grid = None if first.grid is None else Grid(*first.grid)
    with allowing(memory):
        latents = bundle.model.read(coder, first.height, first.width, grid)
    coder.finish()
    if coder.symbols_crcs != [file.symbols_crc for file in opened]:
        raise UserError("the file is damaged: its symbols are not those that were written; get the file again")
    return latents, first.height, first.width


def decode_latents(bundle: Bundle, data: bytes) -> tuple[Latents, int, int]:
    """The latents, height and width from the content of one .lic file; errors as decode_batch."""
    return decode_batch(bundle, [data])


@torch.inference_mode()
def reconstruct_batch(bundle: Bundle, latents: Latents, height: int, width: int) -> Tensor:
    """The pictures, uint8 [B, 3, H, W] on the CPU, of quantised latents.

    Raises UserError for latents of which the synthesis makes none: a sound checksum is no promise that they are a picture's.
    """
    with allowing(memory_for_networks(bundle, height, width, len(latents.y_hat))):
        return bundle.pictures(latents)[..., :height, :width].cpu()


def reconstruct(bundle: Bundle, latents: Latents, height: int, width: int) -> Tensor:
    """The picture, uint8 [3, H, W], of the quantised latents of one."""
    return reconstruct_batch(bundle, latents, height, width)[0]


def decode(bundle: Bundle, data: bytes) -> Tensor:
    """The picture, uint8 [3, H, W], in the content of a .lic file; errors as decode_batch."""
    return reconstruct(bundle, *decode_latents(bundle, data))


def as_png(image: Tensor) -> bytes:
    """The content of a PNG file of a picture, uint8 [3, H, W]."""
    content = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(content, "PNG", compress_level=3)
    return content.getvalue()
