"""A report of any mix of runs, results and published curves: its page, figures and tables."""

import shlex
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from codec.report.comparison import Comparison, FindSet, compare
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


def write_report(words: Sequence[str], out: Path, find_set: FindSet, codecs: Sequence[Path] = ()) -> Written:
    """Write the report of what `words` name to the folder `out`: index.html, figures/ and tables/.

    find_set: where the pictures of a set are. codecs: bundles of results that have theirs not beside their run.
    Raises UserError for a word that names nothing, for no bundle, and where nothing was measured on any set.
    """
    sources = read_sources(words)
    runs = sorted(map(read_run, sources.runs), key=lambda run: (run.name, *run.setting.values()))
    curves = curves_of(sources, runs)
    if not curves:
        raise UserError(f"no results in {', '.join(words)}; expected at least one codec that was measured; wait for a run")
    report = _report(curves, runs, compare(curves, find_set, codecs), _command(words, out, codecs))
    report.comparison.left_out[:0] = sources.left_out
    files = []
    for dataset in report.sets:
        own = report.of_set(dataset)
        files += write_figures(own, report.styles, out / "figures")
        files += write_tables(own, report.savings[dataset].get("psnr", {}), out / "tables")
    page = out / "index.html"
    out.mkdir(parents=True, exist_ok=True)
    return Written(page, write_page(payload(report), page), files, report.comparison.left_out)


def _command(words: Sequence[str], out: Path, codecs: Sequence[Path]) -> str:
    given = [*words, "--out", str(out), *(word for path in codecs for word in ("--codec", str(path)))]
    return f"codec report {shlex.join(map(printable, given))}"


def _report(curves: list[Curve], runs: list[Run], comparison: Comparison, command: str) -> Report:
    sets = list(dict.fromkeys(curve.dataset for curve in curves))
    names = list(dict.fromkeys(curve.name for curve in curves if curve.kind == "trained")) or ["published codecs"]
    several = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    made = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "version": version("codec"),
        "command": command,
    }  # fmt: skip
    found: dict[str, dict[str, Savings]] = {
        dataset: {quantity: savings([c for c in curves if c.dataset == dataset], quantity) for quantity in OVER}
        for dataset in sets
    }
    return Report(f"{several} on {', '.join(sets)}", curves, styles_of(curves), found, runs, comparison, made)
