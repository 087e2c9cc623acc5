"""Making the maps of a folder of pictures: by several processes, by shards, and to be taken up again after any end."""

import errno
import fcntl
import hashlib
import multiprocessing
import os
import signal
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from codec.types import UserError, printable
from data.images import MAX_BROKEN, ImageFileError, look_at
from data.manifest import Manifest, Record, append_record, check_same, holds_maps, recorded
from data.metadata import upright_size
from data.region_sources.source import RegionSource
from data.regions import map_path, write_map

SMALL_SET = 2000  # pictures whose maps are made without being asked for
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # Lustre, for one, if mounted so
PACKAGES = ("codec", "numpy", "pillow", "scipy")  # that every map depends on


class Fault(NamedTuple):
    """A picture that has no map, and why."""

    image: str
    reason: str


class MapsMade(NamedTuple):
    """What make_maps did: the maps made now and those found, sorted; the pictures without a map."""

    made: list[Record]
    found: list[Record]
    faults: list[Fault]


Report = Callable[[int, int], None]  # how many of how many pictures are done


def parse_shard(text: str | None) -> tuple[int, int]:
    """(index, count) of "3/16"; (0, 1) of None. Shards are counted from 0: 0/16 to 15/16."""
    if text is None:
        return 0, 1
    index, slash, count = str(text).partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(f"shard={text}; expected INDEX/COUNT with INDEX from 0 to COUNT-1, such as 3/16; set shard")
    return int(index), int(count)


def make_maps(
    source: RegionSource,
    root: Path,
    relatives: Sequence[str],
    *,
    shard: tuple[int, int] = (0, 1),
    processes: int = 1,
    report: Report | None = None,
) -> MapsMade:
    """Make the maps of the pictures `relatives` below root that are missing, in one shard of them.

    source: prepared. A map counts as done when it lies there and a manifest names it. Maps do not depend on shard and
    processes. report: called with how many of how many are done. A picture that is broken, or has no map of its size, is left
    out and returned as a fault.
    Raises UserError where the folder holds anything else, or two pictures would share a map.
    """
    _check_names(source.maps, relatives)
    index, count = shard
    mine = sorted(name for name in relatives if zlib.crc32(os.fsencode(name)) % count == index)
    source.maps.mkdir(parents=True, exist_ok=True)
    with _alone(source.maps / f".lock-{index:05d}-of-{count:05d}"):
        packages = sorted({*PACKAGES, *source.packages})
        head = {"source": source.name, "settings": source.settings(), "versions": {name: version(name) for name in packages}}
        manifest, done = Manifest(source.maps, shard, head), recorded(source.maps)
        found = [done[name] for name in mine if name in done and map_path(source.maps, name).is_file()]
        kept = {record.image for record in found}
        missing = np.array([os.fsencode(name) for name in mine if name not in kept])
        made: list[Record] = []
        faults: list[Fault] = []
        if report is not None:
            report(len(found), len(mine))
        for result in _results(_Maker(source, root, manifest.path), missing, processes):
            if isinstance(result, Record):
                made.append(result)
            else:
                faults.append(result)
            if report is not None:
                report(len(found) + len(made) + len(faults), len(mine))
        manifest.finish(made)
    return MapsMade(sorted(made), found, sorted(faults))


def make_missing_maps(source: RegionSource, root: Path, relatives: Sequence[str]) -> None:
    """Make the maps that training lacks, where the set is small. The source needs no preparation.

    Raises UserError where it is not small, with what to do, or where the maps that are there were made otherwise.
    """
    check_same(source.maps, source.name, source.asked())
    relatives = with_regions(source, relatives)
    missing = _num_missing(source, relatives)
    if missing <= _num_bearable(relatives):
        return
    if len(relatives) > SMALL_SET:
        raise UserError(
            f"{missing} of {len(relatives)} pictures have no map in {source.maps}; expected all of them to have one, since "
            f"only those of up to {SMALL_SET} are made without being asked for; run codec masks with the same data=, "
            "data/regions= and data.root= first"
        )
    print(f"{source.describe()}\nmaking {missing} region maps in {source.maps}", flush=True)
    faults = make_maps(source, root, relatives).faults
    if faults:
        warnings.warn(f"{len(faults)} pictures got no map: {named(faults)}", stacklevel=2)


def with_regions(source: RegionSource, relatives: Sequence[str]) -> list[str]:
    """Those of the pictures that the source has regions for. It is prepared only where maps are missing."""
    if _num_missing(source, relatives) <= _num_bearable(relatives):
        return list(relatives)
    source.prepare()
    return source.select(relatives)


def _num_missing(source: RegionSource, relatives: Sequence[str]) -> int:
    return sum(not map_path(source.maps, name).is_file() for name in relatives)


def _num_bearable(relatives: Sequence[str]) -> float:
    """How many missing maps are left to the audit to name: a few broken files among many are no reason to stop."""
    return MAX_BROKEN * len(relatives) if len(relatives) > SMALL_SET else 0


def named(faults: Sequence[Fault]) -> str:
    """The first ten faults in words."""
    words = printable(", ".join(f"{fault.image} ({fault.reason})" for fault in faults[:10]))
    return words + (f" and {len(faults) - 10} more" if len(faults) > 10 else "")


def _check_names(maps: Path, relatives: Sequence[str]) -> None:
    """Raise UserError where maps would overwrite something, or each other."""
    paths: dict[Path, str] = {}
    for name in relatives:
        other = paths.setdefault(map_path(maps, name), name)
        if other != name:
            raise UserError(f"{other} and {name} would have one map; expected unlike names up to the suffix; rename one")
    if maps.is_dir() and not holds_maps(maps) and (own := next(maps.rglob("*.png"), None)) is not None:
        raise UserError(
            f"{maps} holds files that codec masks did not make, such as {own.name}; expected a folder of its own; set "
            "data.regions.maps"
        )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process makes these maps, and keep others out; the system ends the lock with the process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that makes maps in {path.parent}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            warnings.warn(f"{path.parent} lies on a file system without locks: see that each shard is made once", stacklevel=3)
        yield


@dataclass(frozen=True)
class _Maker:
    """Makes maps, and notes each in the manifest: no other process has to live on for a map to count as done."""

    source: RegionSource
    root: Path
    manifest: Path

    def make(self, name: str) -> Record | Fault:
        """Make one map."""
        path = self.root / name
        try:
            width, height = look_at(path, upright_size)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            ids = self.source.region_map(path, name)
            if ids.shape != (height, width):
                return Fault(name, f"map of {ids.shape[1]}x{ids.shape[0]} for {width}x{height}")
            write_map(map_path(self.source.maps, name), ids)
        except ImageFileError as error:
            return Fault(name, error.fault)
        except UserError as error:
            return Fault(name, " ".join(str(error).split()))
        record = Record(name, digest, int(ids.max()) + 1)
        append_record(self.manifest, record)
        return record


def _results(maker: _Maker, names: np.ndarray, processes: int) -> Iterator[Record | Fault]:
    """Make the maps of the pictures `names` (bytes), in this process or in others, and yield what comes of each."""
    processes = min(processes, len(names))
    if processes < 2:
        for name in names:
            yield maker.make(os.fsdecode(name))
        return
    # By fork the processes share what the source holds; where a fork is not safe, each gets a copy.
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers: dict[Connection, BaseProcess] = {}
    try:
        for part in range(processes):
            receiver, sender = context.Pipe(duplex=False)
            arguments = (maker, names[part::processes], sender, [*workers, receiver])
            worker = context.Process(target=_work, args=arguments, daemon=True)
            worker.start()
            sender.close()  # so that the end of the worker ends the pipe
            workers[receiver] = worker
        while workers:
            for receiver in cast(list[Connection], wait(list(workers))):
                try:
                    yield receiver.recv()
                except EOFError:
                    _check_end(workers.pop(receiver))
    finally:
        for worker in workers.values():
            worker.terminate()


def _check_end(worker: BaseProcess) -> None:
    worker.join()
    if worker.exitcode is not None and worker.exitcode < 0:
        raise UserError(
            f"a process that makes maps was killed by signal {-worker.exitcode}; expected it to end by itself (where memory "
            "runs out, the system kills); run the command again, it goes on where it stopped, with fewer processes if need be"
        )
    if worker.exitcode:
        raise RuntimeError(f"a process that makes maps ended with {worker.exitcode}; its error stands above")


def _work(maker: _Maker, names: np.ndarray, sender: Connection, inherited: Sequence[Connection]) -> None:
    """One worker: makes the maps of its names, and stops when nobody waits for them any more.

    inherited: ends at which the main process reads: open here, too, they would keep the pipes from breaking when it is killed.
    """
    for receiver in inherited:
        receiver.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches workers too; the main process ends them
    torch.set_num_threads(1)  # threads of the main process do not survive a fork
    with suppress(BrokenPipeError):
        for name in names:
            sender.send(maker.make(os.fsdecode(name)))
