"""At which level a picture is coded, of a codec that has several: by a quality, or by what its file or its picture may be.

B pictures of one size, coded together.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codec.files.coding import Analysed, Encoded, analysed, begin_coding, begin_encoding, levels_of, reconstruct
from codec.files.container import MAX_BYTES, read_container
from codec.files.level_map import told_offsets
from codec.files.loaded import Bundle
from codec.files.memory import holding, memory_for_networks
from codec.layers.regions import Grid
from codec.types import UserError, as_float, shown

HIGHEST = 100  # quality
TRIED = 8  # levels, before it is said that none makes so good a picture
BAND = 512  # rows of a picture that are compared together: in floats it is many times as large


class Wanted(NamedTuple):
    """What is asked of a file: one of these, or nothing, which is the codec's middle level.

    quality: 0 to 100, from the lowest level to the highest. bpp, max_bytes: of the whole file, in bits per pixel of the picture
    or in bytes, at most: the highest level within. psnr: of the decoded picture, in dB, at least: the lowest level that has it
    where PSNR rises with the level, as of photographs; else one that bisection finds.
    """

    quality: float | None = None
    bpp: float | None = None
    max_bytes: int | None = None
    psnr: float | None = None

    def checked(self, bundle: Bundle) -> "Wanted":
        """The same as plain numbers; UserError for more than one wish, one that nothing meets, any of a codec of one rate."""
        wishes: dict[str, Any] = {}
        given = {name: value for name, value in self._asdict().items() if value is not None}
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)} given; expected one of them; leave the others out")
        for name, value in given.items():
            if bundle.model.levels is None:
                raise UserError(
                    f"{name}={shown(value)} of a codec that has one rate; expected one with levels; give another codec, or no "
                    f"{name}"
                )
            number = math.nan if isinstance(value, bool) else as_float(value)
            if not (0 <= number <= HIGHEST if name == "quality" else 0 < number < math.inf):  # false for NaN too
                expected = f"a number from 0 to {HIGHEST}" if name == "quality" else "a number above 0, and finite"
                raise UserError(f"{name}={shown(value)}; expected {expected}; give another")
            wishes[name] = math.floor(min(number, MAX_BYTES)) if name == "max_bytes" else number
        return self._replace(**wishes)

    def most_bytes(self, pixels: int) -> int | None:
        """Of the file of a picture with so many pixels; None where nothing is said of its size."""
        if self.bpp is None:
            return self.max_bytes
        return math.floor(min(self.bpp * (pixels / 8), MAX_BYTES))  # which no file exceeds: the product may be infinite

    @property
    def compares(self) -> bool:
        """Whether pictures are decoded to find the level, while what the analysis gave is kept."""
        return self.psnr is not None


NOTHING = Wanted()


def level_of(bundle: Bundle, quality: float | None) -> int | None:
    """The level of a quality from 0 to 100; None where none is given."""
    levels = bundle.model.levels
    if quality is None or levels is None:
        return None
    return math.floor(quality / HIGHEST * (levels.count - 1) + 0.5)  # half up: the middle is Codec.middle_level


def told_level(bundle: Bundle, file: bytes, offsets: Tensor | None = None) -> list[str]:
    """At which level a file of the codec is, for its user; nothing where it has one rate.

    offsets: those that a map of quality asked for, int64 [h, w]: where the file has none of them, it is said why.
    """
    if bundle.model.levels is None:
        return []
    container, last = read_container(file), bundle.model.levels.count - 1
    if container.level_map is None:
        return [f"level {container.level} of {last}", *([] if offsets is None else [told_offsets(offsets)])]
    highest = int(torch.as_tensor(levels_of(bundle, container)).max())
    return [f"level {container.level} to {highest} of {last}, by a map of {len(container.level_map)} bytes in the file"]


def begin_wanted(
    bundle: Bundle, images: Tensor, grid: Grid | None = None, wanted: Wanted = NOTHING, offsets: Tensor | None = None
) -> Callable[[], list[Encoded]]:
    """As codec.files.coding.begin_encoding, whose bundle, images, grid and offsets it takes, at the level that is wanted.

    wanted: of each picture. Where that hangs on the outcome it is found by bisection, after one analysis for all levels, with
    the offsets held. Raises UserError for a wish that no level meets, of those that are tried, too.
    """
    wanted = wanted.checked(bundle)
    if wanted in (NOTHING, Wanted(wanted.quality)):
        return begin_encoding(bundle, images, grid, level_of(bundle, wanted.quality), offsets)
    if wanted.compares:
        height, width = images.shape[-2:]
        memory_for_networks(bundle, height, width, keeping=len(images))  # before minutes of work, not after them
    pictures = analysed(bundle, images, grid, offsets)
    found = [_found(bundle, pictures.of(number), image, wanted) for number, image in enumerate(images)]
    return lambda: found


def encode_wanted(
    bundle: Bundle, image: Tensor, grid: Grid | None = None, wanted: Wanted = NOTHING, offsets: Tensor | None = None
) -> Encoded:
    """The file of a picture, image: uint8 [3, H, W]; bundle, grid, wanted, offsets and errors as begin_wanted."""
    return begin_wanted(bundle, image[None], grid, wanted, offsets)()[0]


def _found(bundle: Bundle, picture: Analysed, image: Tensor, wanted: Wanted) -> Encoded:
    def coded(level: int) -> Encoded:
        return begin_coding(bundle, picture, level)()[0]

    assert bundle.model.levels is not None
    count, most = bundle.model.levels.count, wanted.most_bytes(picture.height * picture.width)
    if most is not None:
        smaller = "make the picture smaller" if picture.offsets is None else "a smaller offset of quality by its map"
        return _highest_within(coded, count, most, smaller)
    assert wanted.psnr is not None

    def error(encoded: Encoded) -> float:
        with holding(picture.y):
            decoded = reconstruct(bundle, encoded.latents, picture.height, picture.width)
        rows = zip(decoded.split(BAND, dim=1), image.to(decoded).split(BAND, dim=1), strict=True)
        return sum(float((a.float() - b.float()).square().sum(dtype=torch.float64)) for a, b in rows) / decoded.numel()

    return _lowest_with(coded, bundle.model.levels.spread(TRIED), wanted.psnr, error)


def _highest_within(coded: Callable[[int], Encoded], count: int, most: int, smaller: str) -> Encoded:
    """What is coded at the highest of `count` levels whose file has at most so many bytes; smaller: what makes it so."""
    best, low, high = coded(0), 0, count
    if len(best.file) > most:
        raise UserError(
            f"the smallest file of the picture has {len(best.file)} bytes; expected at most {most}; allow more, or {smaller}"
        )
    while high - low > 1:  # `low` is within; `high` is not, or there is no such level
        middle = (low + high) // 2
        tried = coded(middle)
        if len(tried.file) <= most:
            best, low = tried, middle
        else:
            high = middle
    return best


def _lowest_with(
    coded: Callable[[int], Encoded], tried: Sequence[int], psnr: float, error: Callable[[Encoded], float]
) -> Encoded:
    """What is coded at the lowest level that bisection finds to have that PSNR at least; error: its mean squared error.

    tried: levels from low to high. The last comes first, which is the best of photographs. Of flat and drawn pictures it need
    not be, so that all are tried before it is said that none is so good.
    """
    most, errors = 255**2 * 10 ** (-psnr / 10), []
    for high in (tried[-1], *tried[:-1]):
        best = coded(high)
        errors.append(error(best))
        if errors[-1] <= most:
            break
    else:
        decibels = math.floor(1000 * math.log10(255**2 / min(errors))) / 100  # rounded down, so that it may be asked for
        raise UserError(
            f"of the {len(tried)} levels tried the best picture has {decibels:.2f} dB; expected at least {psnr:g}; ask for less"
        )
    low = -1
    while high - low > 1:  # `high` has it; `low` has not, or there is no such level
        middle = (low + high) // 2
        candidate = coded(middle)
        if error(candidate) <= most:
            best, high = candidate, middle
        else:
            low = middle
    return best
