"""Makes the test vectors: small bundles, files that they decode, and what comes out.

    python tests/files/make_vectors.py

They are made once for a number of the format and must decode for ever, so what is there stays, and what is missing is made.
Of each bundle the networks that decoding needs have weights that make their outputs vary; all others are zeros, since no
picture is analysed: symbols are made up, as the tables have them, and in the second file of each codec some are as large as any
can be.
"""

import json
import lzma
import math
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from codec.entropy.density import FactorizedDensity
from codec.entropy.stream import SymbolWriter
from codec.entropy.tables import Tables, scale_index
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode_latents
from codec.files.container import write_container
from codec.files.level_map import packed
from codec.files.loaded import Bundle  # noqa: E402
from codec.layers.gdn import GDN
from codec.layers.regions import Grid
from codec.models import build_model
from codec.models.base import Codec

VECTORS = Path(__file__).parent / "vectors"
CODECS = {
    "factorized": {"N": 8, "M": 12},
    "hyperprior": {"N": 8, "M": 12},
    "mean_scale": {"N": 8, "M": 12},
    "hific": {"N": 8, "M": 12, "C": 4, "num_blocks": 1},
    "wacnn": {"N": 24, "M": 40, "attention": False},
    "segpic": {"N": 24, "M": 40, "attention": False, "grid": 3},
}
LEVELS = 3  # of the codecs that follow, the first and the last of which are those of their two files
CODECS |= {f"{name}_levels": CODECS[name] | {"levels": LEVELS} for name in ("factorized", "hyperprior", "mean_scale", "wacnn")}
# The same with a map of levels in each file.
CODECS |= {f"{name}_map": CODECS[name] | {"levels": LEVELS} for name in ("factorized", "mean_scale", "segpic")}
SIZES = [(83, 150), (301, 45)]  # of the two files; the second has more than one strip
GRID = Grid(2, 5)  # of the second file of segpic; the first has the codec's own
PERIOD = 61  # after which the weights of a layer repeat: as good as others, and small when compressed
SHARE = 0.02  # of symbols that are of any size


def alive(layer: nn.Conv2d | nn.ConvTranspose2d, gain: float, rng: np.random.Generator) -> None:
    """Weights with which the outputs deviate by about `gain` where the inputs deviate by one."""
    fan_in = layer.weight[0].numel() if isinstance(layer, nn.Conv2d) else layer.weight[:, 0].numel() // 4
    values = rng.normal(size=PERIOD)
    values *= gain / math.sqrt(fan_in * values.var())
    layer.weight.copy_(torch.from_numpy(np.resize(values - values.mean(), layer.weight.shape)))
    layer.bias.copy_(torch.from_numpy(rng.normal(size=layer.bias.shape) / 8))


def scale_biases(codec: Codec) -> list[Tensor]:
    """What is added to scales last."""
    if context := getattr(codec, "context", None):
        return [network[-1].bias for network in context.scales]
    if hasattr(codec, "h_scale_s"):
        return [codec.h_scale_s[-1].bias]
    return [codec.h_s[4].bias[: codec.arguments["M"]]] if hasattr(codec, "h_s") else []


@torch.no_grad()
def live_codec(name: str, rng: np.random.Generator) -> Codec:
    codec = build_model(name.removesuffix("_levels").removesuffix("_map"), **CODECS[name])
    for parameter in codec.parameters():
        parameter.zero_()
    for network in codec.entropy_networks():
        layers = list(network.modules())
        normalised = any(isinstance(layer, GDN) for layer in layers)
        for layer in layers:
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                alive(layer, 0.3 if normalised else 1.5, rng)  # inverse GDNs let things grow
            elif isinstance(layer, GDN):
                layer.gamma.copy_(torch.from_numpy(rng.random(layer.gamma.shape) / 8))
                layer.beta.fill_(1)
    for bias in scale_biases(codec):
        bias.add_(3)
    if codec.levels is not None:
        codec.levels.log_gains.copy_(torch.from_numpy(rng.normal(size=codec.levels.log_gains.shape)).sort(0).values)
    for _, density in codec.densities():
        fresh = FactorizedDensity(density.channels, density.filters, init_scale=2)
        density.load_state_dict(fresh.state_dict())
        for values in (*density.biases, *density.factors):
            values.copy_(torch.from_numpy(rng.normal(size=values.shape) / 4))
    return codec


class MadeUp:
    """A LatentCoder that makes symbols up and writes them. extreme: some of them are as large as symbols can be."""

    def __init__(self, bundle: Bundle, rng: np.random.Generator, extreme: bool):
        self.bundle, self.rng, self.extreme = bundle, rng, extreme
        self.writer, self.symbols_crc = SymbolWriter(), 0

    def _coded(self, deviations: np.ndarray, indices: np.ndarray, tables: Tables) -> Tensor:
        """Symbols [C, h, w] of such deviations, as float32 [1, C, h, w], coded by the tables of their indices."""
        symbols = self.rng.normal(size=indices.shape) * deviations
        if self.extreme:
            large = np.exp2(self.rng.uniform(0, 31, indices.shape)) * self.rng.choice([-1, 1], indices.shape)
            symbols = np.where(self.rng.random(indices.shape) < SHARE, large, symbols)
        symbols = np.rint(symbols).clip(-(2**31), 2**31 - 1).astype(np.int32)
        for top in range(0, symbols.shape[1], 16):
            part = symbols[:, top : top + 16].ravel()
            self.writer.write(part, indices[:, top : top + 16].ravel(), tables)
            self.symbols_crc = zlib.crc32(part.astype("<i4").tobytes(), self.symbols_crc)
        return torch.from_numpy(symbols.astype(np.float32))[None]

    def factorized(self, name, z, shape, density, present=None):
        channels = np.arange(shape[0], dtype=np.int16)[:, None, None]
        indices = np.broadcast_to(channels + np.asarray(density.first_table, np.int16), shape)
        return self._coded(np.float64(3), indices, self.bundle.tables[name]) + density.medians()[:, None, None]

    def gaussian(self, name, y, scales, means, prior, first_channel=0):
        indices = scale_index(scales[0], self.bundle.scale_bounds).numpy()
        symbols = self._coded(scales[0].double().clamp(0.11).numpy(), indices, self.bundle.tables["gaussian"])
        return symbols if means is None else symbols + means


@torch.inference_mode()
def made_up_file(
    bundle: Bundle, height: int, width: int, grid: Grid | None, coder: MadeUp, level: int | None = None,
    offsets: Tensor | None = None,
) -> bytes:  # fmt: skip
    bundle.model.read(coder, height, width, grid, level if level is None or offsets is None else level + offsets)
    content, level_map = coder.writer.finish(), None if offsets is None else packed(offsets)
    return write_container(bundle.fingerprint, height, width, content, coder.symbols_crc, grid, level or 0, level_map)


def latents_crc(y_hat: Tensor) -> int:
    """CRC-32 of y_hat [1, M, h, w] as little endian float32."""
    return zlib.crc32(y_hat[0].contiguous().numpy().astype("<f4").tobytes())


def make(name: str, folder: Path) -> dict[str, int]:
    """A codec and two files in `folder`; the CRC-32 of the latents of each file."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / "codec.safetensors"
        save_bundle(path, live_codec(name, rng), {}, half=True)
        bundle = load_bundle(path)
        packed = lzma.compress(path.read_bytes(), preset=9 | lzma.PRESET_EXTREME)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.safetensors.xz").write_bytes(packed)
    crcs = {}
    for number, size in enumerate(SIZES):
        grid = GRID if bundle.model.grid and number else bundle.model.grid
        level, offsets = None if bundle.model.levels is None else number * (LEVELS - 1), None
        if name.endswith("_map"):  # of the first from the lowest level, of the second up to the highest
            level, places = number, bundle.model.latent_size(*size)
            offsets = torch.from_numpy(rng.integers(0, LEVELS - number, places))
        file = made_up_file(bundle, *size, grid, MadeUp(bundle, rng, extreme=number > 0), level, offsets)
        (folder / f"{name}.{number}.lic").write_bytes(file)
        crcs[f"{name}.{number}.lic"] = latents_crc(decode_latents(bundle, file)[0].y_hat)
    return crcs


if __name__ == "__main__":
    there = VECTORS / "latents.json"
    known = json.loads(there.read_text()) if there.exists() else {}
    for codec_name in CODECS:
        if f"{codec_name}.0.lic" not in known:
            known |= make(codec_name, VECTORS)
    there.write_text(json.dumps(known, indent=1) + "\n")
