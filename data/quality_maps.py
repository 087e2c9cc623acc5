"""Where a picture shall be better: a map of quality, painted, or made of some regions of a map.

H W height and width of the picture.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from codec.types import UserError
from data.colour import is_opaque
from data.images import as_tensor, eight_bit_rgb, look_at
from data.regions import map_path, read_map

GREY = 8  # of 255: as far as a JPEG's channels of a grey pixel lie apart


def quality_maps(pictures: Path, maps: Path, regions: Sequence[int] | None) -> Callable[[Path], Tensor]:
    """What gives the map of a picture's file, as read_quality_map does.

    pictures: one of them or a folder; maps: its map, or a folder of theirs, named as `codec masks` does.
    Raises UserError for a folder beside a file.
    """
    if pictures.is_dir() != maps.is_dir():
        given = "a folder" if maps.is_dir() else "no folder"
        expected = "a folder of maps for a folder of pictures, and one map for one picture"
        raise UserError(f"--roi {maps}, which is {given}, for {pictures}; expected {expected}; give another map")
    if not pictures.is_dir():
        return lambda path: read_quality_map(maps, regions)
    return lambda path: read_quality_map(map_path(maps, str(path.relative_to(pictures))), regions)


def read_quality_map(path: Path, regions: Sequence[int] | None = None) -> Tensor:
    """The map in a file, uint8 [H, W]: white for all that is to be better.

    regions: of a map as `codec masks` writes it, the ids of those that are white; None: it is a picture, painted grey.
    Raises UserError for a file that is missing or no such map, and for a region that it does not have.
    """
    if not path.exists():
        raise UserError(f"no map of quality at {path}; expected one of the picture, as --roi says; check the path")
    if regions is None:
        return look_at(path, painted_map)
    ids = read_map(path)
    there = ids.unique().tolist()
    if missing := sorted(set(regions) - set(there)):
        raise UserError(
            f"no region {missing[0]} in {path}, which has {len(there)}, from {there[0]} to {there[-1]}; expected some of them; "
            "say --roi-regions with others"
        )
    return torch.isin(ids, torch.tensor(regions)).to(torch.uint8) * 255


def painted_map(image: Image.Image) -> Tensor:
    """The map that a picture is, uint8 [H, W], upright, whatever its mode: white for all that is to be better.

    Raises UserError, in the words that follow "the map", for one with colours, transparent pixels or none at all, and as
    without_ones.
    """
    if not image.width * image.height:
        raise UserError(f"is of {image.width}x{image.height} pixels; expected the picture's size; give a map of the picture")
    if not is_opaque(image):
        raise UserError("has transparent pixels; expected a map painted from black to white, without any; flatten it")
    pixels = as_tensor(eight_bit_rgb(image))
    if int((pixels.amax(0) - pixels.amin(0)).max()) > GREY:
        raise UserError("has colours; expected a map painted from black, as good as asked, to white, better; make it grey")
    return without_ones(pixels[1].clone())


def without_ones(quality_map: Tensor) -> Tensor:
    """The same map, uint8 [H, W].

    Raises UserError, in the words that follow "the map", for a mask of 0 and 1, both of which are black.
    """
    if quality_map.numel() and int(quality_map.max()) == 1:
        raise UserError("has 0 and 1 alone, and white is 255; expected 0 to 255, or a mask of bool; multiply it by 255")
    return quality_map
