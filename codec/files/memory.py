"""What memory coding a picture takes, and what it may take: told before any is taken.

Linux kills a process that takes too much memory without a word, and a few bytes can claim a picture of any size.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from codec.entropy.payload import StreamReader, StreamWriter
from codec.files.limits import padded_pixels
from codec.layers.strips import Strips, allowing, calls
from codec.layers.taken import counted
from codec.types import UserError

if TYPE_CHECKING:
    from codec.files.loaded import Bundle  # which keeps what it needs
    from codec.models import Codec

ENOUGH = 4096  # bytes for each pixel, which no codec here takes
PROBE = 1024, 64  # height and width of the picture from which the needs of others are told: with many strips of its latent
PIXELS = 3  # bytes for each pixel of a picture
PILLOW = 8  # bytes for each while it is read or written, of which Pillow's picture has 4
LIBRARIES = 3 * 2**26  # bytes that they take when networks first compute: WACNN's 16 MP took 152 MiB
SHARE_OF_FREE = 0.75

_held: ContextVar[int] = ContextVar("held", default=0)


@contextmanager
def holding(y: torch.Tensor) -> Iterator[None]:
    """Within, pictures are decoded while their user still has y, what the analysis gave, with all pictures of its batch."""
    token = _held.set(_held.get() + y.untyped_storage().nbytes())
    try:
        yield
    finally:
        _held.reset(token)


class Memory(NamedTuple):
    """What a process may take.

    limit: bytes of all it may have; taken: those that it has without any picture. asked: whether its user said so. alone:
    whether no other picture is read or written while one is coded.
    """

    limit: float
    taken: float
    asked: bool
    alone: bool = False

    def share(self, processes: int) -> Memory:
        """What one of several processes may take that begin as copies of this one."""
        return self._replace(limit=self.taken + (self.limit - self.taken) / processes)


def allowed_memory(limit: int | None, device: torch.device, alone: bool = False) -> Memory | None:
    """What the process may take on a device: up to a limit, or else three quarters of what is free; None for all.

    alone: see Memory.
    """
    taken = _resident() + LIBRARIES if device.type == "cpu" else 0
    if limit is not None:
        return Memory(limit, taken, asked=True, alone=alone)
    free = free_memory(device)
    return None if free is None else Memory(taken + SHARE_OF_FREE * free, taken, asked=False, alone=alone)


def _resident() -> int:
    """Bytes of memory that this process has now, where the system says."""
    kilobytes = _number(Path("/proc/self/status"), "VmRSS:")
    return 0 if kilobytes is None else 1024 * kilobytes


def _number(path: Path, after: str = "") -> int | None:
    """The number that follows a text in a file of the system, or begins it; None where there is none, but say `max`."""
    try:
        text = path.read_text()
        return int(text[text.index(after) + len(after) :].split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _left_by_groups(root: Path, own: Path) -> list[int]:
    """What the memory limits of this process's control groups leave, the innermost first: a container's, a SLURM job's.

    root: where cgroup v2 is mounted. own: which group of each hierarchy the process is in. Cached files are not counted.
    """
    try:
        name = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return []
    place = root / name.strip("/")
    left = []
    for group in [place, *place.parents]:
        limit, taken = _number(group / "memory.max"), _number(group / "memory.stat", "anon ")
        if limit is not None and taken is not None:
            left.append(limit - taken)
        if group == root:
            break
    return left


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process may still take there, as far as the system says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    kilobytes = _number(Path("/proc/meminfo"), "MemAvailable:")
    limits = [] if kilobytes is None else [1024 * kilobytes]
    return min(limits + _left_by_groups(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")), default=None)


class Needs(NamedTuple):
    """What coding takes there or back, whichever takes more.

    kept: bytes for each pixel of what lies between the networks; analysed: of what the analysis gives, which is among it.
    networks: what works in strips, and the batch and size of the map that it gets for a picture of PROBE.
    """

    kept: float
    analysed: float
    networks: list[tuple[Strips, torch.Tensor]]

    def beside(self, alone: bool = False) -> float:
        """Bytes for each pixel of what there is beside the networks, while the next picture is read unless one is alone."""
        return PIXELS + (max(self.kept, PILLOW) if alone else self.kept + PILLOW)

    def least(self, batch: int, height: int, width: int, alone: bool = False) -> float:
        """Bytes without which pictures of that size, padded, cannot be coded; alone: see Memory."""
        kept = batch * height * width * self.beside(alone)
        down, across = (side / probed for side, probed in zip((height, width), PROBE, strict=True))
        return kept + batch * max(
            network.least(x, math.ceil(x.size(2) * down), math.ceil(x.size(3) * across)) for network, x in self.networks
        )


@torch.inference_mode()
def needs_of(bundle: Bundle) -> Needs:
    """The needs of a codec; a small picture is coded."""
    with calls() as networks, allowing(sys.float_info.max):
        analysed = _analysed(bundle).untyped_storage().nbytes()
        _back(bundle, _there(bundle))
    with counted() as taken:
        _back(bundle, _there(bundle))
    return Needs(taken.kept / math.prod(PROBE), analysed / math.prod(PROBE), networks)


def _analysed(bundle: Bundle) -> torch.Tensor:
    return bundle.analysis(torch.zeros(1, 3, *PROBE, dtype=torch.uint8, device=bundle.device)).to(bundle.pass_device)


def _there(bundle: Bundle) -> list[bytes]:
    model, y = bundle.model, _analysed(bundle)
    writer = StreamWriter(bundle.tables, bundle.scale_bounds)
    model.code_latents(model.at_levels(writer, _probed_levels(model)), y, model.latent_size(*PROBE), model.grid)
    return [payload.content for payload in writer.finish()]


def _back(bundle: Bundle, contents: list[bytes]) -> None:
    reader = StreamReader(contents, bundle.tables, bundle.scale_bounds)
    bundle.pictures(bundle.model.read(reader, *PROBE, bundle.model.grid, _probed_levels(bundle.model)))


def _probed_levels(model: Codec) -> torch.Tensor | None:
    """A map of levels where the codec has several, since that takes most."""
    level = model.middle_level
    return None if level is None else torch.full(model.latent_size(*PROBE), level)


def memory_for_networks(bundle: Bundle, height: int, width: int, batch: int = 1, keeping: int = 0) -> float:
    """Bytes that a network of `bundle` may take while `batch` pictures of height and width are coded; infinite for enough.

    keeping: of how many such pictures what the analysis gave will be kept meanwhile, beside what `holding` says already.
    Raises UserError where it would be too little, before any is taken.
    """
    memory = bundle.memory or allowed_memory(None, bundle.device)
    if memory is None:
        return math.inf
    padded, taken = padded_pixels(bundle.model, height, width), memory.taken + _held.get()
    pixels, left = batch * padded, memory.limit - taken
    if left >= ENOUGH * (pixels + keeping * padded):
        return math.inf
    kept = keeping * padded * bundle.needs.analysed
    taken, left = taken + kept, left - kept
    high, wide = (side * bundle.model.latent_stride for side in bundle.model.latent_size(height, width))
    least = bundle.needs.least(batch, high, wide, memory.alone)
    if least > left:
        size, takes = f"a picture of {width}x{height}", least + taken if memory.asked else least
        allowed = f"{memory.limit / 2**30:.1f} GiB are allowed" if memory.asked else f"{left / 2**30:.1f} GiB are free"
        mend = f"say --max-memory {math.ceil(takes / 2**20)}M, or cut" if memory.asked else "cut"
        raise UserError(
            f"{size} takes {takes / 2**30:.1f} GiB at least, and {allowed}; {mend} it into parts, or use a machine with "
            "more memory"
        )
    return left - pixels * bundle.needs.beside(memory.alone)
