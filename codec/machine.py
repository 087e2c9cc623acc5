"""What a long run asks of its machine: memory that stays, cores that are free."""

import ctypes
import os
import re
import sys
from pathlib import Path

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of glibc's malloc.h
MOST_MAPPINGS, SMALL = 2**16, 2**17  # what glibc begins with: mappings; bytes below which a block is none, and free ones stay


def keep_freed_memory() -> None:
    """Have the process reuse what it frees instead of giving it back to the system, where the C library is glibc.

    A feature map above 32 MiB is a mapping of its own, and each step would wait for the kernel to clear new pages for it:
    SegPIC's step took 4 to 7 % longer on two cores; where the system is slow at that, as in virtual machines, a picture took
    twice as long to code. The peak of memory stays as it is. For programs of our own, not where others import us.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Have the process give back what it frees, and has freed: where it may take only so much.

    What is kept lies in pieces, and another thread has no use for it. glibc keeps ever larger blocks, up to 32 MiB, unless told
    not to: SegPIC's decoding of 4 megapixels took 2.57 GiB of 2.20 allowed so, and takes 1.95 now.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_MAX, MOST_MAPPINGS)
        libc.mallopt(M_MMAP_THRESHOLD, SMALL)
        libc.mallopt(M_TRIM_THRESHOLD, SMALL)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def resident_bytes(which: str) -> int:
    """Memory of this process as Linux counts it: VmRSS now, VmHWM at its peak (getrusage's peak is inherited); else 0."""
    if sys.platform != "linux":
        return 0
    found = re.search(rf"^{which}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


def told_load() -> str | None:
    """A line on cores that are busy with other work, or None: threads that wait for each other make it worse.

    With two busy programs on two cores a step on two threads took 7 to 10 times as long as on one.
    """
    if not hasattr(os, "getloadavg") or torch.get_num_threads() == 1:
        return None
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < 0.75 * cores:
        return None
    return f"other programs are using this machine (load {load:.1f} on {cores} cores): OMP_NUM_THREADS=1 may be far faster"
