"""`codec fetch`: public test sets, checked against their known checksums."""

import argparse

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from data.archives import FETCHED_TOGETHER, fetch_archive
from data.kodak import SHA256, fetch_kodak


def run(arguments: argparse.Namespace) -> int:
    """Fetch the set `arguments.name` below the folder `arguments.root`."""
    for name in FETCHED_TOGETHER.get(arguments.name, (arguments.name,)):
        folder = arguments.root / name
        with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn()) as progress:
            bars: dict[str, TaskID] = {}

            def report(name: str, done: int, size: int, progress: Progress = progress, bars: dict[str, TaskID] = bars) -> None:
                if name not in bars:
                    bars[name] = progress.add_task(name, total=size or None)
                progress.update(bars[name], completed=done)

            fetched = fetch_kodak(folder, report) if name == "kodak" else fetch_archive(name, folder, report)
        of_kodak = f"{len(SHA256)} photographs in {folder}, checksums right ({fetched} fetched now)"
        print(of_kodak if name == "kodak" else f"{folder}: {fetched or 'no'} pictures fetched now")
    return 0
