"""Rate-distortion points beside the curves of others, and the rate of a training over its steps."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from codec.evaluation.results import Results, over_same_pictures
from codec.metrics.published import published_curves
from codec.types import MADE_BY

SHIPPED_RESULTS = Path(__file__).parents[1] / "shipped"
COLORS, MARKERS = ("black", "tab:purple", "tab:brown", "tab:cyan", "tab:olive"), "osD^vP"  # of learned codecs, in turn


def _shipped_results(dataset: str) -> Results | None:
    """The shipped codec's own results on that set, where they ship."""
    path = SHIPPED_RESULTS / f"{dataset}.json"
    return Results.read(path) if path.exists() else None


def write_rd_plot(learned: Sequence[Results], classical: Sequence[Results], path: Path) -> None:
    """PSNR over bits per pixel: learned codecs as points joined by name, the others as lines, the shipped codec.

    Points of one codec that share a lambda, as those of several seeds do, are not joined. The others are the classical
    codecs, solid, and what was published on the set, dashed.
    """
    import matplotlib  # here: half a second that not every command needs

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    dataset, num_pictures = learned[0].dataset, len(learned[0].points[0].images)
    shipped = _shipped_results(dataset)
    same, told = over_same_pictures([*learned, *classical, *([] if shipped is None else [shipped])])
    learned, classical = same[: len(learned)], same[len(learned) : len(learned) + len(classical)]
    figure, axes = plt.subplots(figsize=(7.2, 5), dpi=150, layout="constrained")
    for other in filter(Results.curve, classical):  # a lossless one has none
        axes.plot(*np.array(other.curve()).T, "-", marker=".", linewidth=1.2, alpha=0.8, label=other.name)
    for name, published in published_curves(dataset).items():
        axes.plot(*np.array(published).T, "--", linewidth=1, alpha=0.8, label=f"{name}, published")
    _draw_learned(axes, learned)
    if shipped is not None:
        shipped = same[-1]
        curve = np.array(shipped.curve()).T
        axes.plot(*curve, "-*", color="crimson", linewidth=1, markersize=9, label="the shipped codec", zorder=6)
    points = [point for result in (*learned, *([] if shipped is None else [shipped])) for point in result.curve()]
    axes.set_xlim(0, max(1.2, 1.3 * max((bpp for bpp, _ in points), default=0)))
    curves = [result.curve() for result in (*classical, *learned)]
    visible = [quality for curve in curves for bpp, quality in curve if bpp <= axes.get_xlim()[1]]
    if visible:
        axes.set_ylim(min(visible) - 0.5, max(visible) + 0.5)
        axes.legend(loc="lower right", fontsize="small")
    axes.set_xlabel("bits per pixel, of files written")
    axes.set_ylabel("PSNR in dB, RGB of 8 bits, mean over pictures")
    title = f"{dataset}: {num_pictures} pictures" + (f"\nPSNR {told}" if told else "")
    axes.set_title(title, parse_math=False, wrap=True)  # a folder gives its set any name
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata=dict([MADE_BY]))
    plt.close(figure)


def _draw_learned(axes: Any, learned: Sequence[Results]) -> None:
    """The points of each codec in a color of its own, with their lambdas; none where every picture came back exactly."""
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
        axes.plot(rates, qualities, marker + ("-" if one_each else ""), color=color, markersize=7, label=name, zorder=5)
        if one_each:
            for bpp, quality, label in points:
                axes.annotate(label, (bpp, quality), xytext=(8, -12), textcoords="offset points", color=color)


def write_rate_plot(log: Sequence[Mapping[str, str]], path: Path) -> None:
    """The rounded rate of each batch of a training over its target, and the running mean; log: of its RunFolder.

    By their targets batches of several levels compare, too.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    rows = [row for row in log if row["train/quantized_bpp"]]
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
