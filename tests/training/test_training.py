"""Training: exact resume, steps that are skipped, checkpoints that load without running code."""

import lightning
import numpy as np
import pytest
import torch
from conftest import MODEL_NAMES, OPTIMIZERS, picture
from lightning.pytorch.callbacks import EMAWeightAveraging

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.files.bundle import SHIPPED, float_model, load_bundle
from codec.losses.rate_distortion import RateDistortion, mse_255, one_minus_ms_ssim
from codec.models import build_model
from codec.models.linear_start import quantisation_step, start_as_transform_codec
from codec.modules.rate_distortion import RateDistortionModule
from codec.optim.schedules import Cosine, Milestones, Plateau, Schedule
from codec.runs.tracking import MetricsCsv
from codec.training.precision import cpu_multiplies_bf16
from codec.types import CodecOutput, UserError
from data.module import ImageDataModule
from data.sources import Leaves, SkimagePhotographs
from data.testsets import photographs


class SpoilGradients(lightning.Callback):
    """Puts an infinity into the gradients of chosen steps."""

    def __init__(self, steps):
        self.steps = steps

    def on_after_backward(self, trainer, module):
        if trainer.global_step in self.steps:
            module.codec.g_a[0].weight.grad[0, 0, 0, 0] = float("inf")


class GradientsHeld(lightning.Callback):
    """Whether there are gradients when a batch begins."""

    def __init__(self):
        self.held = []

    def on_train_batch_start(self, trainer, module, *_):
        self.held.append(any(p.grad is not None for p in module.parameters()))


class RecordRates(lightning.Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, trainer, module, *_):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(
    folder, steps, *, resume=None, workers=0, schedule=None, extra=(), stop_at=None, seed=3, val_every=4, method="muon", **more
):
    """A tiny hyperprior after `steps` steps, or stopped at an earlier one; checkpoints every 5 steps in folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    codec = build_model("hyperprior", N=4, M=6)
    module = RateDistortionModule(
        codec, RateDistortion(mse_255, 0.01), schedule or Schedule(),
        optimizer=OPTIMIZERS[method], lr=1e-2, quantiles_lr=1e-2, clip_norm=1.0, seed=seed,
    )  # fmt: skip
    data = ImageDataModule({"leaves": Leaves(3, 96, 1)}, {"leaves": 1.0}, 2, 64, workers, seed, photographs())
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=stop_at or steps, max_epochs=-1, val_check_interval=val_every, limit_val_batches=1,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, use_distributed_sampler=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=2, default_root_dir=folder,
        logger=[MetricsCsv(folder / "metrics.csv")], callbacks=[SaveCheckpoints(folder, every=5), *extra],
        **more,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return module


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("workers, method", [(0, "adam"), (0, "muon"), (2, "adam")])
def test_a_resumed_run_equals_a_straight_one(tmp_path, workers, method):
    """Stops before, at and after a validation that reduces the rate (patience 0 on a loss that cannot fall)."""

    def plateau():
        schedule = Plateau(gamma=0.5, patience=0, floor=0.01)
        schedule.observe(-1e9)  # no loss falls below: each validation reduces
        return schedule

    straight_rates = RecordRates()
    straight = fit(tmp_path / "straight", 14, workers=workers, method=method, schedule=plateau(), extra=[straight_rates])
    assert len(set(straight_rates.rates)) == 4
    for stop in (7, 8, 9) if workers == 0 else (8,):
        folder = tmp_path / f"stopped_{stop}"
        fit(folder, 14, workers=workers, method=method, schedule=plateau(), stop_at=stop)
        rates = RecordRates()
        resumed = fit(
            folder, 14, workers=workers, method=method, schedule=plateau(), resume=folder / "last.ckpt", extra=[rates]
        )
        assert rates.rates == straight_rates.rates[stop:]
        assert same(resumed, straight)
        log, expected = (tmp_path / name / "metrics.csv" for name in (folder.name, "straight"))
        assert log.read_text() == expected.read_text()


def test_epochs_change_nothing(tmp_path):
    straight = fit(tmp_path / "straight", 9)
    in_epochs = fit(tmp_path / "epochs", 9, limit_train_batches=2)
    assert same(straight, in_epochs)
    assert (tmp_path / "epochs" / "metrics.csv").read_text() == (tmp_path / "straight" / "metrics.csv").read_text()


def test_a_checkpoint_holds_plain_values_and_no_tables(tmp_path):
    fit(tmp_path, 5)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 5
    assert not any("cdf" in name and value.numel() for name, value in checkpoint["state_dict"].items())
    assert {path.name for path in tmp_path.glob("*.ckpt*")} == {"last.ckpt", "best.ckpt"}


@pytest.mark.parametrize("method", ["adam", "muon", "sgd"])  # the last knows nothing of found_inf
def test_an_infinite_gradient_changes_nothing_but_the_counter(tmp_path, method):
    before = fit(tmp_path / "a", 3, val_every=100, method=method)
    after = fit(tmp_path / "b", 4, val_every=100, extra=[SpoilGradients({3})], method=method)
    assert int(after.skipped_steps) == 1 and int(after.skipped_in_a_row) == 1 and int(after.first_skipped_step) == 3
    assert same(before.codec, after.codec)
    states = [m.optimizers().state_dict()["state"] for m in (before, after)]
    for own, other in zip(states[0].values(), states[1].values(), strict=True):
        assert all(torch.equal(own[key], other[key]) for key in own)


def test_ten_bad_steps_in_a_row_end_the_run(tmp_path):
    with pytest.raises(UserError, match="not finite since step 4"):
        fit(tmp_path, 40, val_every=100, extra=[SpoilGradients(range(4, 40))])
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.isfinite(value).all() for value in kept.values())


def test_the_moving_average_leaves_buffers_alone(tmp_path):
    module = fit(tmp_path, 6, extra=[EMAWeightAveraging(decay=0.9, use_buffers=False), SpoilGradients({2})])
    assert int(module.skipped_steps) == 1  # a buffer: neither averaged nor lost


def test_quantiles_move_by_the_auxiliary_loss_alone(tmp_path):
    torch.manual_seed(0)
    codec = build_model("mean_scale", N=4, M=6)
    x = picture(64, 64)[None].float() / 255
    RateDistortion(mse_255, 0.01)(codec(x, torch.zeros_like), x).loss.backward()
    assert codec.entropy_bottleneck.quantiles.grad is None
    codec.zero_grad()
    codec.auxiliary_loss().backward()
    assert [name for name, p in codec.named_parameters() if p.grad is not None and p.grad.any()] == [
        "entropy_bottleneck.quantiles"
    ]


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_linear_start_is_a_transform_codec(name):
    """Before any step the picture comes back with the error of its quantisation step, at less than 3 bits a pixel."""
    torch.manual_seed(0)
    crops = torch.stack([Leaves(24, 128, 5).load(i) for i in range(24)]).float() / 255
    codec = build_model(name, N=48, M=96).eval()
    start_as_transform_codec(codec, crops, 0.02)
    with torch.no_grad():
        started = codec(crops[:4])
        fresh = build_model(name, N=48, M=96).eval()(crops[:4])
    terms, fresh_terms = (RateDistortion(mse_255, 0.02)(output, crops[:4]) for output in (started, fresh))
    assert float(terms.psnr()) > float(fresh_terms.psnr()) + 8
    assert float(terms.bpp) < 3 and 0.01 < quantisation_step(0.02) < 0.2


def loss_and_gradient(codec, crops, bf16):
    """At lmbda 0.0067, and the middle level where there are several; the noise is a function of the shape alone: rand_like
    fills memory, whose layout may differ."""
    levels = None if codec.levels is None else torch.full((len(crops),), codec.middle_level)
    codec.zero_grad()
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        out = codec(crops, lambda like: torch.rand(like.shape) - 0.5, levels=levels)
        terms = RateDistortion(mse_255, 0.0067)(out, crops)
    terms.loss.backward()
    return float(terms.loss.detach()), torch.cat([p.grad.flatten() for p in codec.parameters() if p.grad is not None])


def assert_bf16_follows_fp32(codec, crops, least=0.99):
    (value, gradient), (low_value, low_gradient) = (loss_and_gradient(codec, crops, bf16) for bf16 in (False, True))
    assert low_value == pytest.approx(value, rel=0.005)
    assert torch.cosine_similarity(gradient, low_gradient, dim=0) > least


needs_bf16 = pytest.mark.skipif(not cpu_multiplies_bf16(), reason="this CPU does not multiply bf16")


def photographic_crops(count, seed):
    """[count, 3, 128, 128] in [0, 1]."""
    photographs, rng = SkimagePhotographs(), np.random.default_rng(seed)
    return torch.stack([photographs.crop(i % len(photographs), 128, rng) for i in range(count)]).float() / 255


@needs_bf16
def test_bf16_follows_fp32_at_ten_checkpoints_of_a_run():
    torch.manual_seed(0)
    crops = photographic_crops(count=16, seed=0)
    codec = build_model("mean_scale", N=32, M=48)
    start_as_transform_codec(codec, crops, 0.0067)
    optimizer = torch.optim.Adam(codec.parameters(), lr=1e-4)
    for checkpoint in range(10):
        assert_bf16_follows_fp32(codec, crops)
        for step in range(3):
            loss_and_gradient(codec, photographic_crops(16, seed=1 + 3 * checkpoint + step), bf16=True)
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimizer.step()


@needs_bf16
def test_bf16_follows_fp32_at_trained_weights():
    """Where the gradient is small, errors of weights rounded one by one turn it: by plain autocast to 0.43, here to 0.97."""
    codec = float_model(load_bundle(SHIPPED))
    assert_bf16_follows_fp32(codec, photographic_crops(count=8, seed=0), least=0.95)


def test_rate_falls_where_the_scale_fits_and_the_loss_is_its_formula():
    x = picture(192, 192)[None].float() / 255
    likelihoods = {"y": torch.full((1, 2, 4, 4), 0.5), "z": torch.full((1, 1, 1, 1), 0.25)}
    terms = RateDistortion(mse_255, 0.1)(CodecOutput(x + 0.1, likelihoods), x)
    assert float(terms.bpp) == pytest.approx((32 + 2) / 192**2)
    assert float(terms.loss) == pytest.approx(0.1 * 255**2 * 0.01 + 34 / 192**2, rel=1e-4)
    assert float(RateDistortion(one_minus_ms_ssim, 10)(CodecOutput(x, likelihoods), x).distortion) == pytest.approx(0, abs=1e-5)
    with pytest.raises(UserError, match="expected both sides"):
        one_minus_ms_ssim(x[..., :100], x[..., :100])
    with pytest.raises(UserError, match="positive"):
        RateDistortion(mse_255, -1)


def test_schedules_follow_their_formula():
    cosine = Cosine(100, warmup=10, floor=0.1)
    assert [cosine.factor(0), cosine.factor(9), cosine.factor(100)] == pytest.approx([0.1, 1.0, 0.1])
    assert [Milestones([10, 20], 0.1).factor(step) for step in (9, 10, 20)] == pytest.approx([1, 0.1, 0.01])
    plateau = Plateau(gamma=0.5, patience=1, floor=0.3)
    factors = []
    for loss in (1.0, 1.0, 1.0, 0.9, 0.9, 0.9, 0.9):
        plateau.observe(loss)
        factors.append(plateau.factor(0))
    assert factors == [1, 1, 0.5, 0.5, 0.5, 0.3, 0.3]


def test_gradients_make_room_for_the_activations_of_the_next_step(tmp_path):
    spy = GradientsHeld()
    fit(tmp_path, 3, extra=[spy])
    assert spy.held == [False, False, False]
