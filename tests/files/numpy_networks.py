"""The entropy networks of all six models as codec/files/FORMAT.md has them, in NumPy and integers: a part of numpy_decoder.py.

Maps [C, h, w] are int64 in units of 2^-14 where they are called units, else float32. C channels, h w height and width,
prototypes [C, rows, columns].
"""

import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

GRID, LARGEST = 14, 1 << 24  # fractional bits of a value on the grid, and its largest magnitude in units
WEIGHTS = 18  # fractional bits of a weight
REACH = 16 << GRID  # beyond it, GELU, tanh and sigmoid are their limits

Tensors = dict[str, np.ndarray]


def to_units(values: np.ndarray) -> np.ndarray:
    """The nearest of the grid to float32 or float64 values; halves go to the even one."""
    return np.clip(np.rint(values * values.dtype.type(2**GRID)), -LARGEST, LARGEST).astype(np.int64)


def from_units(units: np.ndarray) -> np.ndarray:
    return units.astype(np.float32) * np.float32(2.0**-GRID)


def to_grid(sums: np.ndarray, bits: int = WEIGHTS) -> np.ndarray:
    """Units of sums in units of 2^-14 2^-bits."""
    whole, rest, half = sums >> bits, sums & ((1 << bits) - 1), 1 << (bits - 1)
    return np.clip(whole + ((rest > half) | ((rest == half) & (whole & 1 == 1))), -LARGEST, LARGEST)


class Networks:
    """The layers of a bundle by their names: each takes a map and gives units."""

    def __init__(self, tensors: Tensors):
        self.tensors = tensors

    def parameters(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight and bias, int64 in units of 2^-18 and 2^-32."""
        found = []
        for kind, bits in (("weight", WEIGHTS), ("bias", WEIGHTS + GRID)):
            scaled = self.tensors[f"weights.{name}.{kind}"].astype(np.float64) * 2.0**bits
            assert (scaled == np.rint(scaled)).all() and (abs(scaled) < 2**53).all()
            found.append(scaled.astype(np.int64))
        return found[0], found[1]

    def conv(self, name: str, values: np.ndarray) -> np.ndarray:
        """1x1 or 3x3, with zeros around the map."""
        weight, bias = self.parameters(name)
        kernel = weight.shape[-1]
        sums = np.repeat(bias[:, None], values[0].size, 1)
        for i, j, seen in windows(to_units(values), kernel):
            sums += weight[:, :, i, j] @ seen.reshape(len(seen), -1)
        return to_grid(sums.reshape(-1, *values.shape[1:]))

    def deconv(self, name: str, values: np.ndarray) -> np.ndarray:
        """5x5 at stride 2, [C, h, w] to [O, 2 h, 2 w]: each input adds the kernel to the outputs around twice its place."""
        weight, bias = self.parameters(name)
        (height, width), units = values.shape[1:], to_units(values).reshape(len(values), -1)
        sums = np.zeros((len(bias), 2 * height + 3, 2 * width + 3), np.int64)
        for i in range(5):
            for j in range(5):
                added = weight[:, :, i, j].T @ units
                sums[:, i : i + 2 * height : 2, j : j + 2 * width : 2] += added.reshape(-1, height, width)
        return to_grid(sums[:, 2 : 2 + 2 * height, 2 : 2 + 2 * width] + bias[:, None, None])

    def inverse_gdn(self, name: str, values: np.ndarray) -> np.ndarray:
        beta, gamma = (self.tensors[f"weights.{name}.{kind}"].astype(np.float64) for kind in ("beta", "gamma"))
        beta = np.maximum(beta, float.fromhex("0x1.06255a2efcd26p-10")) ** 2 - 2.0**-36
        gamma = np.maximum(gamma, 2.0**-18) ** 2 - 2.0**-36
        for bits in range(WEIGHTS, -1, -1):
            g, b = np.rint(gamma * 2.0**bits) * 2.0**-bits, np.rint(beta * 2.0 ** (bits + GRID)) * 2.0 ** -(bits + GRID)
            if (abs(g).sum(1) * 2.0**20 + abs(b)).max() < 2.0 ** (39 - bits):
                break
        x = to_units(values).astype(np.float64)
        squares = np.rint(x * x * 2.0**-GRID) * 2.0**-GRID
        norms = b[:, None] + g @ squares.reshape(len(x), -1)
        return np.clip(np.rint(x * np.sqrt(norms.reshape(x.shape))), -LARGEST, LARGEST).astype(np.int64)

    def chain(self, net: str, values: np.ndarray, layers: str) -> np.ndarray:
        """The layers of a net, by name in order; activations and what has no parameters count."""
        for place, layer in enumerate(layers.split()):
            name = f"{net}.{place}"
            if layer == "up":
                values = from_units(shuffled(self.conv(f"{name}.0", values)))
            elif layer in ACTIVATIONS:
                values = ACTIVATIONS[layer](values)
            else:
                values = from_units({"conv": self.conv, "deconv": self.deconv, "igdn": self.inverse_gdn}[layer](name, values))
        return values

    def rat(self, net: str, x: np.ndarray, prototypes: np.ndarray) -> np.ndarray:
        """SegPIC's region-adaptive transform of a map."""
        content = self.chain(f"{net}.ctl", x, "conv leaky0.1 conv")
        channels, height, width = content.shape
        rows, columns = (np.arange(side) * cells // side for side, cells in zip(x.shape[1:], prototypes.shape[1:], strict=True))
        guided = np.concatenate([content, prototypes[:, rows[:, None], columns]])
        mixed = from_units(self.conv(f"{net}.dkg.mix", guided))
        spread = from_units(self.conv(f"{net}.dkg.spread", ACTIVATIONS["leaky0.1"](mixed)))
        features = to_units(ACTIVATIONS["leaky0.1"](spread))
        weight, bias = (part.reshape(channels, 9, -1) for part in self.parameters(f"{net}.dkg.taps"))
        sums = np.zeros(content.shape, np.int64)
        for i, j, seen in windows(to_units(content), 3):
            of_tap, kernel = weight[:, 3 * i + j].reshape(channels, 3, 3, 1, 1), bias[:, 3 * i + j, :, None]
            kernel = kernel + sum(of_tap[:, k, m] * near for k, m, near in windows(features, 3))
            sums += to_grid(kernel) * seen
        filtered = to_grid(sums, GRID)
        mean = (filtered.sum((1, 2)) / np.float64(height * width) * 2.0**-GRID).astype(np.float32)
        gate = self.chain(f"{net}.cag.gate", mean[:, None, None], "conv leaky0.1 conv sigmoid")
        return from_units(self.conv(f"{net}.out", gate * from_units(filtered))) + x


def windows(x: np.ndarray, kernel: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Each place (i, j) of a square kernel, and what it sees of a map with zeros around it."""
    border = kernel // 2
    padded = np.pad(x, ((0, 0), (border, border), (border, border)))
    for i in range(kernel):
        for j in range(kernel):
            yield i, j, padded[:, i : i + x.shape[1], j : j + x.shape[2]]


def shuffled(x: np.ndarray) -> np.ndarray:
    """[4 C, h, w] to [C, 2 h, 2 w]."""
    channels, height, width = x.shape
    squares = x.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return squares.reshape(channels // 4, 2 * height, 2 * width)


def leaky_relu(slope: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: np.where(values > 0, values, values * np.float32(slope))


def by_unit(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    """A function on the grid, out of a table of all units between the two at which it is its limits."""

    @cache
    def table() -> np.ndarray:
        return to_units(np.array([function(unit * 2.0**-GRID) for unit in range(-REACH, REACH + 1)]))

    return lambda values: from_units(table()[np.clip(to_units(values), -REACH, REACH) + REACH])


_gelu = by_unit(lambda x: x * math.erfc(-x / math.sqrt(2)) / 2)

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda values: np.maximum(values, 0),
    "leaky0.01": leaky_relu(0.01),
    "leaky0.1": leaky_relu(0.1),
    "gelu": lambda values: np.where(values > 16, from_units(to_units(values)), _gelu(values)),
    "tanh": by_unit(math.tanh),
    "sigmoid": by_unit(lambda x: 1 / (1 + math.exp(-x))),
}

PARAMETER_NET = "conv gelu conv gelu conv gelu conv gelu conv"
UPSAMPLING = "conv gelu up gelu conv gelu up gelu conv"


def latents(model: str, arguments: dict, tensors: Tensors, streams, size: tuple[int, int], grid: tuple[int, int] | None):
    """y_hat, float32 [M, h, w], of a picture of that size.

    streams: what gives values: by a density, streams.factorized(name, shape, medians), and streams.gaussian(scales, means).
    """
    nets = Networks(tensors)

    def coded(stream: str, sides: tuple[int, int], density: str = "entropy_bottleneck") -> np.ndarray:
        medians = tensors[f"weights.{density}.quantiles"][:, 0, 1]
        return streams.factorized(stream, (len(medians), *sides), medians)

    stride = 16 if model in ("factorized", "hific") else 64
    h, w = (-(-side // stride) * (stride // 16) for side in size)
    if model == "factorized":
        return coded("y", (h, w))
    if model == "segpic":
        coded("p1", grid, "p1.entropy_bottleneck")
        prototypes = nets.chain("p2.g_s", coded("p2", grid, "p2.entropy_bottleneck"), "conv igdn conv igdn conv")
    z_hat = coded("z", (-(-h // 4), -(-w // 4)))
    if model == "hyperprior":
        return streams.gaussian(nets.chain("h_s", z_hat, "deconv relu deconv relu conv relu"), None)
    if model == "mean_scale":
        return streams.gaussian(*np.split(nets.chain("h_s", z_hat, "deconv leaky0.01 deconv leaky0.01 conv"), 2))
    hyper = "deconv relu deconv relu conv" if model == "hific" else UPSAMPLING
    scales, means = (nets.chain(net, z_hat, hyper)[:, :h, :w] for net in ("h_scale_s", "h_mean_s"))
    if model == "segpic":
        scales, means = nets.rat("rat_scale_s", scales, prototypes), nets.rat("rat_mean_s", means, prototypes)
    if model == "hific" or not arguments["context"]:
        return streams.gaussian(scales, means)
    return slices(nets, streams, scales, means)


def slices(nets: Networks, streams, scales: np.ndarray, means: np.ndarray) -> np.ndarray:
    finished: list[np.ndarray] = []
    for i in range(10):
        of_scales, of_means = (np.concatenate([first, *finished[:5]]) for first in (scales, means))
        predicted = (
            nets.chain(f"context.{net}.{i}", x, PARAMETER_NET) for net, x in (("scales", of_scales), ("means", of_means))
        )
        y_hat = streams.gaussian(*predicted)
        residual = nets.chain(f"context.residuals.{i}", np.concatenate([of_means, y_hat]), PARAMETER_NET + " tanh")
        finished.append(y_hat + np.float32(0.5) * residual)
    return np.concatenate(finished)
