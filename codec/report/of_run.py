"""What a run shows when its training is done, and when it is asked for again."""

from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console

from codec.evaluation.measure import Measurement
from codec.evaluation.results import Results, over_same_pictures
from codec.report.doctor import diagnose, print_findings
from codec.report.of_set import holding_results, measure_and_report
from codec.report.plots import write_rate_plot
from codec.report.tables import print_table
from codec.runs.folder import RunFolder
from data.testsets import TestSet


def _files(folder: RunFolder, dataset: str, baselines: Sequence[str]) -> list[Path]:
    return [folder.results / f"{name}.json" for name in (dataset, *(f"{dataset}_{baseline}" for baseline in baselines))]


def has_results(folder: RunFolder, dataset: str, baselines: Sequence[str]) -> bool:
    """Whether the folder has results of its codec and of the classical ones on a set of that name."""
    return all(path.is_file() for path in _files(folder, dataset, baselines))


def is_measured(
    folder: RunFolder, test_set: TestSet, baselines: Sequence[str], measures: Collection[str], levels: int | None
) -> bool:
    """Whether the folder has all that is asked for of these very pictures.

    folder: of a finished run. test_set: the pictures. baselines: names of the classical codecs. measures: what is asked for
    beside rates, PSNR and MS-SSIM. levels: how many of the codec's, of one that has several rates.
    """
    if not has_results(folder, test_set.name, baselines):
        return False
    ours = Results.read(folder.results / f"{test_set.name}.json")
    same = ours.are_of(picture.name for picture in test_set.pictures) and len(ours.points) == (levels or 1)
    return same and set(measures) <= {*ours.measured_with, *ours.not_computed}


def show_run(folder: RunFolder, dataset: str, baselines: Sequence[str]) -> None:
    """Print what a finished run measured, and what is wrong with it."""
    ours, *others = map(Results.read, _files(folder, dataset, baselines))
    print_table(ours, others, Console())
    print_findings(diagnose(folder))
    print(f"report   {folder.report}")


def finish_run(folder: RunFolder, measurement: Measurement) -> dict[str, float]:
    """Measure the codec of a run that is trained and write its report; what it measured, by name.

    Raises HeldError where another process, such as `codec eval run=`, measures it on the same set.
    """
    with holding_results(folder.results, measurement.test_set.name):
        results = measure_and_report(folder.bundle, measurement, folder.results, folder.report)
    same = over_same_pictures([results])[0][0].shown
    bpp, psnr = same.mean("file_bpp"), same.mean("psnr")
    assert bpp is not None
    steered = [point for point in results.points if "target_bpp" in point.setting]
    for point in steered:
        rate, target = point.mean("file_bpp"), point.setting["target_bpp"]
        print(f"rate     {rate:.3f} bpp on {results.dataset}, target {target:.4g} in training")
    if steered:
        write_rate_plot(folder.log(), folder.report / "rate.png")
        print(f"steering {folder.report / 'rate.png'}")
    print_findings(diagnose(folder))
    return {"file_bpp": bpp} | ({} if psnr is None else {"psnr": psnr})
