"""`codec masks`: the region maps of a whole set, made once, by several processes, in shards, and taken up after any end."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_module
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from codec.report.contact_sheet import Panel, write_contact_sheet
from codec.types import UserError
from data.images import MAX_BROKEN, read_image
from data.manifest import Record
from data.map_making import MapsMade, Report, make_maps, named, parse_shard
from data.regions import RegionSource, map_path, read_map
from data.sources import Folder

QUIET_SECONDS = 15.0  # between lines where the output is no terminal
NUM_PANELS = 12  # of a contact sheet


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, of conf/masks.yaml."""
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("masks", list(overrides))
    shard = parse_shard(cfg.shard)
    if cfg.processes is not None and cfg.processes < 1:
        raise UserError(f"processes={cfg.processes}; expected at least 1, or null for one a core; set processes")
    for folder in _folders(cfg):
        assert folder.region_source is not None
        _make(folder, folder.region_source, shard, cfg.processes)
    return 0


def _folders(cfg: DictConfig) -> list[Folder]:
    """The sources of a data configuration that have their maps in files. Raises UserError where there is none."""
    settings = [*cfg.data.get("sources", {}).values(), cfg.data.get("val_source")]
    sources = [instantiate(source) for source in settings if source is not None]
    folders = [source for source in sources if isinstance(source, Folder) and source.region_source is not None]
    if not folders:
        raise UserError(
            "no source of this data has maps in files; expected one that needs them; set data=coco_panoptic, or data=folder "
            "with data/regions=sam, coco_instances or folder"
        )
    return folders


def _make(folder: Folder, source: RegionSource, shard: tuple[int, int], processes: int | None) -> None:
    begun = time.perf_counter()
    source.prepare()
    relatives = source.select(folder.relatives())
    print(f"{source.describe()}, read in {time.perf_counter() - begun:.1f} s", flush=True)
    if processes is None:
        processes = _num_cores() if source.in_processes else 1
    begun = time.perf_counter()
    with _progress() as report:
        done = make_maps(source, folder.root, relatives, shard=shard, processes=processes, report=report)
    _summarise(source, done, time.perf_counter() - begun)
    records = sorted([*done.made, *done.found])
    if records:
        index, count = shard
        sheet = source.maps / ("contact_sheet.png" if count == 1 else f"contact_sheet-{index:05d}-of-{count:05d}.png")
        _write_sheet(records, folder.root, source.maps, sheet)
        print(f"sheet   {sheet}")
    if len(done.faults) > MAX_BROKEN * (len(records) + len(done.faults)):
        raise UserError(
            f"{len(done.faults)} of {len(records) + len(done.faults)} pictures have no map: {named(done.faults)}; expected at "
            "most 1 %; mend or remove them, and run this again"
        )


def _num_cores() -> int:
    """The cores that this process may use: a cluster gives it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _progress() -> Iterator[Report]:
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


def _summarise(source: RegionSource, done: MapsMade, seconds: float) -> None:
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


def _write_sheet(records: Sequence[Record], root: Path, maps: Path, path: Path) -> None:
    """A contact sheet of pictures from all over the set."""
    places = np.unique(np.linspace(0, len(records) - 1, NUM_PANELS).round().astype(int))
    panels = []
    for record in (records[place] for place in places):
        caption = f"{Path(record.image).stem}: {record.regions} regions"
        panels.append(Panel(caption, read_image(root / record.image), read_map(map_path(maps, record.image)).numpy()))
    write_contact_sheet(panels, path)
