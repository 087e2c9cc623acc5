"""What a log says of a validation: a point, or one of each level."""

import torch

from codec.runs.validations import validated


def test_one_rate_is_one_point_and_levels_are_theirs():
    assert validated({"val/bpp": "0.25", "val/psnr": "27.5", "train/bpp": ""}) == ((None, 0.25, 27.5),)
    levels = {
        f"val/{name}_level_{level}": torch.tensor(value + level)
        for level in (10, 2)
        for name, value in (("bpp", 0), ("psnr", 20))
    }
    assert validated({"val/bpp": 6, "val/psnr": 26} | levels) == ((2, 2, 22), (10, 10, 30))  # by number, and no mean


def test_what_is_no_validation_has_no_point():
    for row in (
        {},
        {"train/bpp": "0.25"},
        {"val/bpp": "", "val/psnr": ""},
        {"val/bpp": None, "val/psnr": 27.0},
        {"val/bpp": 0.2, "val/psnr": "nan"},
    ):
        assert validated(row) == ()
