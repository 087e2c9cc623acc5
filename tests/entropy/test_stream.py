"""The range-coded payload: every int32 comes back, at the size its tables promise, and no payload does harm."""

import time

import constriction
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec.entropy.stream import CHUNKS, LENGTHS, SLACK_BITS, SLACK_SHARE, SymbolReader, SymbolWriter
from codec.entropy.tables import TOTAL, Tables, gaussian_tables, quantize_pmf
from codec.types import UserError

SCALES = torch.logspace(np.log2(0.11), 8, 64, base=2.0, dtype=torch.float64)
GAUSSIAN = gaussian_tables(SCALES)
EXTREMES = [-(2**31), 2**31 - 1, 0, -1, 1, 2**16, -(2**16), 2**30]


def make_tables(rows: list[tuple[list[float], int]]) -> Tables:
    """Tables from (weights, offset); the last weight is the escape's."""
    counts = [quantize_pmf(np.array(weights[:-1]), weights[-1]) for weights, _ in rows]
    return Tables(
        np.concatenate(counts),
        np.array([len(c) for c in counts], dtype=np.int32),
        np.array([offset for _, offset in rows], dtype=np.int32),
    )


SURE = make_tables([([1.0, 0.0], 0)])  # symbol 0 and nothing else
ESCAPE = make_tables([([0.0, 1.0], 0)])  # nothing but the escape


def gaussian_symbols(n: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and indices of n values, all 64 scales alike; at a spread above 1 some lie outside their tables."""
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, 64, n).astype(np.int16)
    return np.rint(rng.normal(size=n) * SCALES.numpy()[indices] * spread).astype(np.int32), indices


def written(*calls: tuple[np.ndarray, np.ndarray, Tables]) -> tuple[bytes, float]:
    """The payload of some calls, and its ideal bits."""
    writer = SymbolWriter()
    bits = sum(writer.write(*call) for call in calls)
    return writer.finish(), bits


def check_round_trip(*calls: tuple[np.ndarray, np.ndarray, Tables]) -> None:
    payload, bits = written(*calls)
    reader = SymbolReader(payload)
    for symbols, indices, tables in calls:
        read = reader.read(indices, tables)
        assert read.dtype == np.int32 and np.array_equal(read, symbols)
    reader.finish()
    assert abs(len(payload) - bits / 8) <= 0.0005 * bits / 8 + 8


weights = st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda w: sum(w) > 0)
table_sets = st.lists(st.tuples(weights, st.integers(-(2**30) + 1, 2**30 - 1)), min_size=1, max_size=5).map(make_tables)
int32 = st.integers(-(2**31), 2**31 - 1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_int32_round_trips_at_any_tables(data):
    calls = []
    for _ in range(data.draw(st.integers(1, 3))):
        tables = data.draw(table_sets)
        near = st.integers(-4, 16).map(lambda k, t=tables: int(t.offsets[0]) + k)
        symbols = data.draw(st.lists(st.one_of(int32, near, st.sampled_from(EXTREMES)), max_size=40))
        indices = data.draw(st.lists(st.integers(0, len(tables.lengths) - 1), min_size=len(symbols), max_size=len(symbols)))
        calls.append((np.array(symbols, dtype=np.int32), np.array(indices, dtype=np.int32), tables))
    check_round_trip(*calls)


@pytest.mark.parametrize("offset", [-(2**30) + 1, 0, 2**30 - 1])
def test_the_farthest_symbols_round_trip(offset):
    tables = make_tables([([0.5, 0.3, 0.2], offset)])
    symbols = np.array(EXTREMES + [offset - 1, offset, offset + 1, offset + 2], dtype=np.int32)
    check_round_trip((symbols, np.zeros(len(symbols), dtype=np.int16), tables))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_symbols_round_trip(n):
    check_round_trip((*gaussian_symbols(n), GAUSSIAN))


def test_escapes_of_every_length_round_trip_beside_each_other():
    powers = np.array([sign * (2**k + d) for k in range(31) for d in (-1, 0, 1) for sign in (1, -1)], dtype=np.int32)
    check_round_trip((powers, np.zeros(len(powers), dtype=np.int16), ESCAPE))
    check_round_trip((powers, np.arange(len(powers), dtype=np.int16) % 64, GAUSSIAN))


@pytest.mark.parametrize("spread", [1.0, 5.0])
def test_the_payload_is_as_long_as_the_tables_say(spread):
    symbols, indices = gaussian_symbols(200_000, spread=spread)
    check_round_trip((symbols, indices, GAUSSIAN))


@pytest.mark.parametrize("entry", ["rarest", "commonest", "escape"])
def test_a_sound_payload_is_never_held_to_be_short(entry):
    """The guard against short payloads counts at the tables' 16 bits, the coder codes at 24: the worst that can be."""
    for index in (0, 20, 63):
        table = GAUSSIAN.table(index)
        place = {"rarest": 0, "commonest": int(table.argmax()), "escape": len(table) - 1}[entry]
        symbols = np.full(100_000, GAUSSIAN.offsets[index] + place, dtype=np.int32)
        check_round_trip((symbols, np.full(len(symbols), index, dtype=np.int16), GAUSSIAN))


def test_sure_symbols_cost_nothing():
    symbols = np.zeros(1_000_000, dtype=np.int32)
    payload, bits = written((symbols, np.zeros(len(symbols), dtype=np.int16), SURE))
    assert bits < 25 and len(payload) <= 8
    check_round_trip((symbols, np.zeros(len(symbols), dtype=np.int16), SURE))


def test_the_payload_of_yesterday_decodes_today():
    """Files lie on people's disks: the coder, its models and the way of escapes are the format, and may not drift."""
    tables = make_tables([([4, 2, 1, 1], -1), ([1, 8, 4, 2, 1], 3)])
    symbols = np.array([0, 3, -1, 1, 70_000, 4, 5, -9, 6, 2**31 - 1, -(2**31), 0], dtype=np.int32)
    indices = np.array([0, 1, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0], dtype=np.int16)
    payload = bytes.fromhex("9f1cf89ba978d279a20d5cc17664445903dafa74")
    assert written((symbols, indices, tables))[0] == payload
    assert np.array_equal(SymbolReader(payload).read(indices, tables), symbols)


def test_random_payloads_end_in_the_one_error():
    rng = np.random.default_rng(0)
    _, indices = gaussian_symbols(3000)
    for _ in range(500):
        reader = SymbolReader(rng.bytes(4 * int(rng.integers(0, 200))))
        with pytest.raises(UserError, match="damaged") as caught:  # noqa: PT012
            reader.read(indices, GAUSSIAN)
            reader.read(np.zeros(500, dtype=np.int16), ESCAPE)
            reader.finish()
        assert "\n" not in str(caught.value)


def test_a_payload_shorter_than_its_symbols_is_refused():
    """Within the guard's slack of 1 % and 64 bits, and where what a cut leaves decodes to something cheap, it may pass here:
    the container's two checksums see that one."""
    symbols, indices = gaussian_symbols(2000, spread=3)
    payload, bits = written((symbols, indices, GAUSSIAN))
    for length in range(0, len(payload)):
        if length % 4 or length * 8 * (1 + SLACK_SHARE) + 8 * SLACK_BITS < bits:
            with pytest.raises(UserError, match="damaged"):
                SymbolReader(payload[:length]).read(indices, GAUSSIAN)


def test_a_payload_longer_than_its_symbols_is_refused():
    symbols, indices = gaussian_symbols(2000)
    payload, _ = written((symbols, indices, GAUSSIAN))
    for extra in (8, 12, 400):
        reader = SymbolReader(payload + np.random.default_rng(extra).bytes(extra))
        assert np.array_equal(reader.read(indices, GAUSSIAN), symbols)
        with pytest.raises(UserError, match="goes on"):
            reader.finish()


@pytest.mark.parametrize("tables", [GAUSSIAN, SURE, ESCAPE], ids=["gaussian", "sure", "escape"])
@pytest.mark.parametrize("payload", [b"", bytes(4), b"\xff" * 64], ids=["empty", "zeros", "ones"])
def test_ten_million_symbols_out_of_nothing_are_refused_at_once(tables, payload):
    indices = np.zeros(10_000_000, dtype=np.int16)
    start = time.perf_counter()
    with pytest.raises(UserError, match="damaged"):
        SymbolReader(payload).read(indices, tables)
    assert time.perf_counter() - start < 10  # 0.5 s on two free cores


def test_a_symbol_beyond_32_bits_is_refused():
    """What no writer writes: an escape of 34 bits."""
    encoder = constriction.stream.queue.RangeEncoder()
    escape = constriction.stream.model.Categorical(ESCAPE.table(0) / TOTAL, perfect=False)
    encoder.encode(np.array([1], dtype=np.int32), escape)
    encoder.encode(np.array([34], dtype=np.int32), LENGTHS)
    for bits in (16, 16, 2):
        encoder.encode(np.array([2**bits - 1], dtype=np.int32), CHUNKS, np.array([2**bits], dtype=np.int32))
    payload = encoder.get_compressed().astype("<u4").tobytes()
    with pytest.raises(UserError, match="beyond 32 bits"):
        SymbolReader(payload).read(np.zeros(1, dtype=np.int16), ESCAPE)
