"""Dead leaves: pictures of occluding shapes, made on the fly, with the exact map of their regions.

Shapes of random size (density ~ r^-3: Lee, Mumford and Huang 2001) cover each other. What photographs have besides
edges is laid over them: few hues and many brightnesses, shading, shadows, 1/f texture, stripes, swarms of like things,
a background out of focus, uneven light, noise and a tone curve. Over 100 pictures of 384^2 the power spectrum falls as
f^-2.9 (Kodak f^-2.3, scikit-image's photographs f^-2.65), and red correlates with green by 0.94, with blue by 0.82
(Kodak 0.89 and 0.77).

S side of the picture in pixels, K number of leaves.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data.regions import relabel

NUM_FIELDS = 3  # 1/f textures that the leaves of one picture share
PALETTE = 7  # colours of one picture
SIDES = 5  # of a polygon


@dataclass(frozen=True)
class Arrangement:
    """Leaves as they lie: owner int32 [S, S] names the leaf that shows; the rest is by leaf, bottom first.

    coordinates: float32 [2, S, S], rows and columns of the plane that the leaves were cut in, bent in the picture's.
    centre: [2, K] on that plane; radius: [K] in pixels; family: [K], leaves of one colour and texture.
    """

    owner: np.ndarray
    coordinates: np.ndarray
    centre: np.ndarray
    radius: np.ndarray
    family: np.ndarray


def _resize(field: np.ndarray, size: int) -> np.ndarray:
    """[C, h, w] resampled to [C, size, size], smooth both ways."""
    smaller = field.shape[-1] > size
    mode = "bilinear" if smaller or field.shape[-1] > size // 8 else "bicubic"
    return F.interpolate(torch.from_numpy(field)[None], (size, size), mode=mode, antialias=smaller)[0].numpy()


def _blur(image: np.ndarray, factor: float) -> np.ndarray:
    """[C, S, S] out of focus: through a picture that is `factor` times smaller."""
    size = image.shape[-1]
    return _resize(_resize(image, max(4, round(size / factor))), size)


def _bent_plane(rng: np.random.Generator, size: int) -> np.ndarray:
    """Coordinates [2, S, S] that wander from the pixel grid by some pixels: few real edges are straight or round."""
    grid = np.stack(np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2, indexing="ij"))
    if rng.random() < 0.3:  # a scene of made things
        return grid
    for spacing, most in ((48, 8.0), (12, 1.2)):
        knots = rng.standard_normal((2, size // spacing + 2, size // spacing + 2), dtype=np.float32)
        grid += rng.uniform(0, most) * _resize(knots, size)
    return grid


def _cut(rng: np.random.Generator, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """The mask of an ellipse, a rectangle or a convex polygon in coordinates whose unit is its radius."""
    kind, squeeze = rng.random(), rng.uniform(1, 2.5)
    if kind < 0.4:
        return along**2 + (squeeze * across) ** 2 <= 1
    if kind < 0.6:
        return np.maximum(np.abs(along), squeeze * np.abs(across)) <= 0.8
    mask = along**2 + across**2 <= 1
    turns = 2 * np.pi / SIDES * (np.arange(SIDES) + rng.uniform(-0.4, 0.4, SIDES))
    for x, y, distance in zip(np.cos(turns), np.sin(turns), rng.uniform(0.25, 0.8, SIDES), strict=True):
        mask &= x * along + y * across <= distance
    return mask


def _place(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres [2, K] in pixels, radii [K] and families [K] of leaves in the order in which they fall."""
    smallest, largest = np.exp(rng.uniform(1.8, 3)), size * rng.uniform(0.4, 0.8)
    mean_area = 2 * np.pi * smallest**2 * np.log(largest / smallest)
    count = int(rng.uniform(2, 6) * size**2 / mean_area)
    radius = rng.uniform(largest**-2, smallest**-2, count) ** -0.5  # the inverse of r^-3's distribution function
    centre = rng.uniform(-0.2, 1.2, (2, count)) * size
    family = np.arange(count)
    for swarm in range(rng.integers(0, 5)):  # of like things: pebbles, windows, foliage
        members = int(rng.integers(20, 150))
        middle, spread = rng.uniform(0, size, (2, 1)), rng.uniform(0.03, 0.25, (2, 1)) * size
        centre = np.concatenate([centre, middle + spread * rng.standard_normal((2, members))], axis=1)
        radius = np.concatenate([radius, rng.uniform(2, 14) * rng.uniform(0.7, 1.3, members)])
        family = np.concatenate([family, np.full(members, count + swarm)])
    # What is large tends to lie behind.
    order = np.argsort(-np.log(radius) + 1.0 * rng.standard_normal(len(radius)))
    return centre[:, order], radius[order], family[order]


def grow(rng: np.random.Generator, size: int) -> Arrangement:
    """Leaves on an S x S picture; leaf 0 is the ground."""
    plane = _bent_plane(rng, size)
    centre, radius, family = _place(rng, size)
    owner = np.zeros((size, size), dtype=np.int32)
    # Bending moves no point by over a third of its distance from the centre.
    first = np.clip((centre - 1.4 * radius).astype(int), 0, size)
    last = np.clip((centre + 1.4 * radius).astype(int) + 2, 0, size)
    row, column = np.clip(centre.astype(int), 0, size - 1)
    centre = (plane[:, row, column] + centre - np.stack([row, column])).astype(np.float32)
    angle = rng.uniform(0, np.pi, family.max() + 1)[family] + rng.normal(0, 0.2, len(radius))
    turn = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32) / radius.astype(np.float32)
    for leaf in np.flatnonzero((first < last).all(axis=0)):
        window = (slice(first[0, leaf], last[0, leaf]), slice(first[1, leaf], last[1, leaf]))
        y, x = plane[0][window] - centre[0, leaf], plane[1][window] - centre[1, leaf]
        cos, sin = turn[:, leaf]
        owner[window][_cut(rng, cos * x + sin * y, cos * y - sin * x)] = leaf + 1
    ground = np.full((2, 1), size / 2)
    return Arrangement(
        owner,
        plane,
        np.concatenate([ground, centre], axis=1).astype(np.float32),
        np.concatenate([[size], radius]).astype(np.float32),
        np.concatenate([[family.max() + 1], family]),
    )


def _fields(rng: np.random.Generator, size: int) -> np.ndarray:
    """Textures [NUM_FIELDS, S, S] of unit deviation: amplitude falls as a power of frequency, some have a grain."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    made = []
    for _ in range(NUM_FIELDS):
        angle, stretch = rng.uniform(0, np.pi), 4 ** rng.choice([0, 0, rng.random()])
        along = np.cos(angle) * rows + np.sin(angle) * columns
        across = np.cos(angle) * columns - np.sin(angle) * rows
        frequency = np.hypot(along * stretch, across / stretch) + 1 / size
        spectrum = rng.standard_normal((2, *frequency.shape)) * frequency ** -rng.uniform(0.3, 1.2)
        made.append(np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(size, size)).astype(np.float32))
    return np.stack([(field - field.mean()) / field.std() for field in made])


def _colours(rng: np.random.Generator, leaves: Arrangement) -> np.ndarray:
    """Colour of each leaf [3, K], the logarithm of linear light.

    As in photographs, brightness varies far more than hue, hue most from blue to orange, and green is commoner than
    purple.
    """
    orange, green = np.array([[0.6], [0.0], [-1.0]]), np.array([[-0.4], [0.5], [-0.4]])
    vivid = rng.gamma(3, 0.15)
    brightness = rng.normal(0, rng.uniform(0.8, 1.7), PALETTE)
    warmth, growth = rng.standard_normal(PALETTE), rng.normal(0.3, 0.7, PALETTE)
    palette = brightness + vivid * (orange * warmth + green * growth)
    cast = 0.2 * rng.standard_normal() * orange
    of_family = rng.integers(0, PALETTE, leaves.family.max() + 1)
    return palette[:, of_family[leaves.family]] + cast + 0.2 * rng.standard_normal(len(leaves.radius))


def paint(rng: np.random.Generator, leaves: Arrangement) -> np.ndarray:
    """The logarithm of the light that each leaf sends, float32 [3, S, S]: colour, shading, texture, stripes."""
    size, count, families = len(leaves.owner), len(leaves.radius), int(leaves.family.max()) + 1
    kind = rng.random(families)[leaves.family]
    rough = np.where(kind < 0.8, rng.gamma(1.2, 0.25, count), 0)
    striped = np.where((kind > 0.5) & (kind < 0.65), rng.uniform(0.05, 0.5, count), 0)
    field = rng.integers(0, NUM_FIELDS, families)[leaves.family] * size**2
    shift = rng.integers(0, size, (2, count))
    angle = rng.uniform(0, np.pi, families)[leaves.family]
    period = 3 * np.exp(rng.uniform(0, 2.3, families))[leaves.family]
    slope = rng.normal(0, 0.35, (2, count))
    round_off = np.where(rng.random(families)[leaves.family] < 0.3, rng.gamma(2, 0.25, count), 0)

    owner, fields = leaves.owner.ravel(), _fields(rng, size).ravel()
    colour = _colours(rng, leaves)
    y, x = (leaves.coordinates.reshape(2, -1) - leaves.centre[:, owner]) / leaves.radius[owner]
    light = _by_leaf(slope[0], owner) * y + _by_leaf(slope[1], owner) * x - _by_leaf(round_off, owner) * (y * y + x * x)
    rows, columns = np.divmod(np.arange(size**2), size)
    place = (rows + shift[0][owner]) % size * size + (columns + shift[1][owner]) % size
    light += _by_leaf(rough, owner) * fields[field[owner] + place]
    turns = 2 * np.pi * leaves.radius / period
    wave = np.sin(_by_leaf(turns * np.cos(angle), owner) * y + _by_leaf(turns * np.sin(angle), owner) * x)
    light += _by_leaf(striped, owner) * np.tanh(3 * wave)
    return (colour.astype(np.float32)[:, owner] + light).reshape(3, size, size)


def _by_leaf(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[owner]


def _shadows(rng: np.random.Generator, owner: np.ndarray) -> np.ndarray:
    """Logarithm of the light that upper leaves leave to lower ones [S, S]: less on the side away from the sun."""
    down, right = rng.integers(-6, 7, 2)
    shaded = (np.roll(owner, (down, right), (0, 1)) > owner).astype(np.float32)[None]
    return -rng.gamma(1.5, 0.3) * _blur(shaded, rng.uniform(2, 6))[0]


def photograph(rng: np.random.Generator, log_light: np.ndarray) -> np.ndarray:
    """uint8 [3, S, S] as a camera takes it: uneven light, exposure, lens, noise, tone curve."""
    size = log_light.shape[-1]
    uneven = rng.gamma(1, 0.25) * _resize(rng.standard_normal((1, 4, 4), dtype=np.float32), size)
    light = np.exp(log_light + uneven)
    middle, bright = np.quantile(light[1, ::4, ::4], (0.5, 0.95))
    light *= np.float32(min(rng.choice([0.04, 0.12, 0.18, 0.24, 0.3]) / middle, rng.uniform(0.4, 1.2) / bright))
    lens = np.float32(rng.uniform(0.03, 0.2))
    for axis in (1, 2):  # three taps: edges of camera pictures are never sharper
        before, after = np.roll(light, 1, axis), np.roll(light, -1, axis)
        light = (1 - 2 * lens) * light + lens * (before + after)
    noise = np.float32(rng.choice([0, 1]) * rng.gamma(1, 0.01))
    light += noise * np.sqrt(light) * rng.standard_normal(light.shape, dtype=np.float32)
    toned = np.sqrt(np.maximum(light, 0))
    toned = np.where(toned > 0.75, 0.75 + 0.25 * np.tanh((toned - 0.75) / 0.25), toned)  # highlights fade into white
    return (toned * 255 + 0.5).astype(np.uint8)


def drawing(rng: np.random.Generator, leaves: Arrangement) -> np.ndarray:
    """uint8 [3, S, S] as no camera takes it: one to five flat colours out of all that there are, half of them saturated.

    rng: all that is random. leaves: as they lie, on a picture of S x S.
    Photographs have hardly any saturated green: of a codec trained on them alone, its flat square took 4 bits a pixel.
    """
    count = int(rng.integers(1, 6))
    grey, vivid = rng.random((1, count)), rng.random((3, count))
    vivid[rng.integers(0, 3, count), np.arange(count)] = 0
    vivid /= vivid.max(axis=0)
    colours = np.where(rng.random(count) < 0.5, vivid * rng.uniform(0.3, 1, count), rng.random((3, count)))
    colours = np.where(rng.random(count) < 0.2, grey.round(), colours)  # black and white, as of type
    shown = colours[:, rng.integers(0, count, leaves.family.max() + 1)[leaves.family]]
    flat = shown.astype(np.float32)[:, leaves.owner]
    return ((_blur(flat, 2) if rng.random() < 0.3 else flat) * 255 + 0.5).clip(0, 255).astype(np.uint8)


class DeadLeaves:
    """num_pictures pictures of size x size; picture i depends on (seed, i) alone. drawn: in flat colours, not photographed."""

    def __init__(self, num_pictures: int, size: int, seed: int, drawn: bool = False):
        self.num_pictures, self.size, self.seed, self.drawn = num_pictures, size, seed, drawn

    def __len__(self) -> int:
        return self.num_pictures

    def load(self, index: int) -> Tensor:
        """Picture `index`, uint8 [3, size, size]."""
        return self.load_with_regions(index)[0]

    def load_with_regions(self, index: int) -> tuple[Tensor, Tensor]:
        """Picture `index`, and the leaf that each of its pixels shows: int64 [size, size], ids dense from 0."""
        rng = np.random.default_rng((self.seed, index))
        leaves = grow(rng, self.size)
        if self.drawn:
            return torch.from_numpy(drawing(rng, leaves)), relabel(torch.from_numpy(leaves.owner))
        log_light = paint(rng, leaves) + _shadows(rng, leaves.owner)
        if rng.random() < 0.35:
            near = np.quantile(leaves.owner[::4, ::4], rng.uniform(0.2, 0.8))
            far = _blur(log_light, np.exp(rng.uniform(0.7, 2.5)))
            log_light = np.where(leaves.owner >= near, log_light, far)
        return torch.from_numpy(photograph(rng, log_light)), relabel(torch.from_numpy(leaves.owner))

    def regions(self, index: int) -> Tensor:
        """The leaf that each pixel of picture `index` shows, int32 [size, size], ids dense from 0."""
        owner = grow(np.random.default_rng((self.seed, index)), self.size).owner
        return relabel(torch.from_numpy(owner)).int()
