"""Reading picture files as they come: upright, in sRGB of 8 bits, whatever else stands in them."""

import io
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from codec.types import UserError
from data.colour import in_srgb, said_of_profile
from data.formats import EXPECTED, formats, why_none
from data.metadata import turn_of, upright, upright_size, without_metadata

MAX_BROKEN = 0.01  # of a folder: more is a folder of something else
CACHE_BYTES = 2**28  # of decoded pictures, for each source in each process that loads
TAIL_BYTES = 4096  # a sound file's end marker lies in the last, unless something was appended to it
MAX_PIXELS = Image.MAX_IMAGE_PIXELS = 2**27  # as many as a .lic file may hold
BAND = 256  # rows of a picture that change hands at once
BARE = "without its metadata"  # marks a picture whose file was read so, in what Pillow calls its info

Seen = TypeVar("Seen")


class ImageFileError(UserError):
    """A file that is no picture. Keeps to one line when a loader's worker process passes it on with its traceback.

    fault: what is wrong, in a few words.
    """

    def __init__(self, message: str, fault: str = "broken"):
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())
        self.fault = fault


class Picture(NamedTuple):
    """What a file holds: uint8 [3, H, W], and what was done to it that its looks do not tell."""

    image: Tensor
    remarks: tuple[str, ...] = ()


class PictureCache:
    """The pictures, and their maps, that were used last, up to CACHE_BYTES."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> Tensor | None:
        if key in self._pictures:
            self._pictures.move_to_end(key)
        return self._pictures.get(key)

    def put(self, key: Hashable, picture: Tensor) -> None:
        self._pictures[key] = picture
        self._bytes += picture.nbytes
        while self._bytes > CACHE_BYTES:
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes


def look_at(path: Path, look: Callable[[Image.Image], Seen]) -> Seen:
    """What `look` finds in the picture of a file, which it gets opened: its header is read and its pixels are not.

    It gets it once more without metadata where Pillow fails with them.
    Raises UserError for a file that is missing, and ImageFileError for one that is no picture, cut, of more pixels than a
    .lic file may hold, or of such numbers as nothing says the brightness of.
    """
    try:
        return _opened(path, look)
    except FileNotFoundError:
        raise UserError(f"no file at {path}; expected a picture; check the path") from None
    except MemoryError:
        raise
    except UserError as error:
        raise ImageFileError(f"{path} {error}", str(error).partition(";")[0]) from None
    except Exception as error:  # whatever its bytes lead a reader into, it is the file that is wrong
        with suppress(Exception):
            for content in without_metadata(path):
                with suppress(Exception):
                    return _opened(io.BytesIO(content), look, bare=True)
        raise ImageFileError(
            f"{path} is no picture that can be read ({_reason(path, error)}); expected a sound {EXPECTED} file; replace or "
            "remove it"
        ) from None


def _opened(file: Path | io.BytesIO, look: Callable[[Image.Image], Seen], bare: bool = False) -> Seen:
    try:
        with Image.open(file, formats=formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"has {image.width}x{image.height} pixels; expected at most {MAX_PIXELS}; cut it into parts")
            if bare:
                image.info[BARE] = True
            return look(image)
    except Image.DecompressionBombError:
        raise UserError(f"has over {2 * MAX_PIXELS} pixels; expected at most {MAX_PIXELS}; cut it into parts") from None


def _reason(path: Path, error: Exception) -> str:
    """One line of why a file was not read; what Pillow raises where no format fits says nothing."""
    if isinstance(error, UnidentifiedImageError):
        return why_none(path)
    return " ".join(str(error).split()) or type(error).__name__


def eight_bit_rgb(image: Image.Image) -> Image.Image:
    """Upright RGB of 8 bits: profiles applied, deeper numbers rounded, transparent pixels over white.

    Raises UserError for numbers of which nothing says how bright they are, in the words that follow "the picture".
    """
    turn = turn_of(image)  # of the file: what is made of its pixels has no metadata
    return upright(in_srgb(image), turn)


def remarks(image: Image.Image) -> tuple[str, ...]:
    """What is done to an opened picture that its user may not expect; its pixels are not read."""
    frames = 1
    with suppress(Exception):  # of pictures that follow the one that is read, nothing can make this one unreadable
        frames = getattr(image, "n_frames", 1)
    said = [
        said_of_profile(image),
        f"the first of {frames} frames was taken" if frames > 1 else None,
        "metadata that cannot be read were left aside" if BARE in image.info else None,
    ]
    return tuple(filter(None, said))


def as_tensor(image: Image.Image) -> Tensor:
    """uint8 [3, H, W] of RGB; band by band, since Pillow's own way to NumPy takes three copies."""
    image.load()  # which turns a TIFF: its sides are known only then
    pixels = torch.empty(3, image.height, image.width, dtype=torch.uint8)
    for first in range(0, image.height, BAND):
        last = min(first + BAND, image.height)
        band = np.array(image.crop((0, first, image.width, last)))
        pixels[:, first:last] = torch.from_numpy(band).permute(2, 0, 1)
    return pixels


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of the picture in a file, upright, by its header; errors as look_at's."""
    width, height = look_at(path, upright_size)
    return height, width


def read_picture(path: Path) -> Picture:
    """The picture in a file, upright, in sRGB of 8 bits, over white where it is transparent; errors as look_at's."""

    def look(image: Image.Image) -> Picture:
        said = remarks(image)
        return Picture(as_tensor(eight_bit_rgb(image)), said)

    return look_at(path, look)


def read_image(path: Path) -> Tensor:
    """The picture in a file, uint8 [3, H, W]; see read_picture."""
    return read_picture(path).image


def count_remarks(said: Iterable[tuple[str, ...]]) -> str:
    """What was done to pictures, in one line with how many of them; empty for nothing."""
    return "; ".join(f"{count} of them: {remark}" for remark, count in Counter(chain.from_iterable(said)).most_common())


def _ends_well(path: Path) -> bool:
    """Whether the end of a file is where it should be, as far as that is told cheaply: False asks for a closer look."""
    with path.open("rb") as file:
        head = file.read(12)
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    if head[1:4] == b"PNG":
        return b"IEND" in tail
    return head[:2] != b"\xff\xd8" or b"\xff\xd9" in tail


def _map_fault(path: Path, width: int, height: int) -> str | None:
    """What is wrong with the region map of a picture of that size, or None."""
    try:
        found = look_at(path, partial(_sound_size, path=path))
    except ImageFileError:
        return "map broken" if path.stat().st_size else "map empty"
    except UserError:
        return "no map"
    return f"map of {found[0]}x{found[1]} for {width}x{height}" if found != (width, height) else None


def _sound_size(image: Image.Image, path: Path) -> tuple[int, int]:
    """Width and height, upright, of a picture that is whole as far as headers and ends say; else its pixels are read."""
    size = upright_size(image)
    if isinstance(image, TiffImageFile):  # of which neither ends nor headers say whether it is whole, and how bright
        eight_bit_rgb(image)
    elif not _ends_well(path):
        image.load()
    return size


def _fault(path: Path, min_side: int, map_path: Path | None = None) -> tuple[str | None, tuple[str, ...]]:
    """What is wrong with a file or with its map, or None; and what is done to the picture."""
    try:
        said, (width, height) = look_at(path, lambda image: (remarks(image), _sound_size(image, path)))
    except ImageFileError as error:
        return error.fault, ()
    if min(width, height) < min_side:
        return f"{width}x{height}", ()
    return None if map_path is None else _map_fault(map_path, width, height), said


def _inspected(paths: Sequence[Path], min_side: int, maps: Sequence[Path] | None = None) -> list[str | None]:
    """What is wrong with each file, or None. What will be done to the pictures is printed, in one line with counts."""
    with ThreadPoolExecutor(4) as pool:  # opening waits for the disk
        found = list(pool.map(_fault, paths, repeat(min_side), repeat(None) if maps is None else maps))
    if said := count_remarks(said for fault, said in found if fault is None):
        print(f"{len(paths)} pictures; {said}", flush=True)
    return [fault for fault, _ in found]


def _first(words: Sequence[str]) -> str:
    return ", ".join(words[:10]) + (f" and {len(words) - 10} more" if len(words) > 10 else "")


def check_whole(paths: Sequence[Path], setting: str) -> None:
    """Raise UserError, which names them, where files are no pictures; as far as audit tells, and without leaving any out.

    setting: what the user sets to name their folder.
    """
    faults = _inspected(paths, 1)
    bad = [f"{path.name} ({fault})" for path, fault in zip(paths, faults, strict=True) if fault is not None]
    if bad:
        raise UserError(
            f"{len(bad)} of {len(paths)} pictures cannot be read: {_first(bad)}; expected sound ones, since a set with "
            f"pictures left out is another set; mend or remove them, or set {setting}"
        )


def audit(paths: Sequence[Path], min_side: int, maps: Sequence[Path] | None = None) -> list[Path]:
    """The files that are whole and whose sides are at least min_side; the others are named in one warning.

    maps: the region map of each, or None; a file whose map is missing, broken or of another size is left out, too.
    Damage inside a file shows only when it is decoded: read_image names it then. What is done to pictures is printed.
    Raises UserError where all are too small, or more than 1 % are left out.
    """
    faults = _inspected(paths, min_side, maps)
    good = [path for path, fault in zip(paths, faults, strict=True) if fault is None]
    bad = [f"{path.name} ({fault})" for path, fault in zip(paths, faults, strict=True) if fault is not None]
    if not bad:
        return good
    named = _first(bad)
    if not good and all(fault is not None and fault[0].isdigit() for fault in faults):
        raise UserError(
            f"a crop of {min_side} is larger than every one of {len(paths)} pictures: {named}; set a smaller data.crop"
        )
    if len(bad) > MAX_BROKEN * len(paths):
        unmapped = "" if maps is None else " or have no map of their size"
        raise UserError(
            f"{len(bad)} of {len(paths)} pictures are broken or smaller than {min_side}{unmapped}: {named}; expected at "
            "most 1 %; mend or remove them, or set a smaller data.crop"
        )
    warnings.warn(f"{len(bad)} of {len(paths)} pictures are left out: {named}", stacklevel=2)
    return good
