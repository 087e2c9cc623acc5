"""target_bpp as a feature of any model: by the same object, in the module of rate and distortion."""

import csv

import pytest
import torch
from conftest import OPTIMIZERS
from tiny_adversarial import fit

from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.losses.rate_target import RateTarget
from codec.models import build_model
from codec.models.linear_start import start_as_transform_codec
from codec.modules.rate_distortion import RateDistortionModule
from codec.optim.schedules import Schedule
from data.sources import Leaves

LMBDA = 0.02


def module(name, target_bpp):
    """A codec that starts as a linear transform codec, and so at a rate that it would keep."""
    torch.manual_seed(0)
    codec = build_model(name, N=16, M=24)
    crops = torch.stack([Leaves(8, 96, 5).load(i) for i in range(8)])[..., :64, :64] / 255
    start_as_transform_codec(codec, crops, LMBDA)
    loss = RateDistortion(mse_255, LMBDA, RateTarget(target_bpp, 8.0, 0.25, Schedule(), Schedule()))
    return RateDistortionModule(
        codec, loss, Schedule(), optimizer=OPTIMIZERS["adam"], lr=1e-3, quantiles_lr=1e-3, clip_norm=1.0, seed=3
    )


def late_rate(name, target, folder):
    """The mean quantised rate of the last steps of a training with that target."""
    fit(module(name, target), folder, 200, batch_size=4, limit_val_batches=0)
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        above = float(row["train/quantized_bpp"]) > float(row["train/target_bpp"])
        assert float(row["train/rate_weight"]) == (8.0 if above else 0.25)
    return sum(float(row["train/quantized_bpp"]) for row in rows[-20:]) / 20


@pytest.mark.parametrize("name", ["hyperprior", "mean_scale"])
def test_a_codec_is_steered(name, tmp_path):
    """The same training, to a target that is never reached and to one below the rate that this one has."""
    free, steered = (late_rate(name, target, tmp_path / str(target)) for target in (100.0, 0.2))
    print(f"{name}: {free:.3f} bpp on its own, {steered:.3f} bpp at a target of 0.2")
    assert free > 0.23 and steered == pytest.approx(0.2, rel=0.1)
