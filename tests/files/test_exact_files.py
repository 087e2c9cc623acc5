"""A file decodes bit for bit whatever computes it: the matrix of what used to matter, for every model."""

import copy
from contextlib import ExitStack, contextmanager
from itertools import product

import pytest
import torch
from conftest import ALL_NAMES, decode_in_another_process, live_model, one_thread, picture
from torch.utils._python_dispatch import TorchDispatchMode

from codec.entropy.check import CheckCoder
from codec.files.bundle import SHIPPED, in_floats, load_bundle, load_weights, save_bundle
from codec.files.coding import decode_latents, encode, estimated_bits, reconstruct
from codec.layers import exact_layers
from codec.metrics.quality import psnr
from codec.types import UserError
from data.testsets import kodak

SIZE, WIDE = (130, 140), (64, 3008)  # at the second torch's own places of SegPIC's cells differ between memory formats


pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with a bundle of each model and the files of some pictures, and the latents that their encoders had."""
    folder = tmp_path_factory.mktemp("written")
    latents = {}
    with one_thread():
        for name in ALL_NAMES:
            save_bundle(folder / f"{name}.safetensors", live_model(name), {}, half=True)
            bundle = load_bundle(folder / f"{name}.safetensors")
            (folder / name).mkdir()
            for number, size in enumerate([SIZE, WIDE] if name == "segpic" else [SIZE]):
                encoded = encode(bundle, picture(*size, seed=number))
                (folder / name / f"{number}.lic").write_bytes(encoded.file)
                latents[name, number] = encoded.latents
                assert encoded.latents.y_hat.std() > 0.3  # else nothing is tested
    return folder, latents


@contextmanager
def circumstances(bundle, threads, mkldnn, memory_format):
    """Threads, oneDNN and the memory format of weights and pictures, set for a while."""
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        stack.enter_context(torch.backends.mkldnn.flags(enabled=mkldnn))
        torch.set_num_threads(threads)
        bundle.model.to(memory_format=memory_format)
        yield


@pytest.mark.parametrize("name", ALL_NAMES)
def test_threads_libraries_and_memory_formats_do_not_matter(written, name):
    """Files that are written under one and read under another; the latents equal, whoever wrote them."""
    folder, latents = written
    bundle = load_bundle(folder / f"{name}.safetensors")
    formats = (torch.channels_last, torch.contiguous_format)
    for threads, mkldnn, memory_format in product((1, 2), (True, False), formats):
        with circumstances(bundle, threads, mkldnn, memory_format):
            for path in sorted((folder / name).glob("*.lic"))[: 2 if threads == 1 else 1]:
                assert decode_latents(bundle, path.read_bytes())[0].y_hat.equal(latents[name, int(path.stem)].y_hat)
    with circumstances(bundle, 1, False, torch.contiguous_format):
        encoded = encode(bundle, picture(*SIZE))  # perhaps another file, since its encoder's floats are others
    assert decode_latents(bundle, encoded.file)[0].y_hat.equal(encoded.latents.y_hat)


def test_another_process_with_older_instructions_reads_the_same(written):
    folder, latents = written
    decode_in_another_process(folder, ALL_NAMES, ONEDNN_MAX_CPU_ISA="SSE41", ATEN_CPU_CAPABILITY="default")
    for (name, number), expected in latents.items():
        y_hat, *_ = torch.load(folder / name / f"{number}.decoded", weights_only=True)
        assert y_hat.equal(expected.y_hat), (name, number)


class Replay(CheckCoder):
    """A check's coder that keeps what it makes up, or gives several pictures what others kept."""

    def __init__(self, first=0, others=()):
        super().__init__()
        self._made, self._others, self.symbols, self.seen = first, [iter(other.symbols) for other in others], [], []

    def _symbols(self, shape, device):
        made = torch.cat([next(other) for other in self._others]) if self._others else super()._symbols(shape, device)
        self.symbols.append(made)
        return made

    def note(self, values):
        self.seen.append(values)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_a_batch_gives_what_its_pictures_give(written, name):
    model = load_bundle(written[0] / f"{name}.safetensors").model
    singles = [Replay(first) for first in (0, 1234, 77)]
    latents = [model.read(coder, 100, 130, model.grid).y_hat for coder in singles]
    batch = Replay(others=singles)
    assert model.read(batch, 100, 130, model.grid).y_hat.equal(torch.cat(latents))
    for together, *alone in zip(batch.seen, *(coder.seen for coder in singles), strict=True):
        assert together.equal(torch.cat(alone))


class Noise(TorchDispatchMode):
    """Moves every float32 that an operation gives by a unit in its last place, up or down, while it is on."""

    def __init__(self):
        super().__init__()
        self.depth = self.moved = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        view = any(returned.alias_info is not None for returned in function._schema.returns)
        if self.depth and not view and isinstance(result, torch.Tensor) and result.dtype == torch.float32 and result.numel():
            self.moved += 1
            ulps = torch.randint(-1, 2, result.shape, dtype=torch.int32)
            result.copy_((result.contiguous().view(torch.int32) + ulps).view(torch.float32).where(result != 0, result))
        return result

    def outside(self, model):
        """Turn it on in all layers of the model but its entropy networks and densities."""
        exact_ones = {layer for network in model.entropy_networks() for layer in network.modules()}
        exact_ones |= {density for _, density in model.densities()}
        for layer in set(model.modules()) - exact_ones - {model}:
            if not list(layer.children()) or not exact_ones & set(layer.modules()):
                layer.register_forward_pre_hook(lambda *_: setattr(self, "depth", self.depth + 1))
                layer.register_forward_hook(lambda *_: setattr(self, "depth", self.depth - 1))


@pytest.mark.parametrize("name", ALL_NAMES)
def test_noise_in_every_float_outside_breaks_nothing(written, name):
    folder, latents = written
    bundle, noise = load_bundle(folder / f"{name}.safetensors"), Noise()
    noise.outside(bundle.model)
    image = picture(*SIZE)
    for seed in (0, 1):
        torch.manual_seed(seed)
        with noise:
            encoded = encode(bundle, image)
            read, height, width = decode_latents(bundle, encoded.file)
            again = decode_latents(bundle, (folder / name / "0.lic").read_bytes())[0]
            decoded = reconstruct(bundle, read, height, width)
        assert read.y_hat.equal(encoded.latents.y_hat) and again.y_hat.equal(latents[name, 0].y_hat)
        quiet = reconstruct(load_bundle(folder / f"{name}.safetensors"), read, height, width)
        assert (decoded.int() - quiet.int()).abs().float().mean() < 0.01
    assert noise.moved > 40


@pytest.mark.parametrize("name", ["hyperprior", "mean_scale", "hific", "wacnn", "segpic"])
def test_a_machine_that_breaks_the_rule_is_told_when_it_loads_the_codec(written, name, monkeypatch):
    products = exact_layers.products

    def noisy(*arguments):
        sums = products(*arguments)
        return sums * (1 + 2.0**-24 * torch.randn(sums.shape, generator=generator, dtype=sums.dtype))

    monkeypatch.setattr(exact_layers, "products", noisy)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        with pytest.raises(UserError, match="other scales and means on this machine"):
            load_bundle(written[0] / f"{name}.safetensors")


@pytest.mark.parametrize("name", ALL_NAMES)
def test_exactness_costs_next_to_nothing(written, name):
    path = written[0] / f"{name}.safetensors"
    ours, floats = load_bundle(path), in_floats(load_bundle(path))
    rates = []
    for bundle in (ours, floats):
        encoded = [encode(bundle, picture(256, 256, seed)) for seed in range(2)]
        rates.append([sum(e.table_bits for e in encoded), sum(estimated_bits(bundle, e) for e in encoded)])
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)


def test_the_shipped_codec_costs_next_to_nothing_on_photographs(shared):
    ours, floats = load_bundle(SHIPPED), in_floats(load_bundle(SHIPPED))
    bits, decibels = [], []
    for bundle in (ours, floats):
        images = [item.load() for item in kodak(shared / "images" / "kodak").pictures[:3]]
        encoded = [encode(bundle, image) for image in images]
        bits.append(sum(e.table_bits for e in encoded))
        pictures = [reconstruct(bundle, e.latents, *image.shape[1:]) for e, image in zip(encoded, images, strict=True)]
        decibels.append(sum(psnr(x_hat, x) for x_hat, x in zip(pictures, images, strict=True)) / len(images))
    print(f"rate {100 * (bits[0] / bits[1] - 1):+.4f} %, PSNR {decibels[0] - decibels[1]:+.5f} dB")
    assert bits[0] == pytest.approx(bits[1], rel=5e-4) and decibels[0] == pytest.approx(decibels[1], abs=0.005)


def test_a_bundle_holds_the_very_weights_that_code(written):
    for name in ALL_NAMES:
        path, stored = written[0] / f"{name}.safetensors", copy.deepcopy(live_model(name))
        load_weights(stored, path)
        for key, parameter in load_bundle(path).model.named_parameters():
            assert parameter.double().equal(stored.get_parameter(key).double()), key


def test_weights_too_large_for_exact_sums_are_refused_when_a_bundle_is_written(tmp_path):
    for wrong, words in ((1e12, "entropy network"), (float("nan"), "h_s.0.weight holds NaN")):
        model = copy.deepcopy(live_model("hyperprior"))
        with torch.no_grad():
            model.h_s[0].weight.mul_(wrong)
        with pytest.raises(UserError, match=words):
            save_bundle(tmp_path / "b.safetensors", model, {}, half=False)
        assert not (tmp_path / "b.safetensors").exists()
