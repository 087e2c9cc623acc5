"""The sets to measure on: whole pictures, each with a name of its own."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.types import UserError
from data.testsets import load_test_set


def test_photographs_need_no_download(tmp_path):
    pictures = load_test_set("photographs", tmp_path)
    assert [picture.name for picture in pictures] == ["astronaut", "chelsea", "coffee", "motorcycle_left", "rocket"]
    astronaut = pictures[0].load()
    assert astronaut.shape == (3, 512, 512) and astronaut.dtype == torch.uint8


def test_a_folder_gives_each_picture_its_own_name(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("a.png", "a.webp", "b.png", "deep/b.png"):
        Image.fromarray(np.zeros((4, 5, 3), dtype=np.uint8)).save(tmp_path / name)
    pictures = load_test_set("folder", tmp_path)
    assert [picture.name for picture in pictures] == ["a.png", "a.webp", "b", "deep/b"]
    assert pictures[3].load().shape == (3, 4, 5)


def test_missing_kodak_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match=f"24 of the 24.*codec fetch kodak --root {tmp_path}"):
        load_test_set("kodak", tmp_path)


def test_an_unknown_set_is_an_error(tmp_path):
    with pytest.raises(UserError, match="unknown test set 'codak'"):
        load_test_set("codak", tmp_path)


def test_the_real_kodak_is_complete(shared):
    pictures = load_test_set("kodak", shared / "images")
    assert len(pictures) == 24 and pictures[0].name == "kodim01"
    assert pictures[0].load().shape == (3, 512, 768)
