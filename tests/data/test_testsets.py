"""The sets to measure on: whole pictures, each with a name of its own."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import UserError
from data.manifest import Manifest
from data.testsets import folder, kodak, photographs


@pytest.fixture
def pictures(tmp_path):
    """A folder of four pictures."""
    root = tmp_path / "mine"
    (root / "deep").mkdir(parents=True)
    for name in ("a.png", "a.webp", "b.png", "deep/b.png"):
        Image.fromarray(np.zeros((4, 5, 3), dtype=np.uint8)).save(root / name)
    return root


def test_photographs_need_no_download():
    test_set = photographs()
    names = [picture.name for picture in test_set.pictures]
    assert test_set.name == "photographs" and names == ["astronaut", "chelsea", "coffee", "motorcycle_left", "rocket"]
    astronaut = test_set.pictures[0].load()
    assert astronaut.shape == (3, 512, 512) and astronaut.dtype == torch.uint8


def test_a_folder_gives_each_picture_its_own_name(pictures):
    test_set = folder(pictures)
    assert [picture.name for picture in test_set.pictures] == ["a.png", "a.webp", "b", "deep/b"]
    assert test_set.pictures[3].load().shape == (3, 4, 5)


def test_a_folders_set_has_the_folders_name_or_one_that_is_given(pictures, monkeypatch):
    assert folder(pictures).name == folder(str(pictures) + "/").name == "mine"
    assert folder(pictures, "yours").name == "yours"
    monkeypatch.chdir(pictures)
    assert folder(".").name == "mine"


@pytest.mark.parametrize("name, words", [("kodak", "as another is"), ("photographs", "as another is"), ("", "expected a word"),
                                         ("a/b", "expected a word"), ("..", "expected a word")])  # fmt: skip
def test_a_folder_does_not_pass_for_another_set(pictures, name, words):
    with pytest.raises(UserError, match=f"would be called.*{words}.*set test.name"):
        folder(pictures, name)
    if name == "kodak":
        with pytest.raises(UserError, match="test=kodak"):
            folder(pictures.rename(pictures.parent / "kodak"))


def test_region_maps_are_no_pictures(pictures):
    maps = pictures / "maps" / "grid"
    maps.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 5), dtype=np.uint8)).save(maps / "b.png")
    before = {picture.name for picture in folder(pictures).pictures}
    Manifest(maps, (0, 1), {"source": "grid", "settings": {}, "versions": {}}).finish([])
    assert before - {picture.name for picture in folder(pictures).pictures} == {"maps/grid/b"}


def test_a_folder_that_is_not_there_is_said_by_its_setting(tmp_path):
    for root, words in ((tmp_path / "nowhere", "no folder at"), (tmp_path, "no pictures in")):
        with pytest.raises(UserError, match=f"{words}.*set test.root"):
            folder(root)


def test_missing_kodak_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=f"24 of the 24.*codec fetch kodak --root {tmp_path}"):
        kodak(tmp_path / "kodak")


def test_the_real_kodak_is_complete(shared):
    test_set = kodak(shared / "images" / "kodak")
    assert test_set.name == "kodak" and len(test_set.pictures) == 24 and test_set.pictures[0].name == "kodim01"
    assert test_set.pictures[0].load().shape == (3, 512, 768)
