"""Training of several rates at once: levels are a function of seed, step and place, and gains learn."""

import numpy
import pytest
import torch
from conftest import live_codec, live_levels, picture
from tiny_training import equal, fit, flat

from codec.entropy.noise import numbers_by_place, uniform_noise
from codec.files.bundle import save_bundle
from codec.losses.levels import Ladder
from codec.losses.rate_distortion import RateDistortion, mse_255, one_minus_ms_ssim
from codec.losses.rate_target import RateTarget
from codec.models import build_model
from codec.optim.schedules import Schedule
from codec.runs.folder import RunFolder
from codec.training.start import start_from, start_levels
from codec.types import UserError

LADDER = Ladder(6, 0.002, 0.05)


def test_levels_are_a_function_of_seed_step_and_place():
    places = torch.arange(4096, dtype=torch.int32)
    whole = numbers_by_place(3, 7, places, 64)
    assert whole.dtype == torch.int64 and whole.min() == 0 and whole.max() == 63
    assert (torch.bincount(whole, minlength=64) - 64).abs().max() < 40  # five deviations of 8
    for rank in range(2):
        assert numbers_by_place(3, 7, places[rank::2], 64).equal(whole[rank::2])
    for other in (numbers_by_place(4, 7, places, 64), numbers_by_place(3, 8, places, 64)):
        assert 0.9 < (other != whole).float().mean() < 1


def test_a_resumed_run_equals_a_straight_one(tmp_path):
    straight = fit(RunFolder(tmp_path / "straight"), 10, levels=LADDER)
    fit(RunFolder(tmp_path / "stopped"), 6, levels=LADDER)
    fit(RunFolder(tmp_path / "stopped"), 10, levels=LADDER)
    ours, theirs = (
        dict(flat(torch.load(RunFolder(tmp_path / name).last_checkpoint, weights_only=True)["state_dict"]))
        for name in ("straight", "stopped")
    )
    assert ours.keys() == theirs.keys() and all(equal(value, theirs[name]) for name, value in ours.items())
    gains = straight.codec.levels.log_gains.detach()
    assert gains.std(dim=1).min() > 0  # by channel
    metrics = straight.trainer.callback_metrics
    levels = [0, 1, 2, 4, 5]  # five of the six
    assert {name for name in metrics if "level" in name} == {
        f"val/{name}_level_{level}" for name in ("loss", "bpp", "psnr", "mse") for level in levels
    }
    assert float(metrics["val/bpp_level_0"]) < float(metrics["val/bpp_level_5"])
    mean = sum(float(metrics[f"val/loss_level_{level}"]) for level in levels) / len(levels)
    assert float(metrics["val/loss"]) == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("name", ["mean_scale", "factorized"])
def test_gains_see_the_distortion_and_the_rate(name):
    codec = live_codec(name)
    codec.add_levels(6)
    codec.levels.start(LADDER.lmbdas, 0.01)
    x, levels = torch.stack([picture(64, 64, seed) for seed in range(2)]).float() / 255, torch.tensor([0, 5])
    output = codec(x, uniform_noise, levels=levels)
    gradients = []
    for value in (mse_255(output.x_hat, x).sum(), sum(-torch.log2(p).sum() for p in output.likelihoods.values())):
        gradients.append(torch.autograd.grad(value, codec.levels.log_gains, retain_graph=True)[0])
        assert gradients[-1][0].abs().max() > 0 and gradients[-1][-1].abs().max() > 0
    assert (gradients[1].sum(1)[[0, -1]] > 0).all()  # a finer step costs bits


def test_the_decoder_gets_rounded_values_in_training():
    codec = live_codec("mean_scale")
    codec.add_levels(6)
    codec.levels.start(LADDER.lmbdas, 0.01)
    x, levels = picture(64, 64)[None].float() / 255, torch.tensor([2])
    noisy, still = (codec(x, noise, levels=levels) for noise in (lambda like: torch.zeros_like(like) + 0.3, torch.zeros_like))
    assert not noisy.likelihoods["y"].equal(still.likelihoods["y"])
    gain, _ = codec.levels.of(levels)
    symbols = still.y_hat * gain[:, :, None, None]
    means = codec.hyper_synthesis(codec.hyper_analysis(codec.g_a(x)))[1]
    whole = symbols - means * gain[:, :, None, None]
    torch.testing.assert_close(whole, torch.round(whole), atol=1e-3, rtol=0)


def test_it_starts_from_a_codec_of_one_rate_whose_lambda_has_gain_1(tmp_path):
    single = live_codec("mean_scale")
    config = {"model": {"lmbda": 0.005}}
    save_bundle(tmp_path / "b.safetensors", single, {"config": config}, half=False)
    codec, loss = build_model("mean_scale", N=8, M=12, levels=6), RateDistortion(mse_255, 0.01, levels=LADDER)
    start_from(codec, tmp_path / "b.safetensors", loss)
    expected = torch.sqrt(torch.tensor(LADDER.lmbdas) / 0.005)[:, None].expand(-1, 12)
    torch.testing.assert_close(codec.levels.of(torch.arange(6))[0], expected)
    assert codec.g_a[0].weight.equal(single.g_a[0].weight)
    with pytest.raises(UserError, match="set the same model"):
        start_from(build_model("mean_scale", N=8, M=10, levels=6), tmp_path / "b.safetensors", loss)
    save_bundle(tmp_path / "l.safetensors", codec, {"config": config, "lmbda_by_level": LADDER.lmbdas}, half=False)
    again = build_model("mean_scale", N=8, M=12, levels=6)
    start_from(again, tmp_path / "l.safetensors", loss)
    assert again.levels.log_gains.equal(codec.levels.log_gains)
    with pytest.raises(UserError, match="set levels=ladder levels.count=6, or another init_from"):
        start_from(live_codec("mean_scale"), tmp_path / "l.safetensors", RateDistortion(mse_255, 0.01))
    eight = RateDistortion(mse_255, 0.01, levels=Ladder(8, 0.001, 0.1))
    with pytest.raises(UserError, match="set levels.count=6, or another init_from"):
        start_from(build_model("mean_scale", N=16, M=12, levels=8), tmp_path / "l.safetensors", eight)
    with pytest.raises(UserError, match="set the same model, or another init_from"):
        start_from(build_model("mean_scale", N=8, M=10, levels=8), tmp_path / "l.safetensors", eight)


@pytest.mark.parametrize("ends", [(0.004, 0.02), (0.0005, 0.3), (0.01, 0.3)], ids=["within", "around", "across"])
def test_of_a_codec_with_other_levels_it_keeps_the_gains_of_each_lambda(tmp_path, ends):
    before = live_levels("mean_scale", 6)
    save_bundle(tmp_path / "b", before, {"lmbda_by_level": LADDER.lmbdas}, half=False)
    codec, ladder = build_model("mean_scale", N=8, M=12, levels=6), Ladder(6, *ends)
    start_from(codec, tmp_path / "b", RateDistortion(mse_255, 0.01, levels=ladder))
    old, new = (numpy.log(model.levels.of(torch.arange(6))[0].detach().numpy()) for model in (before, codec))
    at = numpy.log(LADDER.lmbdas)
    for lmbda, gains in zip(ladder.lmbdas, new, strict=True):
        for channel, gain in enumerate(gains):
            nearest = numpy.clip(numpy.log(lmbda), at[0], at[-1])
            expected = numpy.interp(nearest, at, old[:, channel]) + 0.5 * (numpy.log(lmbda) - nearest)
            assert gain == pytest.approx(expected, abs=1e-5)


def test_latents_that_a_wider_codec_adds_have_the_gains_of_the_others_lambda(tmp_path):
    narrow = build_model("mean_scale", N=8, M=12, levels=6)
    narrow.levels.start(LADDER.lmbdas, 0.01)
    save_bundle(tmp_path / "b", narrow, {"config": {"model": {"lmbda": 0.01}}, "lmbda_by_level": LADDER.lmbdas}, half=False)
    codec, ladder = build_model("mean_scale", N=8, M=16, levels=6), Ladder(6, 0.01, 0.3)
    start_from(codec, tmp_path / "b", RateDistortion(mse_255, 0.01, levels=ladder))
    expected = torch.sqrt(torch.tensor(ladder.lmbdas) / 0.01)[:, None].expand(-1, 16)
    torch.testing.assert_close(codec.levels.of(torch.arange(6))[0], expected)


def test_levels_that_were_steered_to_other_rates_are_refused(tmp_path):
    facts = {"lmbda_by_level": LADDER.lmbdas, "target_bpp_by_level": Ladder(6, 0.002, 0.05, [0.14, 0.45]).targets}
    save_bundle(tmp_path / "b", live_levels("mean_scale", 6), facts, half=False)
    target = RateTarget(0.3, 1.0, 0.1, Schedule(), Schedule())
    for targets, words in (([0.9, 3.0], "expected 0.9 to 3 bpp"), (None, "expected none that are steered")):
        loss = RateDistortion(mse_255, 0.01, targets and target, levels=Ladder(6, 0.002, 0.05, targets))
        with pytest.raises(UserError, match=f"were steered to 0.14 to 0.45 bpp; {words}"):
            start_from(build_model("mean_scale", N=8, M=12, levels=6), tmp_path / "b", loss)
    same = RateDistortion(mse_255, 0.01, target, levels=Ladder(6, 0.002, 0.05, [0.14, 0.45]))
    start_from(build_model("mean_scale", N=8, M=12, levels=6), tmp_path / "b", same)


def test_lambdas_of_another_distortion_tell_its_levels_nothing(tmp_path):
    """Those of MSE are a thousandth of those of 1 - MS-SSIM: gains would begin at 30 where they should be about 1."""
    ladder = Ladder(6, 2.4, 220.0)
    loss, config = RateDistortion(one_minus_ms_ssim, 8.73, levels=ladder), {"model": {"lmbda": 0.0067}}
    expected = torch.sqrt(torch.tensor(ladder.lmbdas) / 8.73)[:, None].expand(-1, 12)
    for facts in ({"config": config}, {"config": config, "distortion": "mse_255"}):
        save_bundle(tmp_path / "mse", live_codec("mean_scale"), facts, half=False)
        codec = build_model("mean_scale", N=8, M=12, levels=6)
        start_levels(codec, loss, 8.73)
        assert "whose lambdas, of mse_255, tell these levels nothing" in start_from(codec, tmp_path / "mse", loss)
        torch.testing.assert_close(codec.levels.of(torch.arange(6))[0], expected)
    several = {"config": config, "lmbda_by_level": LADDER.lmbdas, "distortion": "mse_255"}
    save_bundle(tmp_path / "several", live_levels("mean_scale", 6), several, half=False)
    start_from(codec, tmp_path / "several", loss)
    assert codec.levels.log_gains.equal(live_levels("mean_scale", 6).levels.log_gains)  # level by level
    same = {"config": {"model": {"lmbda": 4.58}}, "distortion": loss.distortion_name}
    save_bundle(tmp_path / "same", live_codec("mean_scale"), same, half=False)
    assert "tell" not in start_from(codec, tmp_path / "same", loss)
    torch.testing.assert_close(codec.levels.of(torch.arange(6))[0], expected * (8.73 / 4.58) ** 0.5)


def test_a_loss_that_knows_of_no_levels_is_one_line():
    with pytest.raises(UserError, match="which weighs them not"):
        start_levels(build_model("mean_scale", N=8, M=12, levels=6), RateDistortion(mse_255, 0.01), 0.01)
