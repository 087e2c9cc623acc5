"""The adversarial module: its clock, exact resume, skipped steps, logs, and that each loss moves its own network."""

import csv

import lightning
import pytest
import torch
from tiny_adversarial import fit, tiny_module

from codec.modules.base import CodecModule
from codec.optim.schedules import Plateau, Schedule
from codec.training.precision import cpu_multiplies_bf16
from codec.types import UserError


def same(a: CodecModule, b: CodecModule) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class RecordRates(lightning.Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, trainer, module, *_):
        self.rates.append([group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups])


class SpoilGradients(lightning.Callback):
    """Puts an infinity into the gradient of one network at chosen steps."""

    def __init__(self, steps, network):
        self.steps, self.network = steps, network

    def on_after_backward(self, trainer, module):
        parameter = next(getattr(module, self.network).parameters())
        if trainer.global_step in self.steps and parameter.grad is not None:
            parameter.grad.view(-1)[0] = float("inf")


def test_clocks_count_batches(tmp_path):
    rates = RecordRates()
    trainer = fit(tiny_module("adversarial"), tmp_path, 9, batch_size=4, extra=(rates,))
    assert trainer.global_step == 9
    assert rates.rates == [[1e-3, 1e-3, 1e-3]] * 6 + [[5e-4, 1e-3, 5e-4]] * 3  # networks, quantiles, discriminator
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 9
    log = rows(tmp_path)
    assert [int(row["step"]) for row in log] == [2, 4, 6, 8]
    assert [bool(row["val/loss"]) for row in log] == [False, True, False, True]


def test_a_row_explains_the_step(tmp_path):
    fit(tiny_module("adversarial"), tmp_path, 4, batch_size=4)
    first, last = ({key.removeprefix("train/"): float(value) for key, value in row.items() if value} for row in rows(tmp_path))
    for row in (first, last):
        expected = 0.0023 * row["distortion"] + row["rate_weight"] * row["bpp"]
        expected += row["lpips_squeeze_random"] + 0.15 * row["generator_loss"]
        assert row["loss"] == pytest.approx(expected, rel=1e-5)
        assert {"real_logits", "fake_logits", "real_accuracy", "fake_accuracy", "discriminator_loss"} <= row.keys()
        weights = (2.0, 0.0625) if row["step"] > 3 else (1.0, 0.03125)
        assert row["rate_weight"] == weights[0 if row["quantized_bpp"] > row["target_bpp"] else 1]
    assert first["target_bpp"] == pytest.approx(0.5 * 1.4286) and last["target_bpp"] == 0.5
    assert last["val/lpips_squeeze_random"] > 0


@pytest.mark.parametrize("accumulate, method", [(1, "adam"), (2, "adam"), (1, "muon")])
def test_a_resumed_run_equals_a_straight_one(tmp_path, accumulate, method):
    """Both networks, both optimizers, the schedule and the vectors of the spectral norm; stops at no checkpoint's step."""

    def module():
        schedule = Plateau(gamma=0.5, patience=0, floor=0.01)
        schedule.observe(-1e9)  # no loss falls below: each validation reduces
        return tiny_module("adversarial", accumulate=accumulate, schedule=schedule, method=method)

    settings = {"batch_size": 4 * accumulate}
    straight = module()
    expected = fit(straight, tmp_path / "straight", 11, **settings)
    for stop in (7, 8):
        folder = tmp_path / f"stopped_{stop}"
        fit(module(), folder, stop, **settings)
        resumed = module()
        torch.manual_seed(77)  # whatever the state of the generator
        trainer = fit(resumed, folder, 11, resume=True, **settings)
        assert same(resumed, straight) and any("u" in name.split(".") for name in resumed.state_dict())
        for own, other in zip(trainer.optimizers, expected.optimizers, strict=True):
            for one, two in zip(own.state_dict()["state"].values(), other.state_dict()["state"].values(), strict=True):
                assert all(torch.equal(one[key], two[key]) for key in one)
        assert (folder / "metrics.csv").read_text() == (tmp_path / "straight" / "metrics.csv").read_text()


def test_each_loss_moves_its_own_network(tmp_path):
    """With one learning rate at 0 that network stays, and the other moves."""
    for name, lrs in (("discriminator", {"lr": 0.0, "quantiles_lr": 0.0}), ("codec", {})):
        module = tiny_module("adversarial", **lrs)
        if name == "codec":
            module.discriminator_lr = 0.0
        before = {key: value.clone() for key, value in module.named_parameters()}
        fit(module, tmp_path / name, 2, batch_size=4)
        moved = {key.split(".")[0] for key, value in module.named_parameters() if not torch.equal(value, before[key])}
        assert moved == {name}


def test_the_discriminator_learns_to_tell_what_a_codec_makes(tmp_path):
    module = tiny_module("adversarial", method="muon", lr=0.0, quantiles_lr=0.0, schedule=Schedule())
    fit(module, tmp_path, 40, batch_size=8, limit_val_batches=0)
    losses = [float(row["train/discriminator_loss"]) for row in rows(tmp_path)]
    assert losses[0] > 1.3 and max(losses[-3:]) < 1.0  # 2 ln 2 = 1.386 where it cannot


@pytest.mark.parametrize("network", ["codec", "discriminator"])
def test_an_infinite_gradient_skips_the_step_of_its_network(tmp_path, network):
    other = "discriminator" if network == "codec" else "codec"
    before, after = tiny_module("adversarial"), tiny_module("adversarial")
    fit(before, tmp_path / "a", 3, batch_size=4)
    fit(after, tmp_path / "b", 4, batch_size=4, extra=(SpoilGradients({3}, network),))
    assert int(after.skipped_steps) == 1 and int(after.first_skipped_step) == 3
    for name, stays in ((network, True), (other, False)):
        pairs = zip(getattr(before, name).parameters(), getattr(after, name).parameters(), strict=True)
        assert all(torch.equal(p, q) for p, q in pairs) == stays


def test_ten_bad_steps_in_a_row_end_the_run(tmp_path):
    with pytest.raises(UserError, match="not finite since step 2"):
        fit(tiny_module("adversarial"), tmp_path, 40, batch_size=4, extra=(SpoilGradients(range(2, 40), "discriminator"),))


@pytest.mark.skipif(not cpu_multiplies_bf16(), reason="this CPU does not multiply bf16")
@pytest.mark.parametrize("method", ["adam", "muon"])
def test_a_step_in_bf16_is_as_long_as_in_float32(tmp_path, method):
    """Manual optimisation runs under autocast as a whole; gradients and optimizers must not: Muon's products explode."""
    lengths = []
    for precision in ("32-true", "bf16-mixed"):
        module = tiny_module("adversarial", method=method)
        before = {name: value.clone() for name, value in module.named_parameters()}
        fit(module, tmp_path / precision, 1, batch_size=4, precision=precision, limit_val_batches=0)
        assert all(p.dtype == torch.float32 and p.grad is not None for p in module.parameters())
        lengths.append({name: float((value - before[name]).norm()) for name, value in module.named_parameters()})
        assert int(module.skipped_steps) == 0
    for name, length in lengths[0].items():
        assert lengths[1][name] < 2 * length + 1e-3, name
    assert sum(lengths[1].values()) == pytest.approx(sum(lengths[0].values()), rel=0.1)


def test_a_batch_that_does_not_halve_is_refused(tmp_path):
    with pytest.raises(UserError, match="multiple of 4"):
        fit(tiny_module("adversarial", accumulate=2), tmp_path, 1, batch_size=2)


def test_the_checkpoint_holds_the_two_networks_and_plain_values(tmp_path):
    fit(tiny_module("adversarial"), tmp_path, 2, batch_size=4)
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    networks = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert networks == {"codec", "discriminator", "skipped_steps", "skipped_in_a_row", "first_skipped_step"}
    assert len(checkpoint["optimizer_states"]) == 2
