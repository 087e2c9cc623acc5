"""Maps of quality: painted in any program, or some regions of a map."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import UserError
from data.quality_maps import painted_map, quality_maps, read_quality_map
from data.regions import write_map

PAINTED = np.linspace(0, 255, 40 * 30).reshape(30, 40).astype(np.uint8)


@pytest.mark.parametrize(
    "mode, suffix", [("L", "png"), ("RGB", "png"), ("L", "jpg"), ("RGB", "jpg"), ("P", "png"), ("1", "png")]
)
def test_a_painted_map_is_its_greys(tmp_path, mode, suffix):
    path = tmp_path / f"map.{suffix}"
    painted = Image.fromarray(PAINTED).convert(mode)
    painted.save(path)
    read = read_quality_map(path)
    assert read.dtype == torch.uint8 and read.shape == (30, 40)
    np.testing.assert_allclose(read.int(), np.asarray(painted.convert("L")).astype(int), atol=3 if suffix == "jpg" else 0)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_map_that_could_be_transparent_and_is_not_is_one(tmp_path, mode):
    Image.fromarray(PAINTED).convert(mode).save(tmp_path / "map.png")
    assert np.array_equal(read_quality_map(tmp_path / "map.png"), PAINTED)


def test_a_map_without_pixels_is_refused():
    with pytest.raises(UserError, match="is of 0x5 pixels; expected the picture's size"):
        painted_map(Image.new("RGB", (0, 5)))


def test_what_is_no_painted_map_is_one_line(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "red.png")
    Image.new("LA", (4, 4)).save(tmp_path / "clear.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    Image.fromarray(PAINTED // 255).save(tmp_path / "mask.png")
    said = {
        "mask": "has 0 and 1 alone, and white is 255",
        "red": "has colours",
        "clear": "has transparent pixels",
        "broken": "is no picture",
        "missing": "no map of quality at",
    }
    for name, words in said.items():
        with pytest.raises(UserError, match=rf"^[^\n]*{name}.png[^\n]*$") as raised:
            read_quality_map(tmp_path / f"{name}.png")
        assert words in str(raised.value)


@pytest.mark.parametrize("count", [7, 700])
def test_regions_are_white(tmp_path, count):
    ids = np.arange(30 * 40).reshape(30, 40) % count
    write_map(tmp_path / "map.png", ids)
    read = read_quality_map(tmp_path / "map.png", [2, 5])
    assert (
        read.dtype == torch.uint8 and np.array_equal(read == 255, np.isin(ids, [2, 5])) and read.unique().tolist() == [0, 255]
    )
    with pytest.raises(UserError, match=rf"no region {count} in .*, which has {count}, from 0 to {count - 1}"):
        read_quality_map(tmp_path / "map.png", [1, count])


def test_a_folder_has_a_map_for_each_picture(tmp_path):
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    write_map(tmp_path / "maps" / "a" / "b.png", PAINTED.astype(int))
    (tmp_path / "one.jpg").touch()
    read = quality_maps(tmp_path / "pictures", tmp_path / "maps", None)
    assert np.array_equal(read(tmp_path / "pictures" / "a" / "b.jpg"), PAINTED)
    with pytest.raises(UserError, match="no map of quality at .*c.png"):
        read(tmp_path / "pictures" / "a" / "c.jpg")
    alone = quality_maps(tmp_path / "one.jpg", tmp_path / "maps" / "a" / "b.png", [7])
    assert np.array_equal(alone(tmp_path / "one.jpg") == 255, PAINTED == 7)
    for pictures, maps in (("pictures", "maps/a/b.png"), ("one.jpg", "maps")):
        with pytest.raises(UserError, match="expected a folder of maps for a folder of pictures"):
            quality_maps(tmp_path / pictures, tmp_path / maps, None)
