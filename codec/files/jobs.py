"""Many files to many others: read, worked on in batches, written; the networks of some beside what needs none of the last."""

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from codec.atomic import write_atomically
from codec.files.progress import Progress
from codec.types import UserError, printable

Result = TypeVar("Result")


class Job(NamedTuple):
    """A file to read and the one that comes of it."""

    source: Path
    target: Path


def is_taken(path: Path) -> bool:
    """Whether something is there, a link to nothing included: what is written takes its place."""
    return os.path.lexists(path)


def check_free(jobs: list[Job], allowed: bool) -> None:
    """Raise UserError where files are there already, unless that is allowed, and where something else is than their folder."""
    for folder in dict.fromkeys(target.parent for _, target in jobs):
        there = next(filter(is_taken, (folder, *folder.parents)), folder)
        if not there.is_dir():
            raise UserError(f"{there} is no folder; expected one to write to, or nothing yet; name another")
    taken = [target for _, target in jobs if is_taken(target)]
    if taken and not allowed:
        raise UserError(
            f"{taken[0]} is there already ({len(taken)} files); expected a new name; say --force to overwrite, or --resume to "
            "go on with what is missing"
        )


def missing(jobs: list[Job], resume: bool, fault_of: Callable[[Path], str | None]) -> list[Job]:
    """The jobs that are left, which are all unless a command goes on where it was stopped.

    fault_of: what tells that the job would not have written a file, in words; None for nothing.
    Raises UserError where such a file is there.
    """
    if not resume:
        return jobs
    for _, target in jobs:
        if is_taken(target) and (fault := fault_of(target)):
            raise UserError(
                f"{target} is there already, {fault}; expected what the same command wrote; say --force to "
                "write all of them anew, or name another folder"
            )
    return [job for job in jobs if not is_taken(job.target)]


class Work(NamedTuple):
    """What is done with each job.

    size: height and width of the picture in a file, by its header. read: a file's content. alike: what contents of one batch
    share, their pictures' size first. begin: what needs networks, of a batch; what it gives does the rest and returns the
    content of each target. said: of a content and its target's, for the user.
    All but `said` may raise UserError.
    """

    size: Callable[[Path], tuple[int, int]]
    read: Callable[[Path], Any]
    alike: Callable[[Any], tuple[Any, ...]]
    begin: Callable[[Sequence[Any]], "Rest"]
    said: Callable[[Any, bytes], str]


class Outcome(NamedTuple):
    """A job, what is said of it or what went wrong, and the pixels that it had."""

    job: Job
    said: str | UserError
    pixels: int = 0


Group = list[tuple[Job, Any]]
"""Jobs that are worked on together, with their contents; one that cannot be read stands alone, with a UserError."""

Rest = Callable[[], list[bytes]]
"""What is left of the work on a group; gives the content of each target."""


def _checked(job: Job, step: Callable[[], Result]) -> Result:
    """What a step of a job gives; what the file system or the memory refuses is the user's to mend."""
    try:
        return step()
    except OSError as error:
        raise UserError(
            f"{job.source} to {job.target}: {error}; expected to read the one and write the other; check both"
        ) from None
    except (MemoryError, RuntimeError) as error:
        # Of a CPU's memory torch raises a RuntimeError that says so in words alone.
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error):
            raise UserError(f"{job.source} takes more memory than is free; cut it into parts, or use another machine") from None
        raise


def _read(job: Job, work: Work) -> tuple[Any, Hashable]:
    """The content of a job's file and what those of its batch share; where it cannot be read, why, and nothing alike."""
    try:
        content = _checked(job, lambda: work.read(job.source))
        return content, work.alike(content)
    except UserError as error:
        return error, object()


def _read_ahead(jobs: Iterable[Job], work: Work) -> Iterator[tuple[Job, Any, Hashable]]:
    """Each job with what _read gives of it, which a thread reads while the one before is worked on."""
    with ThreadPoolExecutor(1) as thread:
        ahead: deque[tuple[Job, Future[tuple[Any, Hashable]]]] = deque()
        for job in chain(jobs, [None]):
            if job is not None:
                ahead.append((job, thread.submit(_read, job, work)))
            if len(ahead) > 1 or (job is None and ahead):
                before, read = ahead.popleft()
                yield before, *read.result()


def _groups(jobs: Iterable[Job], work: Work, batch: int) -> Iterator[Group]:
    """Jobs that follow one another and whose contents are alike, up to `batch` of them."""
    group: Group = []
    shared: Hashable = None
    for job, content, alike in _read_ahead(jobs, work):
        if group and (len(group) == batch or shared != alike):
            yield group
            group = []
        group.append((job, content))
        shared = alike
    if group:
        yield group


def _begun(group: Group, work: Work) -> Rest | UserError:
    """The work on a group, begun; or why it cannot be."""
    contents = [content for _, content in group]
    if isinstance(contents[0], UserError):
        return contents[0]
    try:
        return _checked(group[0][0], lambda: work.begin(contents))
    except UserError as error:
        return error


def _finished(group: Group, begun: Rest | UserError, work: Work) -> list[Outcome]:
    """What came of each job of a group, once the rest is done and its files are written."""
    try:
        if isinstance(begun, UserError):
            raise begun
        made = _checked(group[0][0], begun)
    except UserError as error:
        if len(group) == 1:
            return [Outcome(group[0][0], error)]
        # One of them may be to blame: each gets its own outcome.
        return [outcome for one in group for outcome in _finished([one], _begun([one], work), work)]
    return [
        Outcome(job, _written(job, content, result, work), math.prod(work.alike(content)[:2]))
        for (job, content), result in zip(group, made, strict=True)
    ]


def _written(job: Job, content: Any, result: bytes, work: Work) -> str | UserError:
    try:
        _checked(job, lambda: write_atomically(job.target, result))
    except UserError as error:
        return error
    return work.said(content, result)


def tell(outcomes: Iterable[Outcome], num_jobs: int, where: str) -> int:
    """Print what came of each job; files that fail are named, each reason once, and the exit status says so."""
    begun, progress = time.perf_counter(), Progress(num_jobs)
    failed: dict[str, list[Path]] = {}
    for number, (job, said, pixels) in enumerate(outcomes, start=1):
        progress.hide()
        if isinstance(said, str):
            print(printable(f"[{number}/{num_jobs}] {job.target}: {said}"), flush=True)
        else:
            reason = str(said).replace(str(job.source), "the file")
            if reason not in failed:
                print(printable(f"codec: {job.source}: {reason}"), file=sys.stderr)
            failed.setdefault(reason, []).append(job.source)
        progress.show(pixels)
    for reason, (_, *others) in failed.items():
        if others:
            names = ", ".join(map(str, others[:3])) + (", ..." if len(others) > 3 else "")
            print(printable(f"codec: {len(others)} more, such as {names}: {reason}"), file=sys.stderr)
    num_done = num_jobs - sum(map(len, failed.values()))
    print(printable(f"{num_done} of {num_jobs} files {where}, {time.perf_counter() - begun:.1f} s"))
    return 1 if failed else 0


def run_jobs(jobs: Iterable[Job], work: Work, batch: int, overlap: bool = True) -> Iterator[Outcome]:
    """Each job with what came of it, in their order.

    overlap: begin the next jobs before the last are finished, which takes the memory of both.
    """
    waiting: deque[Future[list[Outcome]]] = deque()
    with ThreadPoolExecutor(1) as thread:
        for group in _groups(jobs, work, batch):
            waiting.append(thread.submit(_finished, group, _begun(group, work), work))
            while len(waiting) > overlap:  # one in the thread, at most, while the next begins
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()
