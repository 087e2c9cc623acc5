"""Reading PNG files of labels as others write them: grey, palette, 16 bits, or ids in three channels."""

from pathlib import Path

import numpy as np
from PIL import Image

from codec.types import UserError
from data.metadata import turn_of, upright

GREY = ("1", "L", "P", "I;16", "I;16B", "I")  # one integer a pixel; of a palette it is the place in it


def read_labels(path: Path) -> np.ndarray:
    """The label of each pixel, integers [H, W], upright as pictures are; of three channels R + 256 G + 65536 B.

    Raises UserError for a file that is missing, damaged, or has other channels.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            mode, pixels = image.mode, np.array(upright(image, turn_of(image)))
    except FileNotFoundError:
        raise UserError(f"no file at {path}; expected a PNG of labels") from None
    except MemoryError:
        raise
    except Exception as error:  # whatever its bytes lead a reader into, it is the file that is wrong
        raise UserError(f"{path} is no PNG that can be read ({' '.join(str(error).split())}); expected labels") from None
    if mode in GREY:
        return pixels.astype(np.int32)
    if mode == "RGB":  # in integers: packed as floats, ids that differ in the smallest channel become one
        red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
        return red + 256 * green + 65536 * blue
    raise UserError(f"{path} is of mode {mode}; expected labels in one channel, or in red, green and blue")
