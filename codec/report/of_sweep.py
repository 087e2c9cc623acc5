"""The points of a sweep as one rate-distortion plot, and what each codec saves."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from codec.evaluation.results import Results
from codec.report.comparison import FindSet
from codec.report.of_sources import write_report
from codec.report.plots import write_rd_plot
from codec.report.tables import print_savings
from codec.runs.folder import RunFolder
from codec.types import printable


def plot_sweep(runs: Sequence[RunFolder], dataset: str, baselines: Sequence[str], plot: Path) -> None:
    """Plot finished runs on one set, beside the classical codecs, to a file; print what each codec saves."""
    ours = [Results.read(run.results / f"{dataset}.json") for run in runs]
    others = [Results.read(runs[0].results / f"{dataset}_{name}.json") for name in baselines]
    write_rd_plot(ours, others, plot)
    print_savings(ours, others, Console())
    print(f"plot over {len(ours)} points: {plot}")


def report_sweep(sweep: Path, find_set: FindSet) -> None:
    """Write the page, figures and tables of a sweep's folder to its `report`."""
    written = write_report([str(sweep)], sweep / "report", find_set)
    for line in written.left_out:
        print(printable(f"left out {line}"))
    print(f"page     {written.page}")
