"""What the benchmark counts, each side alone."""

from codec.benchmark.sides import Settings
from codec.benchmark.timing import measure


def test_memory_of_each_side_is_counted_alone():
    """Whatever the process that asks for it has held before."""
    model = {"name": "segpic", "lmbda": 0.0067, "N": 24, "M": 40}
    ballast = bytearray(2**30)
    ballast[::4096] = b"\1" * 2**18  # which makes it resident
    rows, against_floats = measure(Settings(model, 1, 256, steps=1, rounds=1, size=(64, 64), precision="auto", compile=False))
    del ballast
    ours, theirs = rows["DPSConv"].memory
    assert 0 < 2 * ours < theirs
    ours, theirs = rows["training step"].memory
    assert 0 < ours < theirs
