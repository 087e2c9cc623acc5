"""Window attention: what a position can see."""

import pytest
import torch

from codec.layers.attention import AttentionBlock, WindowAttention


def seen_from(row, col, height, width, side):
    """Which positions of a map change when one of them does, bool [height, width]."""
    torch.manual_seed(0)
    layer = WindowAttention(16, side).double()
    x = torch.randn(1, 16, height, width, dtype=torch.float64)
    changed = x.clone()
    changed[0, :, row, col] += 1
    with torch.no_grad():
        return (layer(changed) - layer(x)).abs().amax((0, 1)) > 1e-12


def test_windows_are_shifted_by_half_of_their_side():
    assert seen_from(5, 5, 16, 16, 4).nonzero().tolist() == [[r, c] for r in range(2, 6) for c in range(2, 6)]


@pytest.mark.parametrize("height, width", [(16, 16), (4, 4)])
def test_nobody_sees_across_the_border_that_the_shift_wraps(height, width):
    """Also where the map is a single window."""
    assert seen_from(0, 0, height, width, 4).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_a_block_takes_any_multiple_of_its_window_and_keeps_the_shape():
    block = AttentionBlock(16, 4)
    for size in ((4, 4), (8, 20)):
        assert block(torch.randn(2, 16, *size)).shape == (2, 16, *size)
