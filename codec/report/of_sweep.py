"""The points of a sweep as one rate-distortion plot, and what each codec saves."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from codec.evaluation.results import Results
from codec.report.plots import write_rd_plot
from codec.report.tables import print_savings
from codec.runs.folder import RunFolder


def plot_sweep(runs: Sequence[RunFolder], dataset: str, baselines: Sequence[str], plot: Path) -> None:
    """Plot finished runs on one set, beside the classical codecs, to a file; print what each codec saves."""
    ours = [Results.read(run.results / f"{dataset}.json") for run in runs]
    others = [Results.read(runs[0].results / f"{dataset}_{name}.json") for name in baselines]
    write_rd_plot(ours, others, plot)
    print_savings(ours, others, Console())
    print(f"plot over {len(ours)} points: {plot}")
