"""`codec masks`: the region maps of a whole set, made once, by several processes, in shards, and taken up after any end."""

import os
import time

from omegaconf import DictConfig

from codec.config.command_line import Words
from codec.config.compose import each_point
from codec.config.nodes import instantiate
from codec.report.contact_sheet import write_sheet_of_set
from codec.report.map_making import print_summary, show_progress
from codec.types import UserError
from data.images import MAX_BROKEN
from data.map_making import make_maps, named, parse_shard
from data.region_sources.source import RegionSource
from data.sources import Folder


def run(asked: Words) -> int:
    """The command, of conf/masks.yaml."""
    for cfg in each_point("masks", asked):
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
    with show_progress() as report:
        done = make_maps(source, folder.root, relatives, shard=shard, processes=processes, report=report)
    print_summary(source, done, time.perf_counter() - begun)
    records = sorted([*done.made, *done.found])
    if records:
        index, count = shard
        sheet = source.maps / ("contact_sheet.png" if count == 1 else f"contact_sheet-{index:05d}-of-{count:05d}.png")
        write_sheet_of_set(records, folder.root, source.maps, sheet)
        print(f"sheet   {sheet}")
    if len(done.faults) > MAX_BROKEN * (len(records) + len(done.faults)):
        raise UserError(
            f"{len(done.faults)} of {len(records) + len(done.faults)} pictures have no map: {named(done.faults)}; expected at "
            "most 1 %; mend or remove them, and run this again"
        )


def _num_cores() -> int:
    """The cores that this process may use: a cluster gives it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
