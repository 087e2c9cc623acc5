"""The figures of a report for papers: PNG, SVG and PDF, each codec in its colour and marker, the legend below the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codec.report.curves import KINDS, LESS_IS_BETTER, Curve
from codec.report.lettering import legend, lettering
from codec.report.points import QUANTITIES
from codec.report.style import Style
from codec.types import MADE_BY

MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle": "^", "down": "v", "star": "*", "plus": "P", "cross": "X",
    "hexagon": "h", "left": "<", "right": ">",
}  # fmt: skip
LINES = {"solid": "-", "dashed": "--", "dashdot": "-."}
COLUMNS = 2  # of the legend: names of papers are long
FORMATS = {"png": {"Software": MADE_BY[1]}, "svg": {"Creator": MADE_BY[1], "Date": None}, "pdf": {"Creator": MADE_BY[1]}}


def _places(curve: Curve, quantity: str, across: str) -> list[tuple[float, float]]:
    return [at for point in curve.points if (at := point.at(quantity, across)) is not None]


def _limits(curves: Sequence[Curve], quantity: str, across: str) -> tuple[float, float]:
    """What of the abscissa the trained codecs take, or all where there is none, with room; a rate begins at 0."""
    leading = [c for c in curves if c.kind == "trained" and _places(c, quantity, across)] or list(curves)
    found = [at[0] for curve in leading for at in _places(curve, quantity, across)]
    return (0.0, 1.15 * max(found)) if across == "bpp" else (min(found) - 0.5, max(found) + 0.5)


def _draw(axes: Any, curve: Curve, quantity: str, across: str, style: Style) -> tuple[Any, str]:
    """Draw a curve; what the legend shows of it. quantity over across: see CurvePoint.at."""
    points = [(point, at) for point in curve.points if (at := point.at(quantity, across)) is not None]
    finished, others = ([at for p, at in points if bool(p.told) is told] for told in (False, True))
    trained = curve.kind == "trained"
    look = {"color": style.colour, "linewidth": 1.8 if trained else 1.2, "zorder": 4 if trained else 3}
    axes.plot([x for _, (x, _) in points], [y for _, (_, y) in points], LINES[style.line], **look)
    for some, face in ((finished, style.colour), (others, "white")):
        axes.plot(
            [x for x, _ in some], [y for _, y in some], MARKERS[style.marker], color=style.colour, markerfacecolor=face,
            markersize=6.5 if trained else 5, zorder=5,
        )  # fmt: skip
    for point, place in points if across == "psnr" else []:
        axes.annotate(point.of_target, place, xytext=(6, 3), textcoords="offset points", fontsize=6.5, parse_math=False)
    name = curve.name if finished or not points else f"{curve.name} (not finished)"
    if quantity in curve.networks:
        name += f" ({QUANTITIES[quantity]} by {curve.networks[quantity]})"
    return axes.plot([], [], LINES[style.line] + MARKERS[style.marker], **look)[0], name


def write_figures(curves: Sequence[Curve], styles: Mapping[str, Style], folder: Path) -> list[Path]:
    """Write a plot of each quantity that the shown codecs of a set have, over the rate: folder/SET_QUANTITY in all formats.

    Perception also over distortion (Blau and Michaeli 2018), as folder/SET_QUANTITY_over_psnr.
    """
    written = []
    for quantity, across in [*((name, "bpp") for name in QUANTITIES), *((name, "psnr") for name in LESS_IS_BETTER)]:
        drawn = [c for c in curves if c.shown and _places(c, quantity, across)]
        if drawn:
            drawn.sort(key=lambda curve: KINDS.index(curve.kind))
            name = f"{drawn[0].dataset}_{quantity}" + ("" if across == "bpp" else f"_over_{across}")
            written += _write(drawn, quantity, across, styles, folder / name)
    return written


def _write(curves: Sequence[Curve], quantity: str, across: str, styles: Mapping[str, Style], stem: Path) -> list[Path]:
    import matplotlib  # here: half a second that not every command needs

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    texts = [text for curve in curves for text in (curve.name, *curve.over.values())]
    with plt.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "codec"}), lettering(texts):
        rows = -(-len(curves) // COLUMNS)
        figure, axes = plt.subplots(figsize=(7.2, 4.2 + 0.2 * rows), dpi=200, layout="constrained")
        entries = [_draw(axes, curve, quantity, across, styles[curve.name]) for curve in curves]
        low, high = _limits(curves, quantity, across)
        within = [y for curve in curves for x, y in _places(curve, quantity, across) if low <= x <= high]
        room = 0.05 * (max(within) - min(within)) or 1.0
        axes.set_xlim(low, high)
        floor = 0 if quantity in LESS_IS_BETTER and min(within) >= 0 else min(within) - room  # KID's estimate may lie below 0
        axes.set_ylim(max(min(within) - room, floor), max(within) + room)
        axes.set_xlabel("bits per pixel" if across == "bpp" else QUANTITIES[across])
        axes.set_ylabel(QUANTITIES[quantity])
        for told in dict.fromkeys(curve.over[quantity] for curve in curves if quantity in curve.over):
            axes.set_title(f"measured codecs: {told}", fontsize="small", parse_math=False, wrap=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        legend(figure, entries, loc="outside lower center", ncols=COLUMNS, frameon=False, fontsize="small", handlelength=3)
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in FORMATS]
        for path, metadata in zip(paths, FORMATS.values(), strict=True):
            figure.savefig(path, metadata=metadata)
        plt.close(figure)
    return paths
