"""Pictures to files and back, with the codec of a bundle, on any device.

H W height and width of the picture, h w height and width of the latent, B pictures of one size, coded together.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from codec.entropy.coder import RateEstimator
from codec.entropy.payload import Payload, StreamCost, StreamReader, StreamWriter
from codec.files.container import MAX_PIXELS, Container, read_container, write_container
from codec.files.level_map import packed, unpacked
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

    file: the .lic file. payload_bytes: its range-coded part. streams: what each took at the tables that coded it.
    symbols_crc: CRC-32 of all symbols. y: the model's analysis, before quantisation; size: (h, w) of the latent; grid: the
    regions, where the codec adapts to them; levels: where it has several, of all or of each place, int64 [h, w]; latents: what
    the decoder will have.
    """

    file: bytes
    payload_bytes: int
    streams: dict[str, StreamCost]
    symbols_crc: int
    y: Tensor
    size: tuple[int, int]
    grid: Grid | None
    levels: int | Tensor | None
    latents: Latents

    @property
    def bits_by_stream(self) -> dict[str, float]:
        """The ideal bits of each stream."""
        return {name: stream.bits for name, stream in self.streams.items()}

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


def chosen_level(bundle: Bundle, level: int | None) -> int | None:
    """The level at which coding with the codec happens: `level`, or the middle one; None for a codec of one rate.

    Raises UserError for a level that the codec does not have.
    """
    count = 1 if bundle.model.levels is None else bundle.model.levels.count
    if level is not None and (count == 1 or not 0 <= level < count):
        has = "one rate; give no level" if count == 1 else f"levels 0 to {count - 1}; give one of them"
        raise UserError(f"level {level} of a codec that has {has}")
    return bundle.model.middle_level if level is None else level


class Analysed(NamedTuple):
    """Pictures of one size, height x width, after the analysis, which is the same whatever follows.

    y: of analyse. grid: the regions, of a codec that adapts to them. offsets: how many levels more than the file each place
    has, int64 [h, w] (codec.files.level_map); None: none.
    """

    y: Tensor
    height: int
    width: int
    grid: Grid | None
    offsets: Tensor | None = None

    def of(self, number: int) -> "Analysed":
        """One picture of them."""
        return self._replace(y=self.y[number : number + 1])


@torch.inference_mode()
def analysed(bundle: Bundle, images: Tensor, grid: Grid | None = None, offsets: Tensor | None = None) -> Analysed:
    """The analysis of pictures uint8 [B, 3, H, W]; grid, offsets and errors as begin_encoding."""
    height, width = images.shape[-2:]
    check_pixels(bundle.model, height, width)  # before minutes of work, not after them
    grid = chosen_grid(bundle, grid)
    with allowing(memory_for_networks(bundle, height, width, len(images))):
        return Analysed(analyse(bundle, images), height, width, grid, offsets)


@torch.inference_mode()
def begin_coding(bundle: Bundle, pictures: Analysed, level: int | None = None) -> Callable[[], list[Encoded]]:
    """What is left of begin_encoding after the analysis."""
    y, height, width, grid, offsets = pictures
    size = bundle.model.latent_size(height, width)
    level, levels, level_map = _with_offsets(bundle, chosen_level(bundle, level), offsets)
    coder = StreamWriter(bundle.tables, bundle.scale_bounds)
    with allowing(memory_for_networks(bundle, height, width, len(y))):
        latents = bundle.model.code_latents(bundle.model.at_levels(coder, levels), y, size, grid)

    def encoded(number: int, payload: Payload) -> Encoded:
        content, crc, streams = payload
        file = write_container(bundle.fingerprint, height, width, content, crc, grid, level or 0, level_map)
        return Encoded(file, len(content), streams, crc, y[number : number + 1], size, grid, levels, latents.of(number))

    return lambda: [encoded(number, payload) for number, payload in enumerate(coder.finish())]


def _with_offsets(
    bundle: Bundle, level: int | None, offsets: Tensor | None
) -> tuple[int | None, int | Tensor | None, bytes | None]:
    """The level that the file says, those at which all is coded, and the map between them, where they differ."""
    if offsets is None:
        return level, level, None
    assert bundle.model.levels is not None and level is not None
    levels = (level + offsets).clamp(max=bundle.model.levels.count - 1)
    lowest, highest = int(levels.min()), int(levels.max())
    return (lowest, lowest, None) if lowest == highest else (lowest, levels, packed(levels - lowest))


def begin_encoding(
    bundle: Bundle, images: Tensor, grid: Grid | None = None, level: int | None = None, offsets: Tensor | None = None
) -> Callable[[], list[Encoded]]:
    """All that needs networks of encoding pictures of any size from 1x1; what it gives codes the symbols.

    The latter needs the CPU alone: a thread may do it while the networks work on the next pictures. Encoding in a batch
    gives each picture the file that it has alone, but for what g_a's floats depend on.
    bundle: the codec. images: uint8 [B, 3, H, W]. grid: the regions to which the codec adapts, if not its own. level: of one
    that has several, if not the middle one; the file says which. offsets: how many levels more each place has, int64 [h, w]:
    see codec.files.level_map.
    Raises UserError for pictures that no file holds, where a latent is not finite or beyond 32-bit integers, and for a grid or
    a level that the codec has no use for.
    """
    chosen_level(bundle, level)
    return begin_coding(bundle, analysed(bundle, images, grid, offsets), level)


def encode(
    bundle: Bundle, image: Tensor, grid: Grid | None = None, level: int | None = None, offsets: Tensor | None = None
) -> Encoded:
    """The file of a picture, image: uint8 [3, H, W]; bundle, grid, level, offsets and errors as begin_encoding."""
    return begin_encoding(bundle, image[None], grid, level, offsets)()[0]


@torch.inference_mode()
def estimated_bits(bundle: Bundle, encoded: Encoded) -> float:
    """The bits of the picture by the continuous likelihood of its rounded latents: what training minimises."""
    coder = RateEstimator(noise=None)
    height, width = (side * bundle.model.latent_stride for side in encoded.size)
    with allowing(memory_for_networks(bundle, height, width)):
        at_levels = bundle.model.at_levels(coder, encoded.levels)
        bundle.model.code_latents(at_levels, encoded.y, encoded.size, encoded.grid)
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
    levels = 1 if bundle.model.levels is None else bundle.model.levels.count
    if file.level >= levels:
        raise UserError(f"the file is damaged: it has level {file.level}, its codec {levels} from 0; get the file again")
    if file.level_map is not None and levels == 1:
        raise UserError("the file is damaged: it has a map of levels, its codec one rate; get the file again")
    return file


def levels_of(bundle: Bundle, file: Container) -> int | Tensor | None:
    """The level of a file of the codec, or that of each place, int64 [h, w]; None where it has one rate.

    Raises UserError for a map that is none.
    """
    levels = bundle.model.levels
    if levels is None or file.level_map is None:
        return None if levels is None else file.level
    size = bundle.model.latent_size(file.height, file.width)
    return file.level + unpacked(file.level_map, size, levels.count - 1 - file.level)


@torch.inference_mode()
def decode_batch(bundle: Bundle, files: Sequence[bytes], max_pixels: int = MAX_PIXELS) -> tuple[Latents, int, int]:
    """The latents of B pictures, [B, M, h, w], and their height and width, from .lic files that share size, grid and levels.

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
    levels = levels_of(bundle, first)
    with allowing(memory):
        latents = bundle.model.read(coder, first.height, first.width, grid, levels)
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
