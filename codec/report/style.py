"""How each codec looks in all figures of a report: a colour that colour-blind people tell apart, a marker, and a line.

Colours: Okabe and Ito 2008, without yellow, which white paper swallows. No two codecs share colour and marker.
"""

from collections.abc import Sequence
from typing import NamedTuple

from codec.report.curves import Curve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#2B2B2B", "#CC79A7", "#E69F00", "#56B4E9")
IN_THE_DARK = ("#4BA3E3", "#FF7F3F", "#2FC49A", "#F0F0F0", "#E59AC6", "#F2B434", "#9BD7F7")
MARKERS = ("circle", "square", "diamond", "triangle", "down", "star", "plus", "cross", "hexagon", "left", "right")
LINES = {"trained": "solid", "classical": "dashdot", "foreign": "dashed", "published": "dashed"}
# Codecs that everybody knows look the same in every report, in the colours that trained ones take last; others take what is
# left, in their order.
KNOWN = {
    "JPEG": (3, 1), "WebP": (5, 3), "AVIF": (6, 2), "JPEG 2000": (4, 6), "JPEG XL": (5, 7), "HEIC": (6, 4),
    "WebP slowest": (5, 8), "AVIF default": (6, 8), "AVIF slowest": (6, 9),
    "VTM (CompressAI)": (3, 0), "VTM-17.0": (3, 2), "BPG 4:4:4": (5, 0), "HM": (6, 1), "AV1": (6, 0),
}  # fmt: skip


class Style(NamedTuple):
    """colour, dark: as #rrggbb on paper and on a dark screen. marker: one of MARKERS. line: solid, dashdot or dashed."""

    colour: str
    dark: str
    marker: str
    line: str


def styles_of(curves: Sequence[Curve]) -> dict[str, Style]:
    """A style for each name, the same on all sets."""
    kinds = {curve.name: curve.kind for curve in curves}
    pairs = [(k % len(COLOURS), k % len(MARKERS)) for k in range(len(COLOURS) * len(MARKERS))]  # coprime: all of them
    chosen = {name: KNOWN[plain] for name in kinds if (plain := name.removesuffix(", published")) in KNOWN}
    taken = set(KNOWN.values())
    left = [pair for pair in pairs if pair not in taken]
    for place, name in enumerate(name for name in kinds if name not in chosen):
        chosen[name] = left[place % len(left)]
    return {
        name: Style(COLOURS[colour], IN_THE_DARK[colour], MARKERS[marker], LINES[kinds[name]])
        for name, (colour, marker) in chosen.items()
    }
