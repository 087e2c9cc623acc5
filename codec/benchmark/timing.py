"""What two implementations take, in turn in one run: seconds and, each in a process of its own, memory."""

import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch

from codec.benchmark.coding import bundle_of, coding_steps, decoding_steps, encoding_steps, picture_of
from codec.benchmark.sides import THEIRS, Settings, Steps, build_sides, layer_steps, training_steps
from codec.files.bundle import in_floats
from codec.layers.dps_conv import TAPS
from codec.machine import keep_freed_memory, resident_bytes
from codec.training.precision import cpu_multiplies_bf16

STEP, LAYER = "training step", "DPSConv"
CODING = ("encode", "decode")
STEPS: dict[str, Callable[[Settings], Steps]] = {
    CODING[0]: encoding_steps, CODING[1]: decoding_steps, STEP: training_steps, LAYER: layer_steps
}  # fmt: skip
OURS = 0  # of Steps
CODINGS = 3  # of a picture in a round


def instructions() -> str:
    """What of the CPU's instructions decides the speed here."""
    bf16 = "multiplies bf16" if cpu_multiplies_bf16() else "does not multiply bf16"
    return f"{torch.backends.cpu.get_cpu_capability()}, {bf16}, {torch.get_num_threads()} threads"


@dataclass(frozen=True)
class Row:
    """Seconds of one operation here and there, the median of there / here round by round, and the bytes that each needs."""

    ours: float
    theirs: float
    ratio: float
    memory: tuple[int, int] | None = None


def _seconds(operation: Callable[[], object], repeats: int) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        operation()
    return (time.perf_counter() - begun) / repeats


def _in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Row:
    """What the two say they took, in turn, so that a machine's moods hit both."""
    ours()  # warm
    theirs()
    seconds = [(ours(), theirs()) for _ in range(rounds)]
    our_median, their_median = (statistics.median(side) for side in zip(*seconds, strict=True))
    return Row(our_median, their_median, statistics.median(their / our for our, their in seconds))


def _against_floats(settings: Settings) -> dict[str, Row]:
    """Encoding and decoding a picture with the entropy networks in exact arithmetic, and in floats."""
    bundle, picture = bundle_of(build_sides(settings)), picture_of(settings)
    rows = {}
    codings = (coding_steps(bundle, picture), coding_steps(in_floats(bundle), picture))
    for name, exact, floats in zip(CODING, *codings, strict=True):
        rows[name] = _in_turn(partial(_seconds, exact, CODINGS), partial(_seconds, floats, CODINGS), settings.rounds)
    return rows


_step: Callable[[], object]
"""Of a worker process: the step of its side."""


def _prepare(settings: Settings, row: str, side: int) -> int:
    """Make this process one that repeats the steps of one side; bytes by which two of them let it grow, at their peak."""
    global _step
    _step = STEPS[row](settings)[side]
    if side == OURS:
        keep_freed_memory()  # as training does; not before, or what building the models freed would hide the growth
    before = resident_bytes("VmRSS")
    for _ in range(2):
        _step()
    return resident_bytes("VmHWM") - before


def _seconds_here(repeats: int) -> float:
    return _seconds(_step, repeats)


def _seconds_there(process: ProcessPoolExecutor, repeats: int) -> float:
    """Seconds of the step for which a worker process was prepared."""
    return process.submit(_seconds_here, repeats).result()


def _row_of_steps(settings: Settings, row: str) -> Row:
    """Each side in a process of its own: they differ in how they hold memory, and each one's memory is counted.

    Of a training step that is all beyond the weights; of the layer all beyond inputs, output and their gradients.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])  # imports once for all of them
    with ProcessPoolExecutor(1, server) as ours, ProcessPoolExecutor(1, server) as theirs:
        grown = [pool.submit(_prepare, settings, row, side).result() for side, pool in enumerate((ours, theirs))]
        there, here = partial(_seconds_there, theirs, settings.steps), partial(_seconds_there, ours, settings.steps)
        timed = _in_turn(here, there, settings.rounds)
    if sys.platform != "linux":
        return timed
    known = 4 * math.prod(settings.map_shape(2 + TAPS)) if row == LAYER else 0  # output and gradients
    return replace(timed, memory=(grown[0] - known, grown[1] - known))


def measure(settings: Settings) -> tuple[dict[str, Row], dict[str, Row]]:
    """Coding where CompressAI has the model, DPSConv where the model has it, training step; coding against floats."""
    keep_freed_memory()  # as the commands that code do
    against_floats = _against_floats(settings)
    names = CODING if settings.model["name"] in THEIRS else (LAYER,) if settings.model["name"] == "segpic" else ()
    return {name: _row_of_steps(settings, name) for name in (*names, STEP)}, against_floats
