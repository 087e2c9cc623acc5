"""Dead leaves: pictures of occluding shapes, made on the fly, with the exact map of their regions.

Shapes of random size (density ~ r^-3, Lee, Mumford and Huang 2001) cover each other; what photographs have beside
edges is laid over them: correlated colours, shading, 1/f texture, stripes, light that falls off, blur and noise.
"""

import numpy as np
import torch
from torch import Tensor

MIN_RADIUS = 3.0  # pixels
NUM_FIELDS = 4  # 1/f textures that the leaves of one picture share


def _power_noise(rng: np.random.Generator, size: int, slope: float) -> np.ndarray:
    """Noise [size, size] of unit deviation whose amplitude falls as frequency^-slope."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32)) / frequency**slope
    field = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return field / field.std()


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of [H, W, 3] by its separable kernel."""
    radius = max(1, int(np.ceil(2.5 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    taps /= taps.sum()
    for axis in (0, 1):
        padded = np.pad(image, [(radius, radius) if a == axis else (0, 0) for a in range(3)], mode="edge")
        parts = [
            tap * np.take(padded, np.arange(place, place + image.shape[axis]), axis=axis) for place, tap in enumerate(taps)
        ]
        image = np.sum(parts, axis=0, dtype=np.float32)
    return image


class DeadLeaves:
    """num_pictures pictures of size x size; picture i depends on (seed, i) alone."""

    def __init__(self, num_pictures: int, size: int, seed: int):
        self.num_pictures, self.size, self.seed = num_pictures, size, seed

    def __len__(self) -> int:
        return self.num_pictures

    def load(self, index: int) -> Tensor:
        """Picture `index`, uint8 [3, size, size]."""
        return torch.from_numpy(self._make(index)[0]).permute(2, 0, 1).contiguous()

    def regions(self, index: int) -> Tensor:
        """The leaf that each pixel of picture `index` shows, int32 [size, size], ids dense from 0."""
        return torch.from_numpy(np.unique(self._make(index)[1], return_inverse=True)[1].astype(np.int32))

    def _make(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        size = self.size
        fields = [_power_noise(rng, size, slope) for slope in rng.uniform(0.3, 1.3, NUM_FIELDS)]
        palette = self._palette(rng)
        image = np.empty((size, size, 3), dtype=np.float32)
        owner = np.zeros((size, size), dtype=np.int32)
        self._paint(rng, image, np.ones((size, size), dtype=bool), (0, 0), palette, fields)
        largest = size * rng.uniform(0.2, 0.6)
        count = int(rng.uniform(100, 900))
        # Inverse of the distribution function of r^-3 between the two radii.
        radii = (rng.uniform(largest**-2, MIN_RADIUS**-2, count)) ** -0.5
        # Every fifth leaf is large, or small ones would leave the background bare.
        radii[::5] = rng.uniform(largest / 6, largest, len(radii[::5]))
        for leaf, radius in enumerate(rng.permutation(radii), start=1):
            top, left = (rng.uniform(-0.2, 1.2, 2) * size - radius).astype(int)
            mask = self._shape(rng, radius)
            rows = slice(max(0, -top), max(0, min(len(mask), size - top)))
            columns = slice(max(0, -left), max(0, min(len(mask), size - left)))
            mask = mask[rows, columns]
            if not mask.any():
                continue
            top, left = max(0, top), max(0, left)
            window = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
            owner[window][mask] = leaf
            self._paint(rng, image[window], mask, (top, left), palette, fields)
        return self._photograph(rng, image), owner

    @staticmethod
    def _palette(rng: np.random.Generator) -> np.ndarray:
        """Colours [8, 3] as logarithms of linear light: brightness varies far more than hue, as in photographs."""
        cast = rng.normal(0, 0.12, 3)
        brightness = rng.normal(-1.4, 0.5) + rng.normal(0, 1.0, (8, 1))
        chroma = rng.normal(0, 1, (8, 2)) * rng.uniform(0.03, 0.22)
        warm, green = np.array([1.0, 0.1, -1.1]), np.array([-0.5, 1.0, -0.5])
        return brightness + chroma[:, :1] * warm + chroma[:, 1:] * green + cast

    @staticmethod
    def _shape(rng: np.random.Generator, radius: float) -> np.ndarray:
        """A mask [2r + 1, 2r + 1] of an ellipse, or of a convex polygon of 3 to 6 sides."""
        ticks = np.arange(-int(radius), int(radius) + 1, dtype=np.float32)
        x, y = ticks[None], ticks[:, None]
        angle = rng.uniform(0, np.pi)
        along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        if rng.random() < 0.5:
            return (along / radius) ** 2 + (across / (radius * rng.uniform(0.2, 1))) ** 2 <= 1
        turns = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        distances = rng.uniform(0.3, 0.9, len(turns)) * radius
        mask = x**2 + y**2 <= radius**2
        for turn, distance in zip(turns, distances, strict=True):
            mask &= np.cos(turn) * x + np.sin(turn) * y <= distance
        return mask

    @staticmethod
    def _paint(
        rng: np.random.Generator, window: np.ndarray, mask: np.ndarray, corner: tuple[int, int],
        palette: np.ndarray, fields: list[np.ndarray],
    ) -> None:  # fmt: skip
        """Paint a leaf into `window` where `mask` is true: a colour, shading, and perhaps texture or stripes."""
        height, width = mask.shape
        colour = palette[rng.integers(len(palette))] + rng.normal(0, 0.15)
        slope = rng.normal(0, 0.5, 2) / max(height, width)
        y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
        light = slope[0] * y + slope[1] * x
        kind = rng.random()
        if kind < 0.6:
            field = fields[rng.integers(len(fields))]
            top, left = corner
            light = light + rng.gamma(1.2, 0.16) * field[top : top + height, left : left + width]
        elif kind < 0.72:
            angle, period = rng.uniform(0, np.pi), rng.uniform(3, 24)
            wave = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period)
            light = light + rng.uniform(0.05, 0.4) * wave
        window[mask] = (colour + light[..., None])[mask].astype(np.float32)

    @staticmethod
    def _photograph(rng: np.random.Generator, log_light: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] as a camera takes it: light that falls off, blur of the lens, noise, tone curve."""
        size = len(log_light)
        ticks = np.linspace(-1, 1, size, dtype=np.float32)
        fall = rng.normal(0, 0.25, 2)
        light = np.exp(log_light + (fall[0] * ticks[:, None] + fall[1] * ticks[None])[..., None])
        light = _blur(light, rng.uniform(0.25, 0.6))
        if rng.random() < 0.5:
            light += rng.gamma(1, 0.008) * rng.standard_normal(light.shape, dtype=np.float32)
        light *= rng.uniform(0.15, 0.5) / max(float(np.quantile(light[::8, ::8], 0.6)), 1e-3)
        toned = light.clip(0) ** np.float32(1 / 2.2)
        # A shoulder instead of a hard clip, as film and sensors' tone curves have.
        toned = np.where(toned > 0.8, 0.8 + 0.2 * np.tanh((toned - 0.8) / 0.2), toned)
        return (toned * 255 + 0.5).clip(0, 255).astype(np.uint8)
