"""The points of a validation: what a log has of rate and quality, at the codec's one rate or at each level that was looked at.

Their means over levels are no point: rate and PSNR average on different scales, and the pair lies below the codec's own curve.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

OF_LEVEL = re.compile(r"val/bpp_level_(\d+)")


class Validated(NamedTuple):
    """Means over the validation's pictures: the estimated rate, PSNR in dB. level: None of a codec of one rate."""

    level: int | None
    bpp: float
    psnr: float


def validated(values: Mapping[str, Any]) -> tuple[Validated, ...]:
    """The points in what was logged at one step, by its names, from low to high level; those alone that are numbers."""
    levels = sorted(int(found[1]) for name in values if (found := OF_LEVEL.fullmatch(name)))
    at: list[int | None] = [*levels] if levels else [None]
    points = []
    for level in at:
        end = "" if level is None else f"_level_{level}"
        points.append(Validated(level, _number(values.get(f"val/bpp{end}")), _number(values.get(f"val/psnr{end}"))))
    return tuple(point for point in points if math.isfinite(point.bpp + point.psnr))


def _number(value: Any) -> float:
    """Of a log's text, a tensor or a number; NaN where there is none."""
    return math.nan if value is None or value == "" else float(value)
