"""HiFiC's networks: the official TensorFlow code's outputs, plain formulas elsewhere, and coding of any size."""

import importlib.util
import json

import pytest
import torch
import torch.nn.functional as F
from conftest import live_hific, picture
from torch import nn

from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, decode_latents, encode, reconstruct
from codec.layers.channel_norm import ChannelNorm
from codec.models import build_model
from codec.models.discriminator import Discriminator
from codec.models.hific import Generator, encoder
from codec.training.precision import cpu_multiplies_bf16
from codec.types import UserError

TINY = {"N": 8, "M": 6, "C": 4, "num_blocks": 2}


def layers_in_order(network):
    return [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, ChannelNorm))]


@pytest.mark.slow
def test_encoder_and_generator_give_what_the_official_code_gives(shared):
    """Weights and picture by the recipe: within 1e-4 of the outputs' deviations."""
    spec = importlib.util.spec_from_file_location("recipe", shared / "reference/parity/recipe.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    reference = json.loads((shared / "reference/parity/hific.json").read_text())
    expected = reference["256x256"]
    x = torch.from_numpy(recipe.image(256, 256, 1))
    outputs = {}
    for name in ("E", "G"):
        with torch.device("meta"):
            network = encoder(60, 220) if name == "E" else Generator(60, 220, 9)
        network = network.to_empty(device="cpu")
        layers = layers_in_order(network)
        assert len(layers) == len(reference["order"][name])
        for layer, (index, kind, shape) in zip(layers, reference["order"][name], strict=True):
            with torch.no_grad():
                if kind == "ChannelNorm":
                    layer.gamma.copy_(1 + torch.from_numpy(recipe.value(f"{name}.{index}.gamma1d", tuple(shape))))
                    layer.beta.copy_(torch.from_numpy(recipe.value(f"{name}.{index}.beta1d", tuple(shape))))
                else:
                    assert list(layer.weight.shape) == shape
                    layer.weight.copy_(torch.from_numpy(recipe.value(f"{name}.{index}.weight", tuple(shape))))
                    layer.bias.copy_(torch.from_numpy(recipe.value(f"{name}.{index}.bias", layer.bias.shape)))
        with torch.no_grad():
            outputs[name] = network(x if name == "E" else torch.round(3 * outputs["E"]) / 3)
    y, x_hat = outputs["E"], outputs["G"]
    for samples, output, key in ((y[:, ::11, ::3, ::5], y, "y"), (x_hat[:, :, 5::31, 7::37], x_hat, "x")):
        off = (samples.flatten() - torch.tensor(expected[f"{key}_samples"])).abs().max() / expected[f"{key}_std"]
        print(f"{key}: largest deviation {float(off):.1e} of the standard deviation")
        assert off < 1e-4
        assert float(output.mean()) == pytest.approx(expected[f"{key}_mean"], abs=1e-4 * expected[f"{key}_std"])
        assert float(output.std()) == pytest.approx(expected[f"{key}_std"], rel=1e-4)


def plain_norm(x, layer):
    """Mean and variance over channels, divided by C - 1, epsilon 1e-3."""
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).sum(1, keepdim=True) / (x.size(1) - 1)
    normal = (x - mean) / torch.sqrt(variance + 1e-3)
    return normal * layer.gamma[:, None, None] + layer.beta[:, None, None]


def plain_halving(x, layer):
    """SAME at even sides: the zeros are right and below."""
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), layer.weight, layer.bias, stride=2)


def plain_doubling(x, layer):
    """SAME: the last row and column of the whole transposed convolution are dropped."""
    return F.conv_transpose2d(x, layer.weight, layer.bias, stride=2)[..., :-1, :-1]


def plain_encoder(x, layers):
    first, norm, *rest, last = layers
    x = F.relu(plain_norm(F.conv2d(x, first.weight, first.bias, padding=3), norm))
    for conv, norm in zip(rest[::2], rest[1::2], strict=True):
        x = F.relu(plain_norm(plain_halving(x, conv), norm))
    return F.conv2d(x, last.weight, last.bias, padding=1)


def plain_generator(y, layers, num_blocks):
    def conv(x, layer):
        return F.conv2d(x, layer.weight, layer.bias, padding=1)

    layers = iter(layers)
    first, head, second = next(layers), next(layers), next(layers)
    skip = x = plain_norm(conv(plain_norm(y, first), head), second)
    for _ in range(num_blocks):
        a, a_norm, b, b_norm = (next(layers) for _ in range(4))
        x = x + plain_norm(conv(F.relu(plain_norm(conv(x, a), a_norm)), b), b_norm)
    x = x + skip
    for _ in range(4):
        up, norm = next(layers), next(layers)
        x = F.relu(plain_norm(plain_doubling(x, up), norm))
    last = next(layers)
    return F.conv2d(x, last.weight, last.bias, padding=3)


@pytest.mark.parametrize("height, width", [(16, 16), (48, 80), (128, 64)])
def test_transforms_equal_a_plain_implementation(height, width):
    torch.manual_seed(1)
    codec = build_model("hific", **TINY).double()
    for parameter in codec.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    x = picture(height, width)[None].double() / 255
    y, expected = codec.g_a(x), plain_encoder(x, layers_in_order(codec.g_a))
    torch.testing.assert_close(y, expected, rtol=1e-9, atol=1e-9)
    assert y.shape == (1, TINY["M"], height // 16, width // 16)
    x_hat, expected = codec.g_s(3 * y), plain_generator(3 * y, layers_in_order(codec.g_s), TINY["num_blocks"])
    torch.testing.assert_close(x_hat, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("norm, moves", [("channel", False), ("instance", True)])
def test_instance_norm_alone_makes_colours_of_a_part_depend_on_the_size_of_the_picture(norm, moves):
    """A picture of 256² and the same one continued to 512² under a bright sky: what is beyond the reach of convolutions."""
    torch.manual_seed(0)
    codec = build_model("hific", **(TINY | {"num_blocks": 1}), norm=norm)
    small = picture(256, 256)[None] / 255
    large = torch.cat((torch.cat((small, small.flip(-1)), dim=-1), torch.full((1, 3, 256, 512), 0.9)), dim=-2)
    with torch.no_grad():
        alone, within = (codec.g_s(codec.g_a(x))[..., :96, :96] for x in (small, large))
    brightness = (within.mean() - alone.mean()).abs() / alone.std()
    assert (brightness > 0.05) == moves
    if not moves:
        torch.testing.assert_close(within, alone, rtol=0, atol=1e-4)


def test_a_bundle_names_the_norm(tmp_path):
    for norm in ("channel", "instance"):
        path = tmp_path / f"{norm}.safetensors"
        save_bundle(path, build_model("hific", **TINY, norm=norm), {}, half=True)
        bundle = load_bundle(path)
        assert bundle.header["arguments"].get("norm", "channel") == norm
        image = picture(40, 72)
        assert decode(load_bundle(path), encode(bundle, image).file).shape == image.shape
    with pytest.raises(UserError, match="expected one of channel, instance"):
        build_model("hific", **TINY, norm="batch")


def test_parameter_counts_are_the_published_ones():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in network.parameters()) for network in (encoder(60, 220), Generator(60, 220, 9))]
        discriminator = sum(p.numel() for p in Discriminator(220, 64).parameters())
    assert counts == [7_423_420, 156_774_683] and discriminator == 2_800_797
    densities = [46 * 320, 5_754_560, 2 * 5_754_460]  # the density, h_a, both h_s
    assert sum(counts) + sum(densities) == 181_476_303
    tiny = build_model("hific", N=3, M=4, C=2, num_blocks=1)
    assert sum(p.numel() for p in tiny.entropy_bottleneck.parameters()) == 46 * 3


@pytest.mark.parametrize("height, width", [(1, 1), (17, 40), (64, 64), (100, 61)])
def test_a_picture_of_any_size_is_coded_exactly(height, width, tmp_path):
    save_bundle(tmp_path / "b.safetensors", live_hific(), {}, half=True)
    encoder_side, decoder_side = load_bundle(tmp_path / "b.safetensors"), load_bundle(tmp_path / "b.safetensors")
    image = picture(height, width)
    encoded = encode(encoder_side, image)
    latents, *size = decode_latents(decoder_side, encoded.file)
    assert latents.equal(encoded.latents) and size == [height, width] and latents.y_hat.any()
    assert encoded.payload_bytes * 8 == pytest.approx(encoded.table_bits, rel=0.01, abs=64)
    assert decode(decoder_side, encoded.file).equal(reconstruct(encoder_side, latents, height, width))


def test_training_rounds_y_straight_through_and_rates_it_with_noise():
    codec = live_hific()
    x = picture(64, 64)[None] / 255
    zero = torch.zeros_like
    quiet = codec(x, zero, quantized=True)  # noise of 0: z is what it is, y is rounded for G
    means = codec.h_mean_s(codec.h_a(codec.g_a(x)))
    steps = quiet.y_hat - means
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-5)
    # Rated are values that are not rounded, and beside them those that are, by the same means and scales.
    assert not torch.equal(quiet.likelihoods["y"], quiet.quantized_likelihoods["y"])
    scales = codec.h_scale_s(codec.h_a(codec.g_a(x)))
    expected = codec.gaussian_conditional.likelihood(quiet.y_hat, scales, means)
    torch.testing.assert_close(quiet.quantized_likelihoods["y"], expected)
    assert not any(p.requires_grad for p in quiet.quantized_likelihoods.values())
    assert set(codec(x, zero).quantized_likelihoods) == set() and set(codec(x).quantized_likelihoods) == {"y", "z"}
    # The rounding passes the gradient on to E, and none to the means.
    quiet.x_hat.square().mean().backward()
    assert codec.g_a[-1].weight.grad.abs().sum() > 0
    assert codec.h_mean_s[-1].weight.grad.abs().max() == 0


@pytest.mark.skipif(not cpu_multiplies_bf16(), reason="this CPU does not multiply bf16")
def test_bf16_follows_fp32_at_the_same_weights():
    torch.manual_seed(0)
    codec = build_model("hific", N=16, M=16, C=16, num_blocks=2)
    x = torch.stack([picture(64, 64, seed) for seed in range(4)]) / 255
    grads = []
    for enabled in (False, True):
        codec.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            output = codec(x, torch.zeros_like)
        assert output.x_hat.dtype == output.y_hat.dtype == torch.float32
        (output.x_hat - x).square().mean().backward()
        grads.append(torch.cat([p.grad.flatten() for p in codec.g_s.parameters()]))
    assert torch.cosine_similarity(*grads, dim=0) > 0.95
