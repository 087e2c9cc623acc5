"""`codec train -m`: a run a point, by Hydra's sweepers and launchers; ended by a table and a plot. With --dry-run a list."""

import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from codec.config.command_line import Words, readable
from codec.config.compose import configurations
from codec.config.disk import bytes_to_come, free_bytes
from codec.config.launch import in_processes
from codec.config.sweep import check_end, check_test_sets, configuration_of, draw_plot, points_of, sweep_folder
from codec.report.of_runs import table_of_plan, table_of_sweep
from codec.runs.point import Point
from codec.runs.sweep_folder import SweepFolder


@hydra.main(config_path="pkg://conf", config_name="train", version_base="1.3")
def _main(cfg: DictConfig) -> float | None:
    """A point by a launcher that is not ours, as joblib's: its process starts the point's."""
    sweep = HydraConfig.get()
    (returned,) = in_processes(sweep, [sweep.overrides.task], sweep.job.num, jobs=1)
    return returned.return_value


def _launch(asked: Words, sweep: SweepFolder) -> None:
    options = ["-m"] + ([] if asked.options is None else [f"--config-dir={asked.options}"])
    before = sys.argv
    sys.argv = [before[0], *options, *asked.overrides, readable("train", f"hydra.sweep.dir={sweep.path}")]
    try:
        _main()
    finally:
        sys.argv = before


def _list(points: Sequence[Point], sweep: SweepFolder) -> int:
    """Show what would be trained, and start nothing."""
    disk = [bytes_to_come(configuration_of(point), point.folder) for point in points]
    console = Console()
    console.print(table_of_plan(points, disk))
    console.print(f"at most {sum(disk) / 1e6:,.0f} MB to come, {free_bytes(sweep.path) / 1e6:,.0f} MB are free", soft_wrap=True)
    return 0


def run(asked: Words) -> int:
    """The command, its words read and composed once already; the exit status of a sweep whose points all came to an end.

    Raises UserError, with each that did not and why.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # an exception comes through, and codec.cli says it in one line
    with configurations(asked.options):
        points = points_of(asked)
        sweep = sweep_folder(asked, points)
        if asked.lists:
            return _list(points, sweep)
        check_test_sets(points)
    try:
        _launch(asked, sweep)
    finally:
        if listed := sweep.points():
            Console().print(table_of_sweep(listed))
            with configurations(asked.options):
                draw_plot(sweep, points[0].words)
            print(f"sweep    {sweep.path}")
    check_end(sweep)
    return 0
