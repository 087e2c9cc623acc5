"""A model of one's own: a class and a name for it, and it trains, writes bundles and codes like those that are here."""

import pytest
import torch
from conftest import picture
from torch import nn

from codec.entropy.coder import RateEstimator
from codec.entropy.density import FactorizedDensity
from codec.entropy.gaussian import GaussianPrior
from codec.entropy.noise import uniform_noise
from codec.entropy.slices import ChannelContext
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode_latents, encode, estimated_bits, reconstruct
from codec.losses.rate_distortion import RateDistortion, bits_per_pixel, mse_255
from codec.models import MODELS, build_model
from codec.models.base import HyperpriorCodec, Latents
from codec.models.hyperprior import analysis_transform, conv, synthesis_transform
from codec.models.wacnn import hyper_synthesis
from codec.types import UserError


def checkerboard(height, width):
    """Which places of a latent are coded first, bool [h, w]."""
    return (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0


class CheckerboardSlice(nn.Module):
    """One slice of y in two parts of unlike shapes: half of its places, then the others, which see their neighbours."""

    def __init__(self, inputs, channels):
        super().__init__()
        self.scales, self.means = conv(inputs, channels, 1, 1), conv(inputs, channels, 1, 1)
        self.of_neighbours = conv(channels, channels, 3, 1)

    def code(self, coder, y, support, prior):
        first = checkerboard(*support.shape[-2:])
        scales, means = self.scales(support), self.means(support)
        y_hat = torch.zeros_like(means)
        for places in (first, ~first):
            centre = (means + self.of_neighbours(y_hat))[..., places]
            part = None if y is None else y[..., places]
            y_hat = y_hat.masked_scatter(places, coder.gaussian("y", part, scales[..., places], centre, prior))
        return y_hat


class TwoSlices(HyperpriorCodec):
    """A hyperprior whose y is coded in two slices: of the house's kind, or each in a checkerboard."""

    stride = 16
    straight_through = ("y",)

    def __init__(self, N: int, M: int, gain: float, context: str, bias: bool = True):
        super().__init__(N=N, M=M, gain=gain, context=context, bias=bias)
        self.gain = gain
        self.g_a, self.g_s = analysis_transform(N, M), synthesis_transform(N, M)
        self.h_a = nn.Sequential(conv(M, N, 3, 1), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N))
        self.h_scale_s, self.h_mean_s = hyper_synthesis(N, M), hyper_synthesis(N, M)
        self.slices = nn.ModuleList(CheckerboardSlice(2 * M + i * M // 2, M // 2) for i in range(2))
        self.context = ChannelContext(M, num_slices=2) if context == "slices" else None
        self.entropy_bottleneck = FactorizedDensity(N)
        self.gaussian_conditional = GaussianPrior()

    def analysis(self, x):
        return self.g_a(x) * self.gain

    def entropy_networks(self):
        return [self.h_scale_s, self.h_mean_s, self.slices if self.context is None else self.context]

    def code_latents(self, coder, y, size, regions=None):
        z_hat = self.code_z(coder, y, size)
        height, width = size
        scales, means = (net(z_hat)[..., :height, :width] for net in (self.h_scale_s, self.h_mean_s))
        if self.context is not None:
            return Latents(self.context.code(coder, y, scales, means, self.gaussian_conditional))
        decoded = []
        for i, slice_coder in enumerate(self.slices):
            part = None if y is None else y.chunk(2, dim=1)[i]
            support = torch.cat([scales, means, *decoded], dim=1)
            decoded.append(slice_coder.code(coder, part, support, self.gaussian_conditional))
        return Latents(torch.cat(decoded, dim=1))


ARGUMENTS = {"N": 8, "M": 12, "gain": 300.0}


@pytest.fixture(params=["slices", "checkerboard"])
def codec(request, monkeypatch):
    monkeypatch.setitem(MODELS, "two_slices", TwoSlices)
    torch.manual_seed(0)
    return build_model("two_slices", **ARGUMENTS, context=request.param)


def test_it_trains(codec):
    x = picture(48, 80)[None].float() / 255  # a latent of 3x5: of unlike numbers of first and second places
    optimizer = torch.optim.Adam(codec.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        torch.manual_seed(1)
        optimizer.zero_grad()
        terms = RateDistortion(mse_255, 0.01)(codec(x, uniform_noise), x)
        (terms.loss + codec.auxiliary_loss()).backward()
        optimizer.step()
        losses.append(float(terms.loss.detach()))
    assert losses[-1] < losses[0]
    used = "context" if codec.context is not None else "slices"
    for name, parameter in codec.named_parameters():
        assert name.split(".")[0] in {"context", "slices"} - {used} or parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("height, width", [(1, 1), (48, 80), (70, 90)])
def test_it_codes_and_decodes_a_picture_exactly(codec, tmp_path, height, width):
    save_bundle(tmp_path / "b.safetensors", codec, {}, half=True)
    encoder, decoder = load_bundle(tmp_path / "b.safetensors"), load_bundle(tmp_path / "b.safetensors")
    assert decoder.model.arguments == codec.arguments
    encoded = encode(encoder, picture(height, width))
    latents, *size = decode_latents(decoder, encoded.file)
    assert latents.equal(encoded.latents) and size == [height, width]
    assert torch.equal(reconstruct(decoder, latents, *size), reconstruct(encoder, encoded.latents, height, width))
    assert float(encoded.y.abs().max()) > 1  # else nothing is tested
    assert abs(encoded.payload_bytes - encoded.table_bits / 8) <= 0.005 * encoded.table_bits / 8 + 8


def test_its_rate_is_that_of_all_its_parts(codec, tmp_path):
    save_bundle(tmp_path / "b.safetensors", codec, {}, half=False)
    bundle, image = load_bundle(tmp_path / "b.safetensors"), picture(48, 80)
    encoded = encode(bundle, image)
    coder = RateEstimator(noise=None)
    with torch.no_grad():
        bundle.model.code_latents(coder, encoded.y, encoded.size, None)
        rates = [float(bits_per_pixel(p, 1)) for p in coder.likelihoods.values()]
    assert sum(p.numel() for p in coder.likelihoods.values()) == 12 * 3 * 5 + 8 * 1 * 2  # y and z
    assert sum(rates) == pytest.approx(estimated_bits(bundle, encoded), rel=1e-6)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"N": 8.5}, "expected a whole number"), ({"N": True}, "expected a whole number"),
        ({"N": "8"}, "expected a whole number"), ({"N": 10**9}, "expected a whole number"),
        ({"N": 0}, "no two_slices can be built"), ({"N": -8}, "no two_slices can be built"), ({"M": 13}, "slices"),
        ({"gain": "much"}, "expected a finite number"), ({"gain": float("nan")}, "expected a finite number"),
        ({"gain": False}, "expected a finite number"), ({"gain": None}, "expected a finite number"),
        ({"context": 3}, "expected a word"), ({"bias": 1}, "expected true or false"),
        ({"depth": 3}, "has no 'depth'; expected N, M, gain, context, bias"),
    ],
)  # fmt: skip
def test_an_argument_that_makes_no_network_is_one_line(wrong, words, monkeypatch):
    monkeypatch.setitem(MODELS, "two_slices", TwoSlices)
    with pytest.raises(UserError) as raised:
        build_model("two_slices", **(ARGUMENTS | {"context": "slices"} | wrong))
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_argument_is_named_and_a_whole_number_is_a_number(monkeypatch):
    monkeypatch.setitem(MODELS, "two_slices", TwoSlices)
    with pytest.raises(UserError, match=r"without context; expected a value; set model\.context"):
        build_model("two_slices", **ARGUMENTS)
    gain = build_model("two_slices", **ARGUMENTS | {"gain": 3}, context="slices").arguments["gain"]
    assert gain == 3 and type(gain) is float
