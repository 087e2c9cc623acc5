"""Tables: integers that sum to 2^16, close to their density, refused when they are anything else."""

import heapq

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from codec.entropy.tables import (
    MAX_ENTRIES,
    MAX_TABLES,
    REACH,
    TOTAL,
    Tables,
    factorized_tables,
    gaussian_tables,
    quantize_pmf,
    scale_bounds,
    scale_index,
)
from codec.layers.exact import UNIT
from codec.types import UserError

SCALES = torch.logspace(np.log2(0.11), 8, 64, base=2.0, dtype=torch.float64)


def laplace(width: float):
    """The mass of unit intervals under a Laplace density around 0."""

    def interval_mass(samples: torch.Tensor, half: torch.Tensor | float = 0.5) -> torch.Tensor:
        def cdf(x):
            return torch.where(x < 0, 0.5 * torch.exp(x / width), 1 - 0.5 * torch.exp(-x.abs() / width))

        return cdf(samples + half) - cdf(samples - half)

    return interval_mass


def best_counts(p: np.ndarray) -> np.ndarray:
    """The counts of least divergence, one at a time to the entry that gains most: exact, since each gain falls."""
    counts = np.ones(len(p), dtype=int)
    gains = [(-share * np.log2(2), place) for place, share in enumerate(p)]
    heapq.heapify(gains)
    for _ in range(TOTAL - len(p)):
        _, place = gains[0]
        counts[place] += 1
        heapq.heapreplace(gains, (-p[place] * np.log2((counts[place] + 1) / counts[place]), place))
    return counts


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float64, st.integers(1, 300), elements=st.floats(0, 1)),
    st.floats(1e-12, 1),
)
def test_counts_are_a_table_whatever_the_density(pmf, tail):
    counts = quantize_pmf(pmf, tail)
    assert counts.dtype == np.uint16 and len(counts) == len(pmf) + 1
    assert counts.astype(int).sum() == TOTAL and (counts >= 1).all()
    assert np.array_equal(counts, quantize_pmf(pmf.copy(), tail))


def test_the_longest_table_and_the_surest_symbol_fit():
    assert quantize_pmf(np.array([1.0]), 0).tolist() == [TOTAL - 1, 1]
    longest = quantize_pmf(np.eye(1, MAX_ENTRIES - 1)[0], 0).astype(int)
    assert longest.sum() == TOTAL and (longest[1:] == 1).all()


@pytest.mark.parametrize("scale", [0.11, 1.0, 12.0, 256.0])
def test_counts_cost_next_to_nothing_over_the_best(scale):
    table = gaussian_tables(torch.tensor([scale])).table(0)
    k = torch.arange(len(table) - 1, dtype=torch.float64) - (len(table) - 2) // 2
    normal = torch.distributions.Normal(0.0, torch.tensor(scale, dtype=torch.float64))
    p = np.append((normal.cdf(k + 0.5) - normal.cdf(k - 0.5)).numpy(), 1e-9)
    p /= p.sum()
    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
    excess = (p * np.log2(best_counts(p) / table)).sum()
    assert -1e-6 <= excess <= 1e-4 * entropy


def test_gaussian_tables_are_symmetric_and_as_long_as_compressais():
    tables = gaussian_tables(SCALES)
    # ceil(scale * 6.1094), the distance that leaves 1e-9 outside
    assert tables.offsets[0] == -1 and tables.offsets[-1] == -1565
    for index in range(64):
        inside = tables.table(index)[:-1].astype(int)
        assert len(inside) == 1 - 2 * tables.offsets[index]
        assert np.abs(inside - inside[::-1]).max() <= 1  # what rounding leaves goes to one side first


def test_a_factorized_table_covers_its_quantiles_and_follows_its_density():
    medians = torch.tensor([0.0, 0.3])
    tails = torch.tensor([[-4.2, 6.0], [-7.7, 3.3]])
    tables = factorized_tables(laplace(1.5), medians, tails, torch.ones(2))
    assert tables.offsets.tolist() == [-5, -8]
    assert tables.lengths.tolist() == [5 + 6 + 2, 8 + 3 + 2]
    for channel in range(2):
        k = torch.arange(tables.lengths[channel] - 1) + int(tables.offsets[channel])
        expected = laplace(1.5)(medians[channel].double() + k)
        measured = tables.table(channel).astype(float) / TOTAL
        np.testing.assert_allclose(measured[:-1], expected, atol=2 / TOTAL)
        np.testing.assert_allclose(measured[-1], 1 - expected.sum(), atol=2 / TOTAL)


def test_a_finer_step_has_more_and_narrower_entries():
    medians, tails, steps = torch.tensor([0.0, 0.3]), torch.tensor([[-4.2, 6.0], [-7.7, 3.3]]), torch.tensor([0.25, 2.0])
    tables = factorized_tables(laplace(1.5), medians, tails, steps)
    assert tables.offsets.tolist() == [-17, -4] and tables.lengths.tolist() == [17 + 24 + 2, 4 + 2 + 2]
    for channel, step in enumerate(steps.tolist()):
        k = torch.arange(tables.lengths[channel] - 1) + int(tables.offsets[channel])
        expected = laplace(1.5)(medians[channel].double() + k * step, step / 2)
        np.testing.assert_allclose(tables.table(channel).astype(float)[:-1] / TOTAL, expected, atol=2 / TOTAL)


def test_a_density_without_end_keeps_its_middle():
    """An untrained channel's quantiles may lie anywhere: the table is cut, and the median stays in it."""
    for tails in ([-1e9, 1e9], [0.0, 1e9], [-1e9, 0.0], [5.0, -5.0]):
        tables = factorized_tables(laplace(0.3), torch.zeros(1), torch.tensor([tails]), torch.ones(1))
        assert tables.lengths[0] <= MAX_ENTRIES and tables.offsets[0] <= 0
        assert tables.table(0)[:-1][-tables.offsets[0]] > 0.4 * TOTAL
    wide = gaussian_tables(torch.tensor([1e5]))
    assert wide.lengths.tolist() == [2 * REACH + 2] and wide.table(0)[-1] == TOTAL - 2 * REACH - 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_density_that_is_no_number_is_one_error(bad):
    medians, tails = torch.zeros(2), torch.tensor([[-5.0, 5.0], [-5.0, 5.0]])
    for density, m, t in (
        (lambda s, half: s * bad, medians, tails),
        (laplace(1), torch.tensor([0.0, bad]), tails),
        (laplace(1), medians, torch.tensor([[-5.0, 5.0], [-5.0, bad]])),
    ):
        with pytest.raises(UserError, match="NaN or infinity"):
            factorized_tables(density, m, t, torch.ones(2))


def test_tables_pass_through_tensors():
    tables = gaussian_tables(SCALES)
    again = Tables.from_tensors(tables.to_tensors())
    for name in ("counts", "lengths", "offsets"):
        assert np.array_equal(getattr(again, name), getattr(tables, name))


def _int32(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


HALVES = np.full(4, TOTAL // 2, dtype=np.uint16)  # two tables of two entries


@pytest.mark.parametrize(
    "counts, lengths, offsets",
    [
        (HALVES[:0], _int32(), _int32()),
        (HALVES, _int32(2, 2), _int32(0)),
        (HALVES, _int32(2), _int32(0)),
        (HALVES, _int32(4), _int32(0)),  # sums to twice as much
        (HALVES, _int32(1, 3), _int32(0, 0)),
        (HALVES, _int32(-2, 6), _int32(0, 0)),
        (HALVES, _int32(2**31 - 1, 2), _int32(0, 0)),
        (HALVES, _int32(2, 2), _int32(0, -(2**31))),
        (HALVES[:, None], _int32(2, 2), _int32(0, 0)),
        (HALVES, np.int32(4), np.int32(0)),
        (np.array([TOTAL // 2, TOTAL // 2, 0], dtype=np.uint16), _int32(3), _int32(0)),  # sums rightly with a count of 0
        (np.full(TOTAL, 1, dtype=np.uint16), _int32(TOTAL), _int32(0)),  # longer than a table may be
        (
            np.full(2 * MAX_TABLES + 2, TOTAL // 2, dtype=np.uint16),
            np.full(MAX_TABLES + 1, 2, dtype=np.int32),
            np.zeros(MAX_TABLES + 1, dtype=np.int32),
        ),
    ],
)
def test_malformed_tables_are_refused(counts, lengths, offsets):
    Tables(HALVES, _int32(2, 2), _int32(0, 0))
    with pytest.raises(UserError, match="tables are damaged"):
        Tables(counts, lengths, offsets)


def test_tensors_of_another_kind_are_refused():
    tensors = gaussian_tables(SCALES).to_tensors()
    for wrong in (
        {},
        tensors | {"more": tensors["counts"]},
        tensors | {"counts": tensors["counts"].to(torch.int32)},
        tensors | {"lengths": tensors["lengths"].double()},
        {name: tensor for name, tensor in tensors.items() if name != "offsets"},
    ):
        with pytest.raises(UserError, match="tables are damaged"):
            Tables.from_tensors(wrong)


def _scales() -> torch.Tensor:
    """Scales of the grid: random ones over the table and beyond, those around its entries."""
    random = torch.exp(torch.empty(20_000).uniform_(-6, 7, generator=torch.Generator().manual_seed(0)))
    around = [torch.floor(SCALES.float() / UNIT) * UNIT + step * UNIT for step in (-1, 0, 1)]
    return torch.round(torch.cat((random, *around, torch.tensor([0.0, -1.0, 1e9]))) / UNIT) * UNIT


def test_the_upper_rule_is_compressais():
    scales, table = _scales(), SCALES.float()
    expected = 63 - (scales[:, None] <= table[:-1]).sum(dim=1)
    assert torch.equal(scale_index(scales, scale_bounds(SCALES, "upper")).long(), expected)


def test_the_nearest_rule_is_nearest_in_log():
    scales = _scales()
    index = scale_index(scales, scale_bounds(SCALES, "nearest")).long()
    distance = (scales.double().clamp(min=1e-9).log()[:, None] - SCALES.log()).abs()
    chosen = distance.gather(1, index[:, None])[:, 0]
    assert (chosen <= distance.min(dim=1).values + 1e-12).all()


def test_indices_follow_the_shape_in_any_memory_format():
    scales = _scales()[:96].reshape(1, 4, 4, 6)
    bounds = scale_bounds(SCALES, "nearest")
    last = scale_index(scales.contiguous(memory_format=torch.channels_last), bounds)
    assert torch.equal(last, scale_index(scales, bounds)) and last.is_contiguous()
