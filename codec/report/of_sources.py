"""A report of any mix of runs, results and published curves: its page, figures and tables."""

import shlex
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from codec.report.comparison import FindSet, compare
from codec.report.curves import Curve, curves_of
from codec.report.figures import write_figures
from codec.report.page import write_page
from codec.report.papers import write_tables
from codec.report.payload import Report, Savings, payload
from codec.report.runs_of import Run, read_run
from codec.report.savings import OVER, savings
from codec.report.sources import read_sources
from codec.report.style import styles_of
from codec.types import UserError, printable


class Written(NamedTuple):
    """What a report left: its page and the page's bytes, all other files, what could not be shown."""

    page: Path
    num_bytes: int
    files: list[Path]
    left_out: list[str]


def write_report(words: Sequence[str], out: Path, find_set: FindSet) -> Written:
    """Write the report of what `words` name to the folder `out`: index.html, figures/ and tables/.

    find_set: where the pictures of a set are.
    Raises UserError for a word that names nothing, and where nothing was measured on any set.
    """
    sources = read_sources(words)
    runs = sorted(map(read_run, sources.runs), key=lambda run: (run.name, *run.setting.values()))
    curves = curves_of(sources, runs)
    if not curves:
        raise UserError(f"no results in {', '.join(words)}; expected at least one codec that was measured; wait for a run")
    report = _report(words, out, curves, runs, find_set, sources.left_out)
    files = []
    for dataset in report.sets:
        own = report.of_set(dataset)
        files += write_figures(own, report.styles, out / "figures")
        files += write_tables(own, report.savings[dataset].get("psnr", {}), out / "tables")
    page = out / "index.html"
    out.mkdir(parents=True, exist_ok=True)
    return Written(page, write_page(payload(report), page), files, report.comparison.left_out)


def _report(
    words: Sequence[str], out: Path, curves: list[Curve], runs: list[Run], find_set: FindSet, left_out: Sequence[str]
) -> Report:
    sets = list(dict.fromkeys(curve.dataset for curve in curves))
    names = list(dict.fromkeys(curve.name for curve in curves if curve.kind == "trained")) or ["published codecs"]
    several = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    made = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "version": version("codec"),
        "command": f"codec report {shlex.join(map(printable, words))} --out {shlex.quote(printable(str(out)))}",
    }  # fmt: skip
    found: dict[str, dict[str, Savings]] = {
        dataset: {quantity: savings([c for c in curves if c.dataset == dataset], quantity) for quantity in OVER}
        for dataset in sets
    }
    comparison = compare(curves, find_set)
    comparison.left_out[:0] = left_out
    return Report(f"{several} on {', '.join(sets)}", curves, styles_of(curves), found, runs, comparison, made)
