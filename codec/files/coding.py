"""One picture to one file and back, with the codec of a bundle. On the CPU, in float32.

H W height and width of the picture, h w height and width of the latent.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from codec.entropy.coder import RateEstimator, StreamReader, StreamWriter
from codec.files.bundle import Bundle
from codec.files.container import check_size, read_container, write_container
from codec.layers.regions import Grid, check_grid
from codec.models.base import Latents
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


def _to_float(image: Tensor) -> Tensor:
    return (image[None].float() / 255).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def encode(bundle: Bundle, image: Tensor, grid: Grid | None = None) -> Encoded:
    """The file of a picture, uint8 [3, H, W] of any size from 1x1.

    grid: the regions to which the codec adapts, if not its own; the file says which.
    Raises UserError for a picture that no file holds, where a latent is not finite or beyond 32-bit integers, and for a grid
    that the codec has no use for.
    """
    check_size(image.size(-2), image.size(-1))  # before minutes of work, not after them
    model = bundle.model
    if grid is not None and model.grid is None:
        raise UserError(f"a grid of {grid.rows}x{grid.cols} for {bundle.header['model']}, which has no regions; give none")
    grid = model.grid if grid is None else grid
    if grid is not None:
        check_grid(grid)
    y, size = model.padded_analysis(_to_float(image)), model.latent_size(image.size(-2), image.size(-1))
    coder = StreamWriter(bundle.tables, bundle.scale_bounds)
    latents = model.code_latents(coder, y, size, grid)
    payload = coder.finish()
    file = write_container(bundle.fingerprint, image.size(-2), image.size(-1), payload, coder.symbols_crc, grid)
    return Encoded(file, len(payload), coder.bits, coder.symbols_crc, y, size, grid, latents)


@torch.inference_mode()
def estimated_bits(bundle: Bundle, encoded: Encoded) -> float:
    """The bits of the picture by the continuous likelihood of its rounded latents: what training minimises."""
    coder = RateEstimator(noise=None)
    bundle.model.code_latents(coder, encoded.y, encoded.size, encoded.grid)
    return float(sum(-torch.log2(p).double().sum() for p in coder.likelihoods.values()))


@torch.inference_mode()
def decode_latents(bundle: Bundle, data: bytes) -> tuple[Latents, int, int]:
    """The latents, height and width from the content of a .lic file.

    Raises UserError, in one line, for anything that is not an intact file of this very codec.
    """
    file = read_container(data)
    if file.fingerprint != bundle.fingerprint:
        raise UserError(
            f"the file was written by codec {file.fingerprint.hex()}, this one is {bundle.fingerprint.hex()}; expected "
            "the same; give the bundle that wrote it with --codec"
        )
    if (file.grid is None) != (bundle.model.grid is None):
        raise UserError("the file is damaged: its grid does not fit its codec; get the file again")
    coder = StreamReader(file.payload, bundle.tables, bundle.scale_bounds)
    grid = None if file.grid is None else Grid(*file.grid)
    latents = bundle.model.read(coder, file.height, file.width, grid)
    coder.finish()
    if coder.symbols_crc != file.symbols_crc:
        raise UserError(
            "the decoded symbols are not those that were written: this machine computes other scales than the one that "
            "wrote the file; decode it with the library versions that wrote it"
        )
    return latents, file.height, file.width


@torch.inference_mode()
def reconstruct(bundle: Bundle, latents: Latents, height: int, width: int) -> Tensor:
    """The picture, uint8 [3, H, W], of quantised latents."""
    x_hat = bundle.model.synthesis(latents)[0, :, :height, :width]
    return x_hat.clamp(0, 1).mul(255).round().to(torch.uint8)


def decode(bundle: Bundle, data: bytes) -> Tensor:
    """The picture, uint8 [3, H, W], in the content of a .lic file; errors as decode_latents."""
    return reconstruct(bundle, *decode_latents(bundle, data))
