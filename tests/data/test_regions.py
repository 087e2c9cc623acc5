"""Maps on disk, and what is done with the ids of a crop."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import UserError
from data.quality_maps import read_quality_map
from data.regions import GridRegions, grid_map, map_path, read_map, relabel, write_map


@pytest.mark.parametrize("count, mode", [(1, "L"), (256, "L"), (257, "I;16"), (65536, "I;16")])
def test_a_map_comes_back(tmp_path, count, mode):
    ids = np.random.default_rng(0).permutation(np.arange(270 * 260) % count).reshape(270, 260)
    path = tmp_path / "a" / "b.png"
    write_map(path, ids)
    with Image.open(path) as image:
        assert image.mode == mode
    read = read_map(path)
    assert read.dtype == (torch.uint8 if count <= 256 else torch.int32) and np.array_equal(read, ids)
    assert [file.name for file in path.parent.iterdir()] == ["b.png"]


def test_more_regions_than_a_png_can_tell_apart_are_refused(tmp_path):
    with pytest.raises(UserError, match="65537 regions.*max_regions"):
        write_map(tmp_path / "a.png", np.arange(65537)[None])
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_map_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    (tmp_path / "empty.png").touch()
    Image.new("RGB", (4, 4)).save(tmp_path / "colour.png")
    Image.new("P", (4, 4)).save(tmp_path / "palette.png")
    write_map(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 9, (64, 64)))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-200])
    for name in ("broken", "empty", "colour", "palette", "cut", "missing"):
        with pytest.raises(UserError, match=rf"^[^\n]*{name}.png[^\n]*codec masks[^\n]*$"):
            read_map(tmp_path / f"{name}.png")


def claiming(width, height):
    """A PNG of one channel that says it has so many pixels, and has none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(b"\0"), b"IEND"]
    framed = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@pytest.mark.parametrize("size", [(20000, 20000), (2**14, 2**13 + 1)])
def test_a_map_that_claims_more_pixels_than_a_picture_has_is_not_decoded(tmp_path, size):
    (tmp_path / "huge.png").write_bytes(claiming(*size))
    for read in (read_map, lambda path: read_quality_map(path, [1]), read_quality_map):
        with pytest.raises(UserError, match=r"^[^\n]*huge.png has[^\n]* pixels[^\n]*expected[^\n]*$"):
            read(tmp_path / "huge.png")


def test_a_map_is_named_after_its_picture(tmp_path):
    assert map_path(tmp_path, "a/b.c.jpg") == tmp_path / "a" / "b.c.png"


def test_ids_of_a_crop_become_dense_in_the_same_order():
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.uint8, torch.int32):
        ids = torch.randint(0, 200, (13, 17), generator=generator).to(dtype)
        _, expected = ids.unique(return_inverse=True)
        assert relabel(ids).dtype == torch.int64 and torch.equal(relabel(ids), expected)
        assert torch.equal(relabel(relabel(ids)), expected)
    assert torch.equal(relabel(torch.full((3, 3), 65535, dtype=torch.int32)), torch.zeros(3, 3, dtype=torch.int64))


@pytest.mark.parametrize("height, width, rows, cols", [(64, 64, 4, 4), (65, 127, 3, 5), (7, 7, 7, 1)])
def test_a_grid_is_uniform(height, width, rows, cols):
    ids = grid_map(height, width, rows, cols)
    assert ids.shape == (height, width) and torch.equal(ids.unique(), torch.arange(rows * cols))
    for heights, count in ((ids[:, 0].bincount(), rows), (ids[0].bincount(), cols)):
        lengths = heights[heights > 0]
        assert len(lengths) == count and lengths.max() - lengths.min() <= 1
    assert torch.equal(GridRegions(rows, cols).crop_map(64), grid_map(64, 64, rows, cols))


def test_a_grid_without_rows_is_refused():
    with pytest.raises(UserError, match="0 rows"):
        GridRegions(0, 4)
