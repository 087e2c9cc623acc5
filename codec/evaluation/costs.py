"""What a learned codec costs: multiplications, parameters, memory, and where the seconds of a picture go."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from codec.files.coding import decode, encode
from codec.files.loaded import Bundle
from codec.machine import resident_bytes

COUNTED_SIDE = 256  # pixels, a multiple of every stride: nothing is padded


def costs_of(floats: Bundle) -> dict[str, float]:
    """Parameters, and thousands of multiplications with an addition for each pixel of encoding and of decoding.

    floats: the codec without exact arithmetic, whose layers the counter knows. Convolutions and matrix products count, by
    torch's FlopCounterMode; an encoder runs g_a, h_a and h_s, a decoder h_s and g_s.
    """
    picture = torch.zeros(3, COUNTED_SIDE, COUNTED_SIDE, dtype=torch.uint8)
    file = encode(floats, picture).file  # strips ask their networks once before the first picture: not counted
    decode(floats, file)
    costs = {"parameters": float(sum(p.numel() for p in floats.model.parameters()))}
    for name, step in (("encode", lambda: encode(floats, picture)), ("decode", lambda: decode(floats, file))):
        with FlopCounterMode(display=False) as counter:
            step()
        costs[f"kmac_per_pixel_{name}"] = counter.get_total_flops() / 2 / 1000 / COUNTED_SIDE**2
    return costs


class TransformClock:
    """Seconds that a codec's networks of analysis and synthesis took, of all in between that its coding takes.

    To be asked between two codings: `take` gives what there was since the last time. Those parts of SegPIC that work within
    its pass over the latents count as networks too.
    """

    def __init__(self, bundle: Bundle):
        self._device = bundle.device
        self._seconds, self._begun, self._depth = 0.0, 0.0, 0
        for network in bundle.model.picture_networks():
            network.register_forward_pre_hook(self._begin)
            network.register_forward_hook(self._end, always_call=True)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _begin(self, network: nn.Module, *_: Any) -> None:
        if not self._depth:
            self._begun = self._now()
        self._depth += 1

    def _end(self, network: nn.Module, *_: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self._seconds += self._now() - self._begun

    def take(self) -> float:
        """The seconds since the last time it was asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds


@contextmanager
def peak_memory(device: torch.device) -> Iterator[dict[str, float]]:
    """What it gives has peak_memory_bytes afterwards, where that can be told: of the device, or what this process grew by."""
    found: dict[str, float] = {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found["peak_memory_bytes"] = float(torch.cuda.max_memory_allocated(device))
        return
    before = _peak_begins() if sys.platform == "linux" else 0
    yield found
    if before:
        found["peak_memory_bytes"] = float(resident_bytes("VmHWM") - before)


def _peak_begins() -> int:
    """Let the process's peak begin now; what it holds already, or 0 where the system does not let it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return resident_bytes("VmRSS")
