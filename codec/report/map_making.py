"""What the making of region maps looks like: how far it is, and what was made."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data.map_making import MapsMade, Report, named
from data.region_sources.source import RegionSource

QUIET_SECONDS = 15.0  # between lines where the output is no terminal


@contextmanager
def show_progress() -> Iterator[Report]:
    """Shows how many pictures are done: a bar on a terminal, plain lines elsewhere."""
    begun = said = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= QUIET_SECONDS:
            said = time.monotonic()
            print(f"{done} of {total} pictures  {done / (said - begun):.1f} a second", flush=True)

    if not sys.stdout.isatty():
        yield say
        return
    columns = (TextColumn("maps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # No thread of its own: the processes that make maps are forked while the bar is there.
    with Progress(*columns, auto_refresh=False) as progress:
        task = progress.add_task("")
        shown = 0.0

        def draw(done: int, total: int) -> None:
            nonlocal shown
            progress.update(task, completed=done, total=total)
            if time.monotonic() - shown > 0.1 or done == total:
                shown = time.monotonic()
                progress.refresh()

        yield draw


def print_summary(source: RegionSource, done: MapsMade, seconds: float) -> None:
    """Print what was made and what was not."""
    total = len(done.made) + len(done.found)
    speed = f" in {seconds:.1f} s, {len(done.made) / seconds:.1f} a second" if done.made else ""
    print(f"maps    {total} in {source.maps}: {len(done.made)} made now{speed}; {len(done.found)} found")
    if total:
        counts = np.array([record.regions for record in (*done.made, *done.found)])
        print(
            f"regions {counts.sum()}, in a picture {counts.min()} to {counts.max()}, {np.median(counts):g} in the middle, "
            f"{counts.mean():.1f} in the mean; {np.count_nonzero(counts == 1)} pictures are one region"
        )
    if done.faults:
        print(f"no map  {len(done.faults)} pictures: {named(done.faults)}")
