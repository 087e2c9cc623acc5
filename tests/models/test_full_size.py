"""HiFiC at its published size: one step of each network, and a photograph to a file and back."""

import gc
import importlib.util

import pytest
import torch
from conftest import OPTIMIZERS
from PIL import Image
from tiny_adversarial import fit
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode_latents, encode
from codec.layers.channel_norm import ChannelNorm
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.losses.rate_target import RateTarget
from codec.metrics.perceptual import Lpips
from codec.models import build_model
from codec.models.discriminator import Discriminator
from codec.modules.adversarial import AdversarialModule
from codec.optim.schedules import FirstBatches, Schedule

WIDTHS = {"N": 320, "M": 220, "C": 60, "num_blocks": 9}


@pytest.mark.slow
def test_one_step_of_each_network(tmp_path):
    target = RateTarget(0.14, 2.0, 0.0625, FirstBatches(50_000, 0.5), FirstBatches(50_000, 0.2 / 0.14))
    module = AdversarialModule(
        build_model("hific", **WIDTHS), Discriminator(220, 64),
        RateDistortion(mse_255, 0.00234375, target, Lpips("alex", "random")), Schedule(),
        beta=0.15, discriminator_lr=1e-4, optimizer=OPTIMIZERS["adam"], lr=1e-4, quantiles_lr=1e-4, clip_norm=None, seed=1,
    )  # fmt: skip
    before = {name: value.detach().clone() for name, value in module.named_parameters() if value.numel() < 1000}
    fit(module, tmp_path, 1, batch_size=2, limit_val_batches=0)
    after = dict(module.named_parameters())
    moved = {name.split(".")[0] for name, value in before.items() if not value.equal(after[name])}
    assert moved == {"codec", "discriminator"} and int(module.skipped_steps) == 0


def fill_by_recipe(codec, recipe):
    """Weights by the parity recipe: E and G under the names of its note, the rest under ours."""
    for name, network in (("E", codec.g_a), ("G", codec.g_s)):
        layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, ChannelNorm))]
        for index, layer in enumerate(layers):
            for key, parameter in layer.named_parameters():
                leaf = f"{key}1d" if key in ("gamma", "beta") else key
                value = recipe.value(f"{name}.{index}.{leaf}", tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(value) + (key == "gamma"))
    for key, parameter in codec.named_parameters():
        if not key.startswith("g_"):
            parameter.copy_(torch.from_numpy(recipe.value(recipe.canonical(key), tuple(parameter.shape))))


@pytest.mark.slow
def test_a_photograph_is_coded_exactly(shared, tmp_path):
    spec = importlib.util.spec_from_file_location("recipe", shared / "reference/parity/recipe.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    codec = build_model("hific", **WIDTHS)
    with torch.no_grad():
        fill_by_recipe(codec, recipe)
    save_bundle(tmp_path / "b.safetensors", codec, {}, half=True)
    del codec
    gc.collect()
    image = pil_to_tensor(Image.open(shared / "images" / "kodak" / "kodim01.png"))
    bundle = load_bundle(tmp_path / "b.safetensors")
    assert sum(p.numel() for p in bundle.model.parameters()) == 181_476_303  # E, G and P
    encoded = encode(bundle, image)
    del bundle
    gc.collect()
    bpp = 8 * len(encoded.file) / (768 * 512)
    print(f"kodim01 at the recipe's weights: {bpp:.3f} bpp")
    assert bpp >= 1
    bundle = load_bundle(tmp_path / "b.safetensors")
    latents, *size = decode_latents(bundle, encoded.file)
    assert latents.equal(encoded.latents) and size == [512, 768]
    with torch.inference_mode():
        assert bundle.model.synthesis(latents).shape == (1, 3, 512, 768)
