"""The HiFiC experiments hold the constants of the paper, at each rate."""

import pytest
from conftest import configured as config
from hydra.utils import instantiate

EXPERIMENTS = ("hific_mse_lpips", "hific", "hific_mean_scale")


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("rate, target, above", [("lo", 0.14, 2.0), ("mi", 0.30, 1.0), ("hi", 0.45, 0.5)])
def test_rates_and_weights_are_the_papers(experiment, rate, target, above):
    cfg = config(f"experiment={experiment}", f"rate={rate}")
    steered = instantiate(cfg.rate_target)
    assert (steered.target_bpp, steered.above, steered.below) == (target, above, 2**-4)
    assert [steered.weight_schedule.factor(step) for step in (0, 49_999, 50_000)] == [0.5, 0.5, 1.0]
    assert steered.target_schedule.factor(0) == pytest.approx(0.20 / 0.14)
    assert cfg.model.lmbda == 0.075 * 2**-5 and cfg.loss.lmbda == cfg.model.lmbda
    assert (cfg.optim.lr, cfg.optim.quantiles_lr, cfg.optim.clip_norm) == (1e-4, 1e-4, None)
    assert cfg.optim.optimizer._target_ == "torch.optim.Adam"
    schedule = instantiate(cfg.schedule)
    assert [schedule.factor(step) for step in (499_999, 500_000)] == pytest.approx([1, 0.1])
    assert cfg.data.crop == 256 and cfg.data.batch_size == (16 if experiment == "hific" else 8)


def test_the_second_stage_differs_by_its_discriminator_alone():
    first, second = config("experiment=hific_mse_lpips"), config("experiment=hific")
    assert {**second.model} == {
        "name": "hific", "lmbda": 0.00234375, "N": 320, "M": 220, "C": 60, "num_blocks": 9, "norm": "channel",
    }  # fmt: skip
    assert first.adversarial is None and (second.adversarial.beta, second.adversarial.width) == (0.15, 64)
    perceptual = second.loss.perceptual
    assert (perceptual.net, perceptual.weights, second.loss.perceptual_weight) == ("alex", "imagenet", 1)
    differ = {key for key in first if key != "data" and first[key] != second[key]}
    assert differ == {"experiment_name", "first_stage", "adversarial"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_tiny_profile_needs_no_download(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("CODEC_SHARED", str(tmp_path))  # where there are no features for LPIPS
    cfg = config(f"experiment={experiment}", "profile=tiny")
    assert cfg.steps <= 1000 and cfg.model.N <= 32 and "dead_leaves" in cfg.data.sources
    if experiment != "hific_mean_scale":
        assert instantiate(cfg.loss).perceptual.name == "lpips_squeeze_random"
