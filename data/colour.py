"""What the numbers of a picture file mean: any depth, colour space and transparency as sRGB of 8 bits.

H W height and width of the picture.
"""

import io
import re
import sys
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from codec.types import UserError, shown

DEEP = re.compile("(RGB[AXa]?);16([BLN])")  # Pillow's names for what it gives the higher bytes of, and no more
OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
GREY = ("1", "L", "LA", "La", "I", "F")
MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}  # Pillow's modes by ICC's names of colour spaces
SAME = 2  # of 255: as far as rounding moves the colours of sRGB's own profiles
FULL, DARK = 65535, 2**14  # a TIFF whose 16 bits hold less than DARK holds 12 or 14, or is black
MAX_SAMPLE_VALUE, PHOTOMETRIC, WHITE_IS_ZERO = 281, 262, 0  # TIFF's tags, and a value of the second


def in_srgb(image: Image.Image) -> Image.Image:
    """An opened picture as RGB of 8 bits: its profile applied, deeper numbers rounded, transparent pixels over white.

    Raises UserError, in the words that follow its path, for numbers of which nothing says how bright they are.
    """
    colours, alpha = _eight_bits(image)
    transform = _fitting(image, colours.mode).transform
    if transform is not None:
        colours = transform.apply(colours.convert(transform.input_mode))
    colours = colours if colours.mode == "RGB" else colours.convert("RGB")
    return colours if alpha is None else Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha)


def is_opaque(image: Image.Image) -> bool:
    """Whether no pixel of an opened picture lets anything through, whatever its file could hold; errors as in_srgb."""
    if not image.has_transparency_data:
        return True
    _, alpha = _eight_bits(image)
    return alpha is None or alpha.getextrema() == (255, 255)


def said_of_profile(image: Image.Image) -> str | None:
    """What in_srgb does about the profile of an opened picture, whose pixels are not read; None for nothing."""
    return _fitting(image, image.mode).said


def _colours_of(mode: str) -> str:
    return "L" if mode in GREY or mode.startswith("I;16") else "CMYK" if mode == "CMYK" else "RGB"


class _Fitted(NamedTuple):
    transform: ImageCms.ImageCmsTransform | None = None
    said: str | None = None


LEFT_ASIDE = _Fitted(said="a colour profile that does not fit it was left aside")


def _fitting(image: Image.Image, mode: str) -> _Fitted:
    """What the profile of a picture does to its colours, which are in a mode."""
    if "icc_profile" not in image.info:
        return _Fitted()
    profile = image.info["icc_profile"]
    return _fitted(profile, _colours_of(mode)) if profile else LEFT_ASIDE  # Pillow gives None for one that does not unpack


@lru_cache(maxsize=16)
def _fitted(profile: bytes, mode: str) -> _Fitted:
    """What a profile does to pictures of a mode, one of MODES."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        needs = MODES[source.profile.xcolor_space.strip()]
        if mode not in (needs, "L") or needs == "CMYK" != mode:
            raise ValueError
        transform = ImageCms.ImageCmsTransform(
            source, srgb, needs, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=ImageCms.Flags.BLACKPOINTCOMPENSATION
        )
    except (OSError, KeyError, ValueError, ImageCms.PyCMSError):
        return LEFT_ASIDE
    if needs != "CMYK" and _changes_nothing(transform):
        return _Fitted()
    name = ImageCms.getProfileDescription(source).strip() or "a profile without a name"
    return _Fitted(transform, f"colours brought from {shown(name)} to sRGB")


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether it moves no colour further than rounding does: so sRGB's many profiles are known, whatever they are called."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(colours if transform.input_mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    moved = np.asarray(transform.apply(probe), dtype=int) - np.asarray(probe.convert("RGB"), dtype=int)
    return bool(np.abs(moved).max() <= SAME)


def _eight_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours of a picture, of 8 bits each, and how opaque they are, of 8 bits; None where they are."""
    key, raw = image.info.get("transparency"), _raw_mode(image)
    numbers = _deep(image, raw)
    clear = _clear(image, key, raw, numbers)
    if numbers is not None:
        mode = "L" if numbers.ndim == 2 else image.mode
        image = Image.frombytes(mode, image.size, ((numbers.astype(np.uint32) + 128) // 257).astype(np.uint8).tobytes())
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or key is not None else "RGB")
    if image.mode in ("RGBa", "La"):
        image = image.convert(image.mode.upper())
    if clear is not None:
        return image, Image.fromarray(np.where(clear, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA"):
        return image.convert(image.mode.removesuffix("A")), image.getchannel("A")
    return image, None


def _raw_mode(image: Image.Image) -> str:
    """How the numbers lie in a file that is opened and not loaded, by Pillow's names; empty where that is not known."""
    tiles = image.tile if isinstance(image, ImageFile) else []
    arguments = tiles[0].args if tiles else None
    found = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return found if isinstance(found, str) else ""


def _clear(image: Image.Image, key: object, raw: str, numbers: np.ndarray | None) -> np.ndarray | None:
    """Where a picture has the colour that stands for transparency, bool [H, W]; None where it has no such colour."""
    if not isinstance(key, (int, tuple)) or image.mode not in ("1", "L", "I;16", "RGB"):
        return None
    found = np.asarray(image) if numbers is None else numbers
    wanted = np.array(key)
    if raw in ("L;2", "L;4"):  # Pillow spreads these numbers over 8 bits, and not the key
        wanted = wanted * (255 // (2 ** int(raw[-1]) - 1))
    elif image.mode == "1":
        wanted = wanted > 0
    return (found == wanted).all(axis=-1) if found.ndim == 3 else found == wanted


def _deep(image: Image.Image, raw: str) -> np.ndarray | None:
    """The numbers of a picture of more than 8 bits from 0 to 65535, [H, W] or [H, W, C]; None for any other."""
    if DEEP.fullmatch(raw) and isinstance(image, ImageFile):
        return _by_range(_both_bytes(image), image)
    if image.mode == "F":
        floats = np.asarray(image)
        if not (floats.min() >= 0 and floats.max() <= 1):  # nor is NaN
            raise UserError(
                f"holds floating-point numbers from {floats.min():g} to {floats.max():g}; expected 0 to 1; scale them, or "
                "save it with 8 bits"
            )
        return _by_range(np.rint(floats * FULL), image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _by_range(np.asarray(image), image)
    return None


def _both_bytes(image: ImageFile) -> np.ndarray:
    """The 16-bit numbers [H, W, C] of which Pillow leaves the lower bytes out: the file is read once more for them."""
    assert image.fp is not None
    place = image.fp.tell()
    image.fp.seek(0)
    twin = Image.open(io.BytesIO(image.fp.read()), formats=[image.format or ""])
    image.fp.seek(place)
    assert isinstance(twin, ImageFile)
    twin.tile = [tile._replace(args=_of_other_end(tile.args)) for tile in twin.tile]
    return np.asarray(image).astype(np.uint16) << 8 | np.asarray(twin)


def _of_other_end(arguments: Any) -> Any:
    if isinstance(arguments, tuple):
        return (_of_other_end(arguments[0]), *arguments[1:])
    return DEEP.sub(lambda found: f"{found[1]};16{OTHER_END[found[2]]}", str(arguments))


def _by_range(numbers: np.ndarray, image: Image.Image) -> np.ndarray:
    """Numbers from 0 to 65535, as bright as they are meant. Raises UserError where nothing says how bright that is."""
    least, most = int(numbers.min()), int(numbers.max())
    if least < 0 or most > FULL:
        raise UserError(f"holds numbers from {least} to {most}; expected 0 to {FULL}; scale them, or save it with 8 bits")
    if not isinstance(image, TiffImageFile):
        return numbers
    told = image.tag_v2.get(MAX_SAMPLE_VALUE)
    if told is not None:
        numbers = np.minimum(numbers * (FULL / max(1, *np.atleast_1d(told))), FULL)
    elif 0 < most < DARK:
        raise UserError(
            f"holds {most} at most, as if its 16 bits were {most.bit_length()}; expected up to {FULL}, or the tag "
            "MaxSampleValue; scale them, or save it with 8 bits"
        )
    return FULL - numbers if image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO else numbers
