"""Many jobs in several processes: a picture on each core is done sooner than one picture on all of them."""

import math
import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import Synchronized

import torch

from codec.files.jobs import Job, Outcome, Work, run_jobs
from codec.files.loaded import CPU, Bundle
from codec.files.memory import memory_for_networks
from codec.types import UserError

BATCH = {"cuda": 8, "mps": 4}  # pictures of one size that are coded together
CAN_FORK = sys.platform == "linux"  # with all that is loaded, at once; elsewhere, torch would have to be imported again


def run_on_cores(
    jobs: Sequence[Job],
    work_of: Callable[[Bundle], Work],
    bundle: Bundle,
    batch: int | None,
    cores: int,
    keeping: bool = False,
) -> Iterator[Outcome]:
    """Each job with what came of it, in their order: a picture on each core, or on all of them, whichever memory allows.

    work_of: the work that a codec does, here that of `bundle`. batch: as run_jobs has it, if not what suits its device. cores:
    those that may be used, which torch has in the end. keeping: whether what the analysis of a batch gave is kept while its
    pictures are decoded. See run_in_processes.
    """
    batch = batch or BATCH.get(bundle.device.type, 1)
    processes = _most_processes(jobs, work_of(bundle), bundle, batch, cores, keeping)
    try:
        if processes > 1:
            yield from run_in_processes(jobs, work_of(_with_share(bundle, processes)), batch, processes)
    finally:
        torch.set_num_threads(cores)
    if processes == 1:
        yield from run_jobs(jobs, work_of(bundle), batch, overlap=bundle.device != CPU)


def _most_processes(jobs: Sequence[Job], work: Work, bundle: Bundle, batch: int, cores: int, keeping: bool) -> int:
    """How many there may be so that each can work on the largest picture."""
    most = min(cores, -(-len(jobs) // batch)) if CAN_FORK and bundle.device == CPU else 1
    sizes = [(1, 1)]
    for job in jobs if most > 1 else []:
        with suppress(UserError, OSError):  # which is told of the job in its turn
            sizes.append(work.size(job.source))
    for processes in range(most, 1, -1):
        with suppress(UserError):
            memory_for_networks(_with_share(bundle, processes), *max(sizes, key=math.prod), batch, keeping * batch)
            return processes
    return 1


def _with_share(bundle: Bundle, processes: int) -> Bundle:
    return bundle if bundle.memory is None else replace(bundle, memory=bundle.memory.share(processes))


def run_in_processes(jobs: Sequence[Job], work: Work, batch: int, processes: int) -> Iterator[Outcome]:
    """run_jobs, whose arguments it takes, in so many processes, each of which takes the next jobs when it has time.

    torch must work on one thread here until then: threads do not live on in copies of a process. The processes end with this
    one, and with the iterator. Raises UserError where one of them is killed.
    """
    context = multiprocessing.get_context("fork")
    next_job, workers, pipes = context.Value("q", 0), [], []
    for _ in range(processes):
        receiver, sender = context.Pipe(duplex=False)
        pipes.append(receiver)
        arguments = (sender, list(pipes), next_job, jobs, work, batch)
        workers.append(context.Process(target=_serve, args=arguments, daemon=True))
        workers[-1].start()
        sender.close()  # so that it is closed when the process ends
    try:
        yield from _in_order(pipes, len(jobs))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _in_order(pipes: list[Connection], num_jobs: int) -> Iterator[Outcome]:
    early: dict[int, Outcome] = {}
    told = 0
    while pipes:
        for pipe in wait(pipes):
            assert isinstance(pipe, Connection)
            try:
                number, outcome = pipe.recv()
            except EOFError:
                pipes.remove(pipe)
                continue
            if isinstance(outcome, BaseException):
                raise outcome
            early[number] = outcome
        while told in early:
            yield early.pop(told)
            told += 1
    if told < num_jobs:
        raise UserError(
            f"a process was killed while it worked on {num_jobs - told - len(early)} of {num_jobs} files, as systems do where "
            "memory ends; expected all of them; say --resume with less --max-memory"
        )


def _serve(
    pipe: Connection,
    inherited: Sequence[Connection],
    next_job: "Synchronized[int]",
    jobs: Sequence[Job],
    work: Work,
    batch: int,
) -> None:
    """Work on the next jobs until there are none, or nobody waits for them.

    pipe: gets the outcomes with the numbers of their jobs. inherited: ends at which the first process reads those of this one
    and of others: open here, too, they would keep the pipes from breaking when that process is killed. next_job, jobs, work,
    batch: as of run_in_processes, which jobs come next is counted by all.
    """
    for receiver in inherited:
        receiver.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all; who asked for this tells it by SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # half a file is removed on the way
    torch.set_num_threads(1)
    taken: deque[int] = deque()

    def claimed() -> Iterator[Job]:
        while True:
            with next_job.get_lock():
                first = next_job.value
                next_job.value += batch
            numbers = range(first, min(first + batch, len(jobs)))
            taken.extend(numbers)
            yield from (jobs[number] for number in numbers)
            if not numbers:
                return

    try:
        for outcome in run_jobs(claimed(), work, batch, overlap=False):
            pipe.send((taken.popleft(), outcome))
    except BrokenPipeError:
        return  # nobody waits any more
    except Exception as error:
        pipe.send((0, error))
