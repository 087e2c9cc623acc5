"""target_bpp as a feature of any model: by the same object, in the module of rate and distortion."""

import csv

import pytest
import torch
from tiny_adversarial import fit

from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.losses.rate_target import RateTarget
from codec.models import build_model
from codec.modules.rate_distortion import RateDistortionModule
from codec.schedules import Schedule


def module(name, target_bpp):
    torch.manual_seed(0)
    codec = build_model(name, N=4, M=6)
    with torch.no_grad():
        codec.g_a[-1].weight.mul_(30)  # latents that have a rate
    loss = RateDistortion(mse_255, 0.05, RateTarget(target_bpp, 8.0, 0.125, Schedule(), Schedule()))
    return RateDistortionModule(
        codec, loss, Schedule(), method="adam", lr=3e-3, quantiles_lr=1e-3, clip_norm=1.0, seed=3
    )


@pytest.mark.parametrize("name", ["hyperprior", "mean_scale"])
def test_a_codec_is_steered(name, tmp_path):
    """The same training, steered and not: one falls to its target and stays there, the other stays where it is."""
    rates = {}
    for target in (0.15, 100.0):
        folder = tmp_path / str(target)
        fit(module(name, target), folder, 240, batch_size=2, limit_val_batches=0)
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            above = float(row["train/quantized_bpp"]) > float(row["train/target_bpp"])
            assert float(row["train/rate_weight"]) == (8.0 if above else 0.125)
        rates[target] = [float(row["train/quantized_bpp"]) for row in rows]
    print(name, [round(r, 3) for r in rates[0.15][::12]], [round(r, 3) for r in rates[100.0][::12]])
    assert sum(rates[100.0][-20:]) / 20 > 0.3
    assert sum(rates[0.15][-20:]) / 20 == pytest.approx(0.15, rel=0.1)
