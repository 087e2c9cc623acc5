"""A picture and its map are cut alike: what a crop shows at a pixel is what its map says of that pixel."""

import numpy as np
import pytest
import torch

from data.crops import Window, draw_window

CASES = 10_000
PER_TEST = 1000
EDGE = 1e-3  # of a pixel: what float32 loses


def coordinates(height, width):
    """A picture float32 [3, H, W] whose first channels are the rows and columns of its pixels, and a map of them."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, columns - rows]).float(), (rows * width + columns).int()


def random_case(rng):
    """Height, width and a window drawn on them: any side, any scale, also windows as large as the picture."""
    side = int(rng.integers(8, 49))
    height, width = (int(rng.integers(side, 129)) for _ in range(2))
    scales = rng.uniform(0.05, 1, 3) if rng.random() < 0.7 else (1.0, 0.75, 0.5)
    return height, width, draw_window(height, width, side, scales, rng)


@pytest.mark.parametrize("seed", range(CASES // PER_TEST))
def test_picture_and_map_are_cut_flipped_and_scaled_together(seed):
    """In ten thousand random cases the pixel that the map names is the one nearest to what the picture shows."""
    rng = np.random.default_rng(seed)
    kinds = set()
    for _ in range(PER_TEST):
        height, width, window = random_case(rng)
        image, ids = coordinates(height, width)
        shown = window.cut_image(image)
        named = window.cut_map(ids)
        assert shown.shape[1:] == named.shape == (window.side, window.side)
        away = torch.stack([named // width, named % width]) - shown[:2]
        # Within a filter's reach of the window's edge the picture shows the mean of what is left of the filter.
        reach = 0 if window.size == window.side else 1
        inner = away[:, reach : window.side - reach, reach : window.side - reach]
        assert inner.abs().max() <= (0 if window.size == window.side else 0.5 + EDGE), window
        assert away.abs().max() <= 0.75 * window.size / window.side, window
        kinds.add((window.size == window.side, window.mirrored))
    assert len(kinds) == 4


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("ratio", [1, 3, 5])
def test_odd_scales_name_the_very_centre(ratio, mirrored):
    image, ids = coordinates(70, 90)
    window = Window(3, 7, 12 * ratio, 12, mirrored)
    shown, named = window.cut_image(image)[:2, 2:-2, 2:-2], window.cut_map(ids)[2:-2, 2:-2]
    assert torch.allclose(shown, torch.stack([named // 90, named % 90]).float(), atol=EDGE)


@pytest.mark.parametrize("size", [16, 24, 32, 40, 64])
def test_flat_regions_keep_their_colour_and_their_id_together(size):
    """Eight-bit pictures too: a pixel that lies in one region with its eight neighbours shows that region's colour."""
    rng = np.random.default_rng(size)
    for _ in range(20):
        ids = torch.from_numpy(rng.permutation(200)[:16].reshape(4, 4)).repeat_interleave(20, 0).repeat_interleave(20, 1)
        image = torch.stack([ids, 255 - ids, ids // 2]).to(torch.uint8)
        top, left = rng.integers(0, 80 - size + 1, 2)
        window = Window(int(top), int(left), size, 16, bool(rng.random() < 0.5))
        shown, named = window.cut_image(image), window.cut_map(ids)
        around = named.unfold(0, 3, 1).unfold(1, 3, 1)
        inside = around.amin((2, 3)) == around.amax((2, 3))
        expected = torch.stack([named, 255 - named, named // 2]).to(torch.uint8)
        assert inside.any()
        assert torch.equal(shown[:, 1:-1, 1:-1][:, inside], expected[:, 1:-1, 1:-1][:, inside])
