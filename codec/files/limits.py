"""How many pixels a picture may have, as the codec pads it."""

import math

from codec.files.container import MAX_PIXELS
from codec.models.base import Codec
from codec.types import UserError


def padded_pixels(model: Codec, height: int, width: int) -> int:
    """Pixels of a picture whose sides are padded as the codec's networks take them."""
    return math.prod(model.latent_size(height, width)) * model.latent_stride**2


def check_pixels(model: Codec, height: int, width: int, limit: int = MAX_PIXELS) -> None:
    """Raise UserError for a picture of more pixels, padding included, than `limit`."""
    padded = padded_pixels(model, height, width)
    if padded > limit:
        raise UserError(
            f"a picture of {width}x{height}, which the codec pads to {padded} pixels; expected at most {limit}; "
            f"{'cut it into parts' if limit == MAX_PIXELS else 'allow more with --max-pixels'}"
        )
