"""What a measurement looks like: a table, a rate-distortion plot, pictures side by side."""

import csv
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor

from codec.evaluation.classical import CLASSICAL
from codec.evaluation.results import ImageRow, Results, psnr_at_rate
from codec.files.bundle import Bundle
from codec.files.coding import decode
from codec.metrics.bd_rate import bd_rate
from codec.metrics.published import published_curves
from codec.metrics.quality import psnr
from codec.types import UserError
from data.testsets import TestImage

SHIPPED_RESULTS = Path(__file__).parents[1] / "shipped"
NUM_PICTURES = 3
WINDOW = 320  # pixels: the side of the part that a side-by-side picture shows
INK, PAPER = (32, 32, 32), (255, 255, 255)
COLORS, MARKERS = ("black", "tab:purple", "tab:brown", "tab:cyan", "tab:olive"), "osD^vP"  # of learned codecs, in turn


def print_table(ours: Results, others: Sequence[Results], console: Console) -> None:
    """A row a picture and their mean: our rates and quality, and the others' PSNR at the rate of our files."""
    point = ours.points[0]
    title = f"{ours.name} on {ours.dataset}: file sizes as written, quality as decoded"
    beside = f"\n{', '.join(other.name for other in others)}: PSNR in dB at the same bpp" if others else ""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=title + beside)
    for heading in ("picture", "bpp", "est.", "PSNR\ndB", "MS-SSIM\ndB", "s in, out"):
        is_name = heading == "picture"  # what gives way where a terminal is narrow
        table.add_column(heading, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    perceptual = [name for name in ("lpips", "niqe") if point.mean(name) is not None]
    for name in perceptual:
        table.add_column(name.upper(), justify="right", no_wrap=True)
    for other in others:
        table.add_column(other.name.replace(" ", "\n"), justify="right", no_wrap=True)

    def cells(name: str, row: dict[str, float | None], curves: Sequence[Sequence[tuple[float, float]]]) -> list[str]:
        def show(key: str, digits: int) -> str:
            value = row[key]
            return "-" if value is None else f"{value:.{digits}f}"

        rate = row["file_bpp"]
        assert rate is not None
        at_rate = ["-" if (v := psnr_at_rate(curve, rate)) is None else f"{v:.2f}" for curve in curves]
        own = [show("file_bpp", 3), show("estimated_bpp", 3), show("psnr", 2), show("ms_ssim_db", 2)]
        more = [show(key, 4 if key == "lpips" else 2) for key in perceptual]
        return [name, *own, f"{show('encode_seconds', 2)} {show('decode_seconds', 2)}", *more, *at_rate]

    for image in point.images:
        table.add_row(*cells(image.name, vars(image), [other.image_curve(image.name) for other in others]))
    table.add_section()
    table.add_row(*cells("mean", point.means(), [other.curve() for other in others]))
    console.print(table)
    _print_measures(ours, console)
    bpp, quality = point.mean("file_bpp"), point.mean("psnr")
    assert bpp is not None
    if quality is None:
        console.print(f"[bold]{bpp:.3f} bpp; every picture came back exactly[/bold]")
        return
    line = f"{quality:.2f} dB at {bpp:.3f} bpp"
    for other in others:
        reference = psnr_at_rate(other.curve(), bpp)
        if reference is not None:
            line += f"; {abs(quality - reference):.2f} dB {'above' if quality >= reference else 'below'} {other.name}"
    console.print(f"[bold]{line} at equal rate[/bold]" if others else f"[bold]{line}[/bold]", soft_wrap=True)


def _print_measures(ours: Results, console: Console) -> None:
    """A line a measure that was asked for: its value and network, or why there is none."""
    point = ours.points[0]
    for name, network in ours.measured_with.items():
        value = point.of_set.get(name) if name in ("fid", "kid") else point.mean(name)
        over = f" over {point.of_set['num_patches']:,} patches" if name in point.of_set else ""
        if value is not None:
            console.print(f"{name.upper()} {value:.4g}{over}, by {network}", soft_wrap=True)
    for name in ("lpips", "fid", "kid", "niqe"):
        if name in ours.not_computed:
            console.print(f"{name.upper()}: {ours.not_computed[name]}", soft_wrap=True)


def print_savings(learned: Sequence[Results], classical: Sequence[Results], console: Console) -> None:
    """What the curve of each codec of a sweep saves against every other curve of the set, or why that cannot be said."""
    others = {other.name: other.curve() for other in classical} | published_curves(learned[0].dataset)
    for name in dict.fromkeys(result.name for result in learned):
        ours = [point for result in learned if result.name == name for point in result.curve()]
        without: dict[str, list[str]] = {}  # the others by the reason why there is none
        for other, curve in others.items():
            try:
                saving = bd_rate(curve, ours)
            except UserError as error:
                without.setdefault(str(error), []).append(other)
            else:
                low, high = saving.interval
                console.print(f"{name}: BD-rate {saving.percent:+.1f} % against {other}, from {low:.1f} to {high:.1f} dB")
        for reason, against in without.items():
            console.print(f"{name}: no BD-rate against {', '.join(against)}: {reason}", soft_wrap=True)


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

    figure, axes = plt.subplots(figsize=(7.2, 5), dpi=150, layout="constrained")
    for other in classical:
        axes.plot(*np.array(other.curve()).T, "-", marker=".", linewidth=1.2, alpha=0.8, label=other.name)
    for name, curve in published_curves(learned[0].dataset).items():
        axes.plot(*np.array(curve).T, "--", linewidth=1, alpha=0.8, label=f"{name}, published")
    by_name: dict[str, list[tuple[float, float, str]]] = {}
    for result in learned:
        if not result.curve():
            continue  # every picture came back exactly: a point at infinity
        (bpp, quality), setting = result.curve()[0], result.points[0].setting
        by_name.setdefault(result.name, []).append((bpp, quality, f"λ {setting['lmbda']:g}" if "lmbda" in setting else ""))
    for (name, points), color, marker in zip(sorted(by_name.items()), cycle(COLORS), cycle(MARKERS), strict=False):
        points.sort()
        rates, qualities, labels = zip(*points, strict=True)
        one_each = len(set(labels)) == len(labels)
        line = "-" if one_each else ""
        axes.plot(rates, qualities, marker + line, color=color, markersize=7, label=name, zorder=5)
        if one_each:
            for bpp, quality, label in points:
                axes.annotate(label, (bpp, quality), xytext=(8, -12), textcoords="offset points", color=color)
    shipped = _shipped_results(learned[0].dataset)
    highest = max((bpp for points in by_name.values() for bpp, _, _ in points), default=0)
    if shipped is not None:
        bpp, quality = shipped.curve()[0]
        axes.plot([bpp], [quality], "*", color="crimson", markersize=15, label="the shipped codec", zorder=6)
        highest = max(highest, bpp)
    axes.set_xlim(0, max(1.2, 1.3 * highest))
    curves = [curve for result in (*classical, *learned) if (curve := result.curve())]
    visible = [quality for curve in curves for bpp, quality in curve if bpp <= axes.get_xlim()[1]]
    axes.set_ylim(min(visible) - 0.5, max(visible) + 0.5)
    axes.set_xlabel("bits per pixel, of files written")
    axes.set_ylabel("PSNR in dB, RGB of 8 bits, mean over pictures")
    axes.set_title(f"{learned[0].dataset}: {len(learned[0].points[0].images)} pictures")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def write_rate_plot(log: Path, path: Path) -> None:
    """The rounded rate of the batches of a training over its steps, their running mean, the target; log: its metrics.csv."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with log.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/quantized_bpp"]]
    steps, rates, targets = (
        np.array([float(row[key]) for row in rows]) for key in ("step", "train/quantized_bpp", "train/target_bpp")
    )
    window = max(1, len(rates) // 10)
    figure, axes = plt.subplots(figsize=(7.2, 3.6), dpi=150, layout="constrained")
    axes.plot(steps, rates, ".", alpha=0.5, label="batches that were logged")
    axes.plot(steps[window - 1 :], np.convolve(rates, np.ones(window) / window, "valid"), label=f"mean of the last {window}")
    axes.plot(steps, targets, "k--", drawstyle="steps-post", label=f"target, {targets[-1]:g} in the end")
    axes.set_ylim(0, 1.2 * max(np.quantile(rates, 0.9), min(targets[-1], rates.max())))  # a far target stays outside
    axes.set_xlabel("step")
    axes.set_ylabel("bits per pixel, rounded latents")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def _jpeg_at(image: Tensor, num_bytes: int) -> tuple[Tensor, int]:
    """The picture through JPEG at the quality whose file is nearest in size, and that size in bytes."""
    import io

    source, codec = Image.fromarray(image.permute(1, 2, 0).numpy()), CLASSICAL["jpeg"]
    low, high = 1, 95
    while high - low > 1:  # sizes grow with quality
        middle = (low + high) // 2
        low, high = (middle, high) if len(codec.encode(source, middle)) <= num_bytes else (low, middle)
    data = min((codec.encode(source, quality) for quality in (low, high)), key=lambda d: abs(len(d) - num_bytes))
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1), len(data)


def _detail(image: Tensor) -> tuple[int, int]:
    """Top and left of the part of uint8 [3, H, W] that is worth a look: near the middle, with the most contrast."""
    height, width = image.shape[1:]
    grey, best = image.float().mean(0), (0.0, 0, 0)
    for top in range(0, max(1, height - WINDOW + 1), 32):
        for left in range(0, max(1, width - WINDOW + 1), 32):
            away = abs(top + WINDOW / 2 - height / 2) / height + abs(left + WINDOW / 2 - width / 2) / width
            score = float(grey[top : top + WINDOW, left : left + WINDOW].std(correction=0)) * (1.2 - away)
            best = max(best, (score, top, left))
    return best[1], best[2]


def _choose(rows: Sequence[ImageRow]) -> list[str]:
    """The pictures to show: worst, middle and best quality, so that the sheet does not flatter."""
    ranked = sorted(rows, key=lambda row: row.psnr or 0)
    places = sorted({0, len(ranked) // 2, len(ranked) - 1})
    return [ranked[place].name for place in places][:NUM_PICTURES]


def write_pictures(bundle: Bundle, pictures: Sequence[TestImage], ours: Results, files: Path, path: Path) -> None:
    """A sheet of parts of pictures: original, decoded from our file, JPEG of the same size."""
    by_name = {picture.name: picture for picture in pictures}
    font, line = ImageFont.load_default(size=15), 24
    rows = []
    for name in _choose(ours.points[0].images):
        original, data = by_name[name].load(), (files / f"{name}.lic").read_bytes()
        decoded = decode(bundle, data)
        jpeg, jpeg_bytes = _jpeg_at(original, len(data))
        pixels, (top, left) = original[0].numel(), _detail(original)
        captions = (
            f"{name}: original",
            f"{ours.name}: {8 * len(data) / pixels:.3f} bpp, {psnr(decoded, original):.2f} dB",
            f"JPEG: {8 * jpeg_bytes / pixels:.3f} bpp, {psnr(jpeg, original):.2f} dB",
        )
        parts = [image[:, top : top + WINDOW, left : left + WINDOW] for image in (original, decoded, jpeg)]
        rows.append((captions, parts))
    heights = [parts[0].size(1) + line + 8 for _, parts in rows]
    sheet = Image.new("RGB", (3 * (WINDOW + 8) + 8, sum(heights) + 8), PAPER)
    draw, y = ImageDraw.Draw(sheet), 8
    for (captions, parts), height in zip(rows, heights, strict=True):
        for column, (caption, part) in enumerate(zip(captions, parts, strict=True)):
            x = 8 + column * (WINDOW + 8)
            draw.text((x, y + 2), caption, INK, font)
            sheet.paste(Image.fromarray(part.permute(1, 2, 0).contiguous().numpy()), (x, y + line))
        y += height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
