"""`codec status`: what the runs below some folders do, or the points of sweeps, once or until it is stopped."""

import argparse
import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from codec.report.of_runs import table_of_runs, table_of_sweep
from codec.runs.state import find_runs
from codec.runs.sweep_folder import SweepFolder
from codec.types import UserError

SECONDS = 2.0  # between two looks


def _runs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"no folder at {folder}; expected one that holds runs; check the path")
    return list(find_runs(folder))


def _tables(folders: list[Path]) -> Group:
    """A table of each sweep, and one of all runs in other folders."""
    sweeps = {folder: points for folder in folders if (points := SweepFolder(folder).points())}
    runs = list(dict.fromkeys(run for folder in folders if folder not in sweeps for run in _runs(folder)))
    if not runs and not sweeps:
        raise UserError(f"no run below {', '.join(map(str, folders))}; expected what codec train wrote; check the path")
    return Group(*map(table_of_sweep, sweeps.values()), *([table_of_runs(runs)] if runs else []))


def run(arguments: argparse.Namespace) -> int:
    """Show the sweeps at and the runs below `arguments.folders`, again and again where `arguments.watch` is set."""
    console = Console()
    if not arguments.watch:
        console.print(_tables(arguments.folders))
        return 0
    with Live(_tables(arguments.folders), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(SECONDS)
            live.update(_tables(arguments.folders), refresh=True)
