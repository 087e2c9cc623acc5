"""A codec on a test set, from its files to the table that is printed."""

from pathlib import Path

from rich.console import Console

from codec.evaluation.baselines import measure_baselines
from codec.evaluation.measure import Measurement, evaluate
from codec.evaluation.measures import MEASURES
from codec.evaluation.results import Results
from codec.files.bundle import load_bundle
from codec.report.pictures import write_pictures
from codec.report.plots import write_rd_plot
from codec.report.tables import print_table
from codec.runs.lock import RunLock
from codec.types import UserError, shown
from data.testsets import TestSet


def holding_results(folder: Path, dataset: str) -> RunLock:
    """The lock of a set's results in a folder, which is made: one process at a time fills them, a training or `codec eval`."""
    folder.mkdir(parents=True, exist_ok=True)
    return RunLock(folder, f".{dataset}.lock", f"filled with results on {dataset}")


def _check_pictures(path: Path, test_set: TestSet) -> None:
    if path.exists() and not Results.read(path).are_of(picture.name for picture in test_set.pictures):
        raise UserError(
            f"{path} is of other pictures than the {len(test_set.pictures)} that are now in the set {shown(test_set.name)}; "
            "expected the same under one name; set test.name to another, or remove it"
        )


def measure_and_report(bundle: Path, asked: Measurement, results_folder: Path, report_folder: Path) -> Results:
    """Measure a bundle and the classical codecs on a set; write results, plot and pictures, and print the table.

    Raises UserError where results of a set of that name and other pictures lie there: they and their files would be lost.
    """
    test_set, dataset = asked.test_set, asked.test_set.name
    _check_pictures(results_folder / f"{dataset}.json", test_set)
    ours = evaluate(bundle, test_set, results_folder / dataset, asked.measures, asked.device, asked.max_memory, asked.levels)
    ours.write(results_folder / dataset)
    others = measure_baselines(asked.baselines, test_set, asked.programs)
    for name, other in zip(asked.baselines, others, strict=True):
        other.write(results_folder / f"{dataset}_{name}")
    plot, sheet = report_folder / f"{dataset}_rd.png", report_folder / f"{dataset}_pictures.png"
    write_rd_plot([ours], others, plot)
    write_pictures(load_bundle(bundle), test_set.pictures, ours, results_folder / dataset, sheet)
    print_table(ours, others, Console())
    if not asked.measures.asked:
        print(f"more     test.measures=[{','.join(MEASURES)}], or some of them, with codec eval")
    print(f"files    {results_folder / dataset}\nresults  {results_folder / dataset}.json, .csv")
    print(f"plot     {plot}\npictures {sheet}")
    return ours
