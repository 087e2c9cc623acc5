"""The parts of a training, where they do not fit each other."""

import pytest
from conftest import configured
from omegaconf import open_dict

from codec.config.build import build_module
from codec.losses.base import Loss
from codec.runs.folder import RunFolder
from codec.types import UserError


class Unsteered(Loss):
    """A loss that knows of no rate target."""


def test_a_target_rate_wants_a_loss_that_steers(tmp_path):
    cfg = configured("target_bpp=0.3", "model.N=4", "model.M=6")
    with open_dict(cfg):
        cfg.loss = {"_target_": f"{__name__}.Unsteered"}
    with pytest.raises(UserError, match=r"target_bpp=0\.3 with a Unsteered, which steers to no rate; .* set loss=mse, or no"):
        build_module(cfg, None, RunFolder(tmp_path))


def test_widths_that_go_by_a_ladder_want_a_loss_with_one():
    from codec.config.compose import plain

    cfg = configured("experiment=mbt2018_mean", "ladder=null")
    with pytest.raises(UserError, match=r"^model.N: .*this loss has none; expected a value; set model.N$"):
        plain(cfg)
    assert plain(configured("experiment=mbt2018_mean", "ladder=null", "model.N=8", "model.M=12"))["model"]["N"] == 8
