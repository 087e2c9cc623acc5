"""A codec on a test set, from its files to the table that is printed."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from codec.evaluation.classical import measure_classical
from codec.evaluation.measure import evaluate
from codec.evaluation.measures import MEASURES, Measures
from codec.evaluation.results import Results
from codec.files.bundle import load_bundle
from codec.report.pictures import write_pictures
from codec.report.plots import write_rd_plot
from codec.report.tables import print_table
from data.testsets import TestImage


def measure_and_report(
    bundle: Path, pictures: Sequence[TestImage], dataset: str, baselines: Sequence[str], measures: Measures,
    results_folder: Path, report_folder: Path,
) -> Results:  # fmt: skip
    """Measure a bundle and the classical codecs on a set; write results, plot and pictures, and print the table."""
    ours = evaluate(bundle, pictures, dataset, results_folder / dataset, measures)
    ours.write(results_folder / dataset)
    others = [measure_classical(name, pictures, dataset) for name in baselines]
    for name, other in zip(baselines, others, strict=True):
        other.write(results_folder / f"{dataset}_{name}")
    plot, sheet = report_folder / f"{dataset}_rd.png", report_folder / f"{dataset}_pictures.png"
    write_rd_plot([ours], others, plot)
    write_pictures(load_bundle(bundle), pictures, ours, results_folder / dataset, sheet)
    print_table(ours, others, Console())
    if not measures.asked:
        print(f"more     measures=[{','.join(MEASURES)}], or some of them, with codec eval")
    print(f"files    {results_folder / dataset}\nresults  {results_folder / dataset}.json, .csv")
    print(f"plot     {plot}\npictures {sheet}")
    return ours
