"""What a measurement looks like in a terminal: a table, and what a curve saves."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from codec.evaluation.results import Results, over_same_pictures, psnr_at_rate
from codec.report.curves import Curve
from codec.report.savings import saving


def print_table(ours: Results, others: Sequence[Results], console: Console) -> None:
    """A row a picture and their mean: our rates and quality, and the others' PSNR at the rate of our files.

    Of a codec with several rates the pictures of the middle one, and a row a level.
    """
    same, told = over_same_pictures([ours, *others])
    beside, unlimited = list(others), console.options.update(max_width=10_000)
    while beside and console.measure(_by_picture(ours, beside, same, named=False), options=unlimited).maximum > console.width:
        beside.pop()
    console.print(_by_picture(ours, beside, same))
    if len(beside) < len(others):
        left = ", ".join(other.name for other in others[len(beside) :])
        console.print(f"no room in this terminal for {left}: a wider one has them, and their results", soft_wrap=True)
    _print_levels(same[0], same[1:], console)
    _print_costs(ours, console)
    _print_measures(ours, console)
    _print_failures(others, console)
    console.print(f"[bold]{escape(_headline(same, told))}[/bold]", soft_wrap=True)


def _headline(same: Sequence[Results], told: str) -> str:
    """What the first of some codecs has at its rate, and the others there; same, told: see over_same_pictures."""
    ours, *others = same
    bpp, quality = ours.shown.mean("file_bpp"), ours.shown.mean("psnr")
    assert bpp is not None
    if quality is None:
        exact = all(row.psnr is None for row in ours.shown.images)
        return f"{bpp:.3f} bpp; {'every picture came back exactly' if exact else f'PSNR {told}'}"
    line = f"{quality:.2f} dB at {bpp:.3f} bpp"
    for other in others:
        reference = psnr_at_rate(other.curve(), bpp)
        if reference is not None:
            line += f"; {abs(quality - reference):.2f} dB {'above' if quality >= reference else 'below'} {other.name}"
    return "; ".join(filter(None, (f"{line} at equal rate" if ";" in line else line, told)))


def _by_picture(ours: Results, others: Sequence[Results], same: Sequence[Results], named: bool = True) -> Table:
    """The table of pictures; without their names it is as narrow as can be. same: ours and others over_same_pictures."""
    point, mean = ours.shown, same[0].shown
    title = f"{escape(ours.name)} on {escape(ours.dataset)}: file sizes as written, quality as decoded"
    beside = f"\n{', '.join(other.name for other in others)}: PSNR in dB at the same bpp" if others else ""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=title + beside)
    for heading in ("picture", "bpp", "est.", "PSNR\ndB", "MS-SSIM\ndB", "s in, out"):
        is_name = heading == "picture"  # what gives way where a terminal is narrow
        table.add_column(heading, justify="left" if is_name else "right", no_wrap=not is_name, overflow="fold")
    perceptual = [name for name in ("lpips", "niqe") if any(getattr(row, name) is not None for row in point.images)]
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
        return [escape(name), *own, f"{show('encode_seconds', 2)} {show('decode_seconds', 2)}", *more, *at_rate]

    for image in point.images:
        table.add_row(*cells(image.name if named else "", vars(image), [other.image_curve(image.name) for other in others]))
    table.add_section()
    fewer = "" if len(mean.images) == len(point.images) else f" of {len(mean.images)}"
    table.add_row(*cells(f"mean{fewer}", mean.means(), [other.curve() for other in same[1 : len(others) + 1]]))
    return table


def _print_costs(ours: Results, console: Console) -> None:
    """What it costs: parameters, multiplications, memory; and seconds by what they went into, for a million pixels."""
    costs, point = ours.costs, ours.shown
    if not costs:
        return
    size = f"{costs['parameters'] / 1e6:.3g} million parameters"
    size += f"; {costs['kmac_per_pixel_encode']:.3g} and {costs['kmac_per_pixel_decode']:.3g} kMAC a pixel to encode and decode"
    if "peak_memory_bytes" in costs:
        size += f"; {costs['peak_memory_bytes'] / 2**20:,.0f} MiB at the peak"
    console.print(size, soft_wrap=True)
    for coding in ("encode", "decode"):
        parts = {part: point.seconds_per_megapixel(f"{coding}_{part}_seconds") for part in ("transform", "entropy", "file")}
        whole = point.seconds_per_megapixel(f"{coding}_seconds")
        told = ", ".join(f"{part} {value:.2g}" for part, value in parts.items() if value is not None)
        if whole is not None and told:
            console.print(f"{coding}s a megapixel in {whole:.2g} s: {told}", soft_wrap=True)


def _print_levels(ours: Results, others: Sequence[Results], console: Console) -> None:
    """A row a level, where there are several: means over the pictures, and the others' PSNR at the same rate."""
    if len(ours.points) == 1:
        return
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("level", "λ", "bpp", "PSNR\ndB", *(other.name.replace(" ", "\n") for other in others)):
        table.add_column(heading, justify="right", no_wrap=True)
    for point in ours.points:
        lmbda, bpp, quality = point.setting.get("lmbda"), point.mean("file_bpp"), point.mean("psnr")
        assert bpp is not None
        at_rate = [psnr_at_rate(other.curve(), bpp) for other in others]
        shown = ["-" if value is None else f"{value:.2f}" for value in (quality, *at_rate)]
        table.add_row(str(point.setting.get("level")), "-" if lmbda is None else f"{lmbda:.3g}", f"{bpp:.3f}", *shown)
    console.print(table)


def _print_measures(ours: Results, console: Console) -> None:
    """A line a measure that was asked for: its value and network, or why there is none."""
    point = ours.shown
    for name, network in ours.measured_with.items():
        value = point.of_set.get(name) if name in ("fid", "kid") else point.mean(name)
        over = f" over {point.of_set['num_patches']:,} patches" if name in point.of_set else ""
        if value is not None:
            console.print(f"{name.upper()} {value:.4g}{over}, by {network}", soft_wrap=True)
    for name in ("ms_ssim", "lpips", "fid", "kid", "niqe"):
        if name in ours.not_computed:
            console.print(f"{name.upper().replace('_', '-')}: {ours.not_computed[name]}", soft_wrap=True)


def _print_failures(others: Sequence[Results], console: Console) -> None:
    """A line for each codec that refused pictures: why."""
    for other in others:
        if "file_bpp" in other.not_computed:
            console.print(escape(f"{other.name}: {other.not_computed['file_bpp']}"), soft_wrap=True)


def print_savings(curves: Sequence[Curve], console: Console) -> None:
    """What each trained codec saves against every other curve of its set, of the published ones the few that are shown."""
    published = [curve for curve in curves if curve.kind == "published"]
    published = [curve for curve in published if curve.shown] or published
    others = [*(curve for curve in curves if curve.kind in ("classical", "foreign")), *published]
    for curve in (curve for curve in curves if curve.kind == "trained"):
        without: dict[str, list[str]] = {}  # the others by the reason why there is none
        for other in others:
            found = saving(other, curve, "psnr")
            if found.rate is None:
                without.setdefault(found.why, []).append(other.name)
                continue
            low, high = found.rate.interval
            line = f"{curve.full_name}: BD-rate {found.rate.percent:+.1f} %"
            if found.interval is not None:
                sure = found.interval
                line += f" ({sure.low:+.1f} to {sure.high:+.1f} % in 95 % of draws of {sure.num_pictures} such pictures)"
            line += "" if found.gain is None else f", BD-PSNR {found.gain:+.2f} dB"
            line += f" against {other.name}, from {low:.1f} to {high:.1f} dB"
            line += f" ({found.told})" if found.told and other.kind != "published" else ""
            console.print(escape(line), soft_wrap=True)
        for reason, against in without.items():
            console.print(escape(f"{curve.full_name}: no BD-rate against {', '.join(against)}: {reason}"), soft_wrap=True)
