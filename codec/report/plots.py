"""Rate-distortion points beside the curves of others, and the rate of a training over its steps."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from codec.evaluation.results import Results, over_same_pictures
from codec.metrics.published import published_curves
from codec.report.lettering import legend, lettering
from codec.types import MADE_BY

SHIPPED_RESULTS = Path(__file__).parents[1] / "shipped"
COLORS, MARKERS = ("black", "tab:purple", "tab:brown", "tab:cyan", "tab:olive"), "osD^vP"  # of learned codecs, in turn


def _shipped_results(learned: Sequence[Results]) -> list[Results]:
    """The shipped codec's own results on the set of others, where they ship and it is none of these itself."""
    path = SHIPPED_RESULTS / f"{learned[0].dataset}.json"
    shipped = [Results.read(path)] if path.exists() else []
    bundles = {one.made_by.get("bundle") for one in learned}
    return [one for one in shipped if one.made_by.get("bundle") not in bundles]


def write_rd_plot(learned: Sequence[Results], classical: Sequence[Results], path: Path) -> None:
    """PSNR over bits per pixel: learned codecs as points joined by name, the others as lines, the shipped codec.

    Points of one codec that share a lambda, as those of several seeds do, are not joined. The others are the classical
    codecs, solid, and what was published on the set, dashed.
    """
    dataset = learned[0].dataset
    same, told = over_same_pictures([*learned, *classical, *_shipped_results(learned)])
    title = f"{dataset}: {len(learned[0].points[0].images)} pictures" + (f"\nPSNR {told}" if told else "")
    num = len(learned)
    with lettering([title, *(one.name for one in same)]):
        _write(same[:num], same[num : num + len(classical)], same[num + len(classical) :], title, path)


def _write(
    learned: Sequence[Results], classical: Sequence[Results], shipped: Sequence[Results], title: str, path: Path
) -> None:
    """Write the plot of learned, classical and shipped codecs, the last if it is there, over the same pictures, to path."""
    import matplotlib  # here: half a second that not every command needs

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 5), dpi=150, layout="constrained")
    entries = []  # of the legend
    for other in filter(Results.curve, classical):  # a lossless one has none
        (line,) = axes.plot(*np.array(other.curve()).T, "-", marker=".", linewidth=1.2, alpha=0.8)
        entries.append((line, other.name))
    for name, published in published_curves(learned[0].dataset).items():
        (line,) = axes.plot(*np.array(published).T, "--", linewidth=1, alpha=0.8)
        entries.append((line, f"{name}, published"))
    entries += _draw_learned(axes, learned)
    for result in shipped:
        (line,) = axes.plot(*np.array(result.curve()).T, "-*", color="crimson", linewidth=1, markersize=9, zorder=6)
        entries.append((line, "the shipped codec"))
    points = [point for result in (*learned, *shipped) for point in result.curve()]
    axes.set_xlim(0, max(1.2, 1.3 * max((bpp for bpp, _ in points), default=0)))
    curves = [result.curve() for result in (*classical, *learned)]
    visible = [quality for curve in curves for bpp, quality in curve if bpp <= axes.get_xlim()[1]]
    if visible:
        axes.set_ylim(min(visible) - 0.5, max(visible) + 0.5)
        legend(axes, entries, loc="lower right", fontsize="small")
    axes.set_xlabel("bits per pixel, of files written")
    axes.set_ylabel("PSNR in dB, RGB of 8 bits, mean over pictures")
    axes.set_title(title, parse_math=False, wrap=True)  # a folder gives its set any name
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata=dict([MADE_BY]))
    plt.close(figure)


def _draw_learned(axes: Any, learned: Sequence[Results]) -> list[tuple[Any, str]]:
    """Draw each codec in a color of its own, with its lambdas, if not every picture came back exactly; the legend's entries."""
    entries = []
    by_name: dict[str, list[tuple[float, float, str]]] = {}
    for result in learned:
        for point in result.points:
            lmbda, bpp, quality = point.setting.get("lmbda"), point.mean("file_bpp"), point.mean("psnr")
            if bpp is not None and quality is not None:
                by_name.setdefault(result.name, []).append((bpp, quality, "" if lmbda is None else f"λ {lmbda:.3g}"))
    for (name, points), color, marker in zip(sorted(by_name.items()), cycle(COLORS), cycle(MARKERS), strict=False):
        points.sort()
        rates, qualities, labels = zip(*points, strict=True)
        one_each = len(set(labels)) == len(labels)
        (line,) = axes.plot(rates, qualities, marker + ("-" if one_each else ""), color=color, markersize=7, zorder=5)
        entries.append((line, name))
        if one_each:
            for bpp, quality, label in points:
                axes.annotate(label, (bpp, quality), xytext=(8, -12), textcoords="offset points", color=color)
    return entries


def write_rate_plot(log: Sequence[Mapping[str, str]], path: Path) -> None:
    """The rounded rate of each batch of a training over its target, and the running mean; log: of its RunFolder.

    By their targets batches of several levels compare, too.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = [row for row in log if row["train/quantized_bpp"] and row["train/target_bpp"]]
    steps, rates, targets = (
        np.array([float(row[key]) for row in rows]) for key in ("step", "train/quantized_bpp", "train/target_bpp")
    )
    ratios, window = rates / targets, max(1, len(rates) // 10)
    last = targets[-window:]
    told = f"{last[-1]:g}" if len(set(last)) == 1 else f"{last.min():.3g} to {last.max():.3g}"
    figure, axes = plt.subplots(figsize=(7.2, 3.6), dpi=150, layout="constrained")
    axes.plot(steps, ratios, ".", alpha=0.5, label="batches that were logged")
    axes.plot(steps[window - 1 :], np.convolve(ratios, np.ones(window) / window, "valid"), label=f"mean of the last {window}")
    axes.axhline(1.0, color="k", linestyle="--", label=f"target, {told} bpp in the end")
    axes.set_ylim(0, 1.2 * max(np.quantile(ratios, 0.9), min(1.0, ratios.max())))  # a far target stays outside
    axes.set_xlabel("step")
    axes.set_ylabel("rate of rounded latents / target")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata=dict([MADE_BY]))
    plt.close(figure)
