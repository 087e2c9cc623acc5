"""The figures of a report for papers: PNG, SVG and PDF, each codec in its colour and marker, the legend outside the data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codec.report.curves import KINDS, LESS_IS_BETTER, QUANTITIES, Curve
from codec.report.style import Style
from codec.types import MADE_BY

MARKERS = {
    "circle": "o", "square": "s", "diamond": "D", "triangle": "^", "down": "v", "star": "*", "plus": "P", "cross": "X",
    "hexagon": "h", "left": "<", "right": ">",
}  # fmt: skip
LINES = {"solid": "-", "dashed": "--", "dashdot": "-."}
FORMATS = {"png": {"Software": MADE_BY[1]}, "svg": {"Creator": MADE_BY[1], "Date": None}, "pdf": {"Creator": MADE_BY[1]}}


def _limits(curves: Sequence[Curve], quantity: str) -> tuple[float, float]:
    """The highest rate of the trained codecs, or of all where there is none, with room; the rest lies outside."""
    leading = [curve for curve in curves if curve.kind == "trained" and curve.points] or list(curves)
    return 0.0, 1.15 * max(point.values["bpp"] for curve in leading for point in curve.points if quantity in point.values)


def _draw(axes: Any, curve: Curve, quantity: str, style: Style) -> None:
    points = [point for point in curve.points if quantity in point.values]
    finished, others = ([p for p in points if bool(p.told) is told] for told in (False, True))
    rates, values = ([p.values[name] for p in points] for name in ("bpp", quantity))
    trained = curve.kind == "trained"
    look = {"color": style.colour, "linewidth": 1.8 if trained else 1.2, "zorder": 4 if trained else 3}
    axes.plot(rates, values, LINES[style.line], **look)
    for some, face in ((finished, style.colour), (others, "white")):
        axes.plot(
            [p.values["bpp"] for p in some], [p.values[quantity] for p in some], MARKERS[style.marker], color=style.colour,
            markerfacecolor=face, markersize=6.5 if trained else 5, zorder=5,
        )  # fmt: skip
    name = curve.name if finished or not points else f"{curve.name} (not finished)"
    axes.plot([], [], LINES[style.line] + MARKERS[style.marker], label=name, **look)  # what the legend shows


def write_figures(curves: Sequence[Curve], styles: Mapping[str, Style], folder: Path) -> list[Path]:
    """Write a plot over the rate of each quantity that the shown codecs of a set have: folder/SET_QUANTITY in all formats."""
    written = []
    for quantity in QUANTITIES:
        drawn = [curve for curve in curves if curve.shown and any(quantity in point.values for point in curve.points)]
        if drawn:
            drawn.sort(key=lambda curve: KINDS.index(curve.kind))
            written += _write(drawn, quantity, styles, folder / f"{drawn[0].dataset}_{quantity}")
    return written


def _write(curves: Sequence[Curve], quantity: str, styles: Mapping[str, Style], stem: Path) -> list[Path]:
    import matplotlib  # here: half a second that not every command needs

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "codec"}):
        figure, axes = plt.subplots(figsize=(7.2, 4.2), dpi=200, layout="constrained")
        for curve in curves:
            _draw(axes, curve, quantity, styles[curve.name])
        low, high = _limits(curves, quantity)
        within = [p.values[quantity] for c in curves for p in c.points if quantity in p.values and p.values["bpp"] <= high]
        room = 0.05 * (max(within) - min(within)) or 1.0
        axes.set_xlim(low, high)
        axes.set_ylim(max(min(within) - room, 0 if quantity in LESS_IS_BETTER else min(within) - room), max(within) + room)
        axes.set_xlabel("bits per pixel")
        axes.set_ylabel(QUANTITIES[quantity])
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize="small", handlelength=3)
        for text in legend.get_texts():
            text.set_parse_math(False)  # a folder gives its set any name, and a run its own
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in FORMATS]
        for path, metadata in zip(paths, FORMATS.values(), strict=True):
            figure.savefig(path, metadata=metadata)
        plt.close(figure)
    return paths
