"""Reading picture files as they come: any orientation, grey, with alpha, 16 bits deep."""

import struct
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from codec.types import UserError
from data.manifest import holds_maps

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
MAX_BROKEN = 0.01  # of a folder: more is a folder of something else
CACHE_BYTES = 2**28  # of decoded pictures, for each source in each process that loads
TAIL_BYTES = 4096  # a sound file's end marker lies there, unless something was appended to it
MAX_PIXELS = Image.MAX_IMAGE_PIXELS = 2**27  # as many as a .lic file may hold

# What Pillow raises for damaged files: UnidentifiedImageError is an OSError, DecompressionBombError is of its own.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


class BrokenImageError(UserError):
    """A file that does not decode. Keeps to one line when a loader's worker process passes it on with its traceback."""

    def __init__(self, message: str):
        super().__init__(message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip())


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


def _without_maps(root: Path, paths: Sequence[Path]) -> list[Path]:
    """The files that lie in no folder of region maps below root."""
    folders = {folder for folder in {path.parent for path in paths if path.suffix == ".png"} if folder != root}
    folders |= {above for folder in folders for above in folder.parents if root in above.parents}
    maps = {folder for folder in folders if holds_maps(folder)}
    return [path for path in paths if maps.isdisjoint(path.parents)] if maps else list(paths)


def list_images(root: Path, setting: str = "data.root") -> list[Path]:
    """The JPEG, PNG and WebP files below a folder, sorted; maps of regions that were made there are no pictures.

    setting: what the user sets to name the folder, for messages.
    Raises UserError where the folder is missing or holds none.
    """
    if not root.is_dir():
        raise UserError(f"no folder at {root}; expected a folder of JPEG, PNG or WebP files; set {setting}")
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    paths = _without_maps(root, paths)
    if not paths:
        raise UserError(f"no pictures in {root}; expected JPEG, PNG or WebP files there or below; set {setting}")
    return paths


def _eight_bit_rgb(image: Image.Image) -> Image.Image:
    """Upright RGB of 8 bits; transparent pixels over white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit grey, which Pillow would clip
        deep = np.asarray(image, dtype=np.int64)
        image = Image.fromarray(((deep + 128) // 257).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def read_image(path: Path) -> Tensor:
    """The picture in a file, uint8 [3, H, W].

    Turned as its EXIF says, grey spread to three channels, transparency over white, 16 bits brought to 8.
    Raises UserError for a file that is missing, no picture, cut, or of more pixels than a .lic file may hold.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"{path} has {image.width}x{image.height} pixels; expected at most {MAX_PIXELS}; cut it into parts"
                )
            pixels = np.array(_eight_bit_rgb(image))
    except FileNotFoundError:
        raise UserError(f"no file at {path}; expected a picture; check the path") from None
    except UserError:  # which is a ValueError, as Pillow's are
        raise
    except BROKEN as error:
        raise BrokenImageError(
            f"{path} is no picture that can be read ({' '.join(str(error).split())}); expected a sound JPEG, PNG or "
            "WebP file; replace or remove it"
        ) from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _ends_well(path: Path) -> bool:
    """Whether the end of a JPEG, PNG or WebP file is where it should be: False asks for a closer look."""
    with path.open("rb") as file:
        head = file.read(12)
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
    if head[:4] == b"RIFF":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    return (b"IEND" if head[1:4] == b"PNG" else b"\xff\xd9") in tail


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened file as read_image gives it; its pixels are not read."""
    width, height = image.size
    turned = "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (height, width) if turned else (width, height)


def _map_fault(path: Path, width: int, height: int) -> str | None:
    """What is wrong with the region map of a picture of that size, or None."""
    try:
        with Image.open(path) as image:
            found = image.size
            if not _ends_well(path):
                image.load()
    except FileNotFoundError:
        return "no map"
    except BROKEN:
        return "map broken" if path.stat().st_size else "map empty"
    return f"map of {found[0]}x{found[1]} for {width}x{height}" if found != (width, height) else None


def _fault(path: Path, min_side: int, map_path: Path | None = None) -> str | None:
    """What is wrong with a file or with its map, or None. Only headers and ends are read, unless an end is odd."""
    try:
        with Image.open(path) as image:
            width, height = image.size if map_path is None else upright_size(image)
            if not _ends_well(path):
                image.load()
    except BROKEN:
        return "broken"
    if min(width, height) < min_side:
        return f"{width}x{height}"
    return None if map_path is None else _map_fault(map_path, width, height)


def audit(paths: Sequence[Path], min_side: int, maps: Sequence[Path] | None = None) -> list[Path]:
    """The files that are whole and whose sides are at least min_side; the others are named in one warning.

    maps: the region map of each, or None; a file whose map is missing, broken or of another size is left out, too.
    Damage inside a file shows only when it is decoded: read_image names it then.
    Raises UserError where all are too small, or more than 1 % are left out.
    """
    with ThreadPoolExecutor(4) as pool:  # opening waits for the disk
        faults = list(pool.map(_fault, paths, repeat(min_side), repeat(None) if maps is None else maps))
    good = [path for path, fault in zip(paths, faults, strict=True) if fault is None]
    bad = [f"{path.name} ({fault})" for path, fault in zip(paths, faults, strict=True) if fault is not None]
    if not bad:
        return good
    named = ", ".join(bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
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
