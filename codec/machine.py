"""What a long run asks of its machine: memory that stays, cores that are free."""

import ctypes
import os
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Have the process reuse what it frees instead of giving it back to the system, where the C library is glibc.

    A feature map above 32 MiB is a mapping of its own, and each step would wait for the kernel to clear new pages for it:
    SegPIC's step took 4 to 7 % longer on two cores; where the system is slow at that, as in virtual machines, a picture took
    twice as long to code. The peak of memory stays as it is. For programs of our own, not where others import us.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


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
