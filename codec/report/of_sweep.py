"""The points of a sweep as one rate-distortion plot, and what each codec saves."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from codec.evaluation.results import Results
from codec.report.comparison import FindSet
from codec.report.curves import curves_of
from codec.report.of_sources import write_report
from codec.report.plots import write_rd_plot
from codec.report.runs_of import read_run
from codec.report.sources import Measured, Sources
from codec.report.tables import print_savings
from codec.runs.folder import RunFolder
from codec.types import printable


def plot_sweep(runs: Sequence[RunFolder], dataset: str, baselines: Sequence[str], plot: Path) -> None:
    """Plot finished runs on one set, beside the classical codecs, to a file; print what each codec saves."""
    ours = [Measured(Results.read(path := run.results / f"{dataset}.json"), path, run) for run in runs]
    others = [Measured(Results.read(path := runs[0].results / f"{dataset}_{name}.json"), path) for name in baselines]
    write_rd_plot([one.results for one in ours], [one.results for one in others], plot)
    print_savings(curves_of(Sources(list(runs), ours + others), [read_run(run) for run in runs]), Console())
    print(f"plot over {len(ours)} points: {plot}")


def report_sweep(sweep: Path, find_set: FindSet) -> None:
    """Write the page, figures and tables of a sweep's folder to its `report`."""
    written = write_report([str(sweep)], sweep / "report", find_set)
    for line in written.left_out:
        print(printable(f"left out {line}"))
    print(f"page     {written.page}")
