"""WACNN and SegPIC: size, regions in training, and that they are nothing but a guide of training."""

import inspect
import json

import lightning
import plain
import pytest
import torch
from conftest import OPTIMIZERS, live_slices, one_thread, picture
from torch.utils.data import DataLoader

from codec.entropy.noise import uniform_noise
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import encode
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import build_model
from codec.modules.rate_distortion import RateDistortionModule
from codec.optim.schedules import Schedule
from codec.types import Batch, UserError

SIMPLE = {"attention": False, "context": False}


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("name, expected", [("wacnn", 75_235_779), ("segpic", 83_503_971)])
def test_the_published_widths_have_the_published_size(name, expected):
    codec = build_model(name, N=192, M=320)
    assert sum(p.numel() for p in codec.parameters()) == expected


def maps(*numbers: int, side: int = 64) -> torch.Tensor:
    """A map for each number of regions: squares of four pixels, dealt out in turn."""
    rows = torch.arange(side) // 4
    places = rows[:, None] * (side // 4) + rows
    return torch.stack([places % number for number in numbers])


def images(batch: int, side: int = 64) -> torch.Tensor:
    return torch.stack([picture(side, side, seed) for seed in range(batch)]).float() / 255


@pytest.mark.parametrize("numbers", [(1, 2, 40), (1,), (1, 1), (40, 40)])
def test_any_number_of_regions_trains(numbers):
    """One region in the whole batch included, where the published code fails."""
    torch.manual_seed(0)
    codec = live_slices("segpic")
    x = images(len(numbers))
    loss = RateDistortion(mse_255, 0.01)
    optimizer = torch.optim.Adam(codec.parameters(), lr=1e-4)
    values = []
    for _ in range(3):
        terms = loss(codec(x, uniform_noise, maps(*numbers)), x)
        optimizer.zero_grad()
        (terms.loss + codec.auxiliary_loss()).backward()
        optimizer.step()
        values.append(float(terms.loss.detach()))
    assert values[2] < values[0]
    assert all(torch.isfinite(p).all() for p in codec.parameters())


@pytest.mark.parametrize("masked", [True, False])
def test_gradients_reach_every_parameter(masked):
    torch.manual_seed(0)
    codec = build_model("segpic", N=24, M=40)  # live_slices' weights saturate the gates
    with torch.no_grad():
        for net in (codec.h_a, codec.p1.g_a, codec.p2.g_a):
            net[-1].weight.mul_(200)  # a synthesis of zeros has no gradient
    x = images(2)
    terms = RateDistortion(mse_255, 0.01)(codec(x, uniform_noise, maps(3, 5) if masked else None), x)
    (terms.loss + codec.auxiliary_loss()).backward()
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def bits(codec, x, regions):
    with torch.no_grad():
        return {name: -torch.log2(p).sum((1, 2, 3)) for name, p in codec(x, regions=regions).likelihoods.items()}


def test_a_region_that_is_gone_costs_nothing():
    codec = live_slices("segpic").double()
    x, ids = images(2).double(), maps(2, 3)
    ids[0, 4:8, 4:8] = 30  # there at 1/4, gone at 1/16
    ids[1, 1, 1] = 40  # gone at 1/4 already
    with torch.no_grad():
        likelihoods = codec(x, regions=ids).likelihoods
    charged = {name: (likelihoods[name] < 1).all(1)[..., 0].nonzero().tolist() for name in ("p1", "p2")}
    assert charged["p1"] == [[0, 0], [0, 1], [0, 30], [1, 0], [1, 1], [1, 2]]
    assert [row for row in charged["p2"] if row[1] > 2] == []
    uncharged = {name: (likelihoods[name] == 1).all(1).sum() for name in ("p1", "p2")}
    assert uncharged["p1"] == 2 * 41 - 6


def test_names_of_regions_do_not_matter():
    codec = live_slices("segpic").double()
    x, ids = images(1).double(), maps(5)
    names = torch.tensor([3, 0, 7, 1, 2])
    with torch.no_grad():
        once, again = codec(x, regions=ids).x_hat, codec(x, regions=names[ids]).x_hat
    torch.testing.assert_close(again, once, rtol=0, atol=1e-5)  # the weights make large values of small differences
    for stream, value in bits(codec, x, ids).items():
        torch.testing.assert_close(bits(codec, x, names[ids])[stream], value)


def test_a_permuted_batch_permutes_what_comes_out():
    codec = live_slices("segpic").double()
    x, ids, order = images(3).double(), maps(1, 4, 9), torch.tensor([2, 0, 1])
    with torch.no_grad():
        permuted, straight = codec(x[order], regions=ids[order]).x_hat, codec(x, regions=ids).x_hat[order]
    torch.testing.assert_close(permuted, straight, rtol=0, atol=1e-5)


def test_masks_guide_training_and_a_map_of_the_grid_does_what_the_grid_does():
    codec = live_slices("segpic").double()
    x, cells = images(1, 128).double(), torch.arange(128) // 32
    grid_map = (4 * cells[:, None] + cells)[None]
    with torch.no_grad():
        by_grid, by_map, by_other = codec(x), codec(x, regions=grid_map), codec(x, regions=maps(3, side=128))
    # The published mean over a mask adds 0.0005 to the area: 4 positions at 1/16.
    torch.testing.assert_close(by_map.x_hat, by_grid.x_hat, rtol=0, atol=0.05 * float(by_grid.x_hat.std()))
    assert not torch.allclose(by_other.x_hat, by_grid.x_hat, rtol=0, atol=0.05 * float(by_grid.x_hat.std()))


def test_coding_cannot_see_a_map(tmp_path):
    """The same picture gives the same file, whatever the codec was shown before; and no way leads a map to the networks.

    `offsets` is what --roi asks for: a quality, told to the coder and written into the file, which regions are not.
    """
    codec = live_slices("segpic")
    save_bundle(tmp_path / "b.safetensors", codec, {}, half=False)
    bundle = load_bundle(tmp_path / "b.safetensors")
    file = encode(bundle, picture(64, 64)).file
    with torch.no_grad():
        bundle.model(images(1), regions=maps(7))
    assert encode(bundle, picture(64, 64)).file == file
    assert list(inspect.signature(encode).parameters) == ["bundle", "image", "grid", "level", "offsets"]


@pytest.mark.parametrize("name", ["wacnn", "segpic"])
def test_validation_measures_the_grid_and_logs_the_masked_loss_beside_it(name):
    codec = live_slices(name)
    loss = RateDistortion(mse_255, 0.01)
    rates = {"lr": 1e-4, "quantiles_lr": 1e-3, "clip_norm": 1.0}
    module = RateDistortionModule(codec, loss, Schedule(), optimizer=OPTIMIZERS["adam"], seed=0, **rates)
    batch = Batch(images(2), maps(3, 7))
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (values,) = trainer.validate(module, DataLoader([batch], batch_size=None), verbose=False)
    with torch.no_grad():
        by_grid, by_map = (loss(codec(batch.image, regions=regions), batch.image).loss for regions in (None, batch.regions))
    assert values["val/loss"] == pytest.approx(float(by_grid), rel=1e-5)
    if name == "segpic":
        assert values["val/masked_loss"] == pytest.approx(float(by_map), rel=1e-5) != values["val/loss"]
    else:
        assert "val/masked_loss" not in values


@pytest.mark.parametrize("name", ["wacnn", "segpic"])
def test_the_simple_versions_are_a_setting(name):
    codec = build_model(name, N=24, M=40, **SIMPLE)
    names = {key.split(".")[0] for key, _ in codec.named_parameters()}
    assert "context" not in names and not any("qkv" in key for key, _ in codec.named_parameters())
    output = codec(images(1), uniform_noise)
    assert set(output.likelihoods) == ({"p1", "p2", "z", "y"} if name == "segpic" else {"z", "y"})


def test_inverse_gdn_is_a_setting():
    plain_gdn, inverse = (build_model("segpic", N=24, M=40, inverse_gdn=flag) for flag in (False, True))
    inverse.load_state_dict(plain_gdn.state_dict())
    y_hat = torch.randn(1, 40, 4, 4)
    with torch.no_grad():
        assert not torch.allclose(inverse.g_s0(y_hat), plain_gdn.g_s0(y_hat))


@pytest.mark.parametrize(
    "arguments, words",
    [({"N": 25, "M": 40}, "multiples"), ({"N": 24, "M": 44}, "multiples"), ({"N": 24, "M": 40, "grid": 256}, "255"),
     ({"N": 24, "M": 40, "attention": 1}, "true or false"), ({"N": True, "M": 40}, "a whole number")],
)  # fmt: skip
def test_arguments_that_fit_no_network_are_one_error(arguments, words):
    with pytest.raises(UserError, match=words):
        build_model("segpic", **arguments)


def test_plain_weights_are_those_of_the_layout(shared):
    """The plain re-implementation reads every tensor of the published state dicts, and no other."""
    for kind in ("wacnn", "segpic"):
        rows = json.loads((shared / "reference" / "state_dicts" / f"{kind}.json").read_text())["keys"]
        published = {row["key"] for row in rows if row["kind"] == "param"}
        weights = plain.Weights()
        with torch.no_grad():
            plain.MODELS[kind](weights, images(1).double(), None, 24, 40)
        assert set(plain.aliased(weights)) == published
