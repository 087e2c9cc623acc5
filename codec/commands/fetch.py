"""`codec fetch`: public test sets, checked against their known checksums."""

import argparse

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from data.kodak import SHA256, fetch_kodak


def run(arguments: argparse.Namespace) -> int:
    """Fetch the set `arguments.name` below the folder `arguments.root`."""
    folder = arguments.root / arguments.name
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn()) as progress:
        bars = {}

        def report(name: str, done: int, size: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=size or None)
            progress.update(bars[name], completed=done)

        fetched = fetch_kodak(folder, report)
    print(f"{len(SHA256)} photographs in {folder}, checksums right ({fetched} fetched now)")
    return 0
