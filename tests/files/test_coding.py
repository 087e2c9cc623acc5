"""Files: what goes in comes out, in another process too, and no file does harm."""

import random
import resource
import time
import zlib

import pytest
import torch
from conftest import MODEL_NAMES, live_codec, picture

from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, decode_latents, encode, estimated_bits, reconstruct
from codec.files.sealed import seal
from codec.types import UserError


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    for name in MODEL_NAMES:
        save_bundle(folder / f"{name}.safetensors", live_codec(name), {"note": "a test's"}, half=True)
    return folder


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize(
    "height, width", [(1, 1), (17, 5), (64, 64), (333, 500), pytest.param(2000, 1333, marks=pytest.mark.slow)]
)
def test_any_size_round_trips(bundles, name, height, width):
    path = bundles / f"{name}.safetensors"
    bundle, anew = load_bundle(path), load_bundle(path)
    image = picture(height, width)
    encoded = encode(bundle, image)
    latents, decoded_height, decoded_width = decode_latents(anew, encoded.file)
    assert (decoded_height, decoded_width) == (height, width)
    assert latents.equal(encoded.latents)
    assert decode(anew, encoded.file).shape == image.shape
    assert len(encoded.file) - encoded.payload_bytes <= 32
    assert abs(encoded.payload_bytes - encoded.table_bits / 8) <= 0.005 * encoded.table_bits / 8 + 8


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_weights_make_symbols_that_test_the_coder(bundles, name):
    bundle = load_bundle(bundles / f"{name}.safetensors")
    encoded = encode(bundle, picture(256, 256))
    assert 3 < float(encoded.y.std()) < 8
    if name != "factorized":
        z = bundle.model.hyper_analysis(encoded.y).round()
        scales, _ = bundle.model.hyper_synthesis(z)
        assert float(scales.min()) < 0.11 and float(scales.max()) > 30
        # A symbol whose likelihood is at the bound lies beyond its table: it was escaped.
        assert estimated_bits(bundle, encoded) > encoded.table_bits


def test_no_damaged_file_does_harm(bundles):
    """10,000 files with flipped bytes, cuts or noise: the one clear error each time, whatever the damage."""
    bundle = load_bundle(bundles / "hyperprior.safetensors")
    file = encode(bundle, picture(70, 90)).file
    rng = random.Random(0)
    for trial in range(10_000):
        data = bytearray(file)
        if trial < len(file):
            data[trial] ^= rng.randrange(1, 256)  # every single byte
        elif trial % 3 == 0:
            data = data[: rng.randrange(len(data))]
        elif trial % 3 == 1:
            for _ in range(rng.randrange(1, 20)):
                data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        else:
            data = bytearray(rng.randbytes(rng.randrange(400)))
        with pytest.raises(UserError) as caught:
            decode(bundle, bytes(data))
        assert "\n" not in str(caught.value)


def test_no_forged_file_does_harm(bundles):
    """The same with checksums that fit, as somebody who wants to do harm would write them."""
    bundle = load_bundle(bundles / "hyperprior.safetensors")
    file = encode(bundle, picture(70, 90)).file
    rng = random.Random(1)
    for trial in range(300):
        body = bytearray(file[:-4])
        if trial % 2:
            body[rng.randrange(15, len(body))] ^= rng.randrange(1, 256)
        else:
            body = body[:15] + rng.randbytes(4 * rng.randrange(40)) + body[-4:]
        forged = bytes(body) + zlib.crc32(body).to_bytes(4, "little")
        if forged != file:
            with pytest.raises(UserError):
                decode(bundle, forged)


def test_a_huge_picture_in_a_tiny_file_is_refused_at_once(bundles):
    from codec.files.container import write_container

    bundle = load_bundle(bundles / "factorized.safetensors")
    file = write_container(bundle.fingerprint, 2**13, 2**13, b"", 0)
    with pytest.raises(UserError, match="ends before"):
        decode(bundle, file)


@pytest.mark.parametrize("height, width", [(1, 2**23 + 1), (2**20, 129)])
def test_a_picture_that_no_codec_takes_is_refused_before_it_is_coded(bundles, monkeypatch, height, width):
    """The limit is of pixels as the networks see them."""
    bundle = load_bundle(bundles / "factorized.safetensors")
    monkeypatch.setattr(bundle.model, "padded_analysis", None)  # not come to
    with pytest.raises(UserError, match=f"a picture of {width}x{height}, which the codec pads to .* cut it into parts"):
        encode(bundle, torch.zeros(1, dtype=torch.uint8).expand(3, height, width))


def test_another_codecs_file_is_refused(bundles):
    file = encode(load_bundle(bundles / "hyperprior.safetensors"), picture(64, 64)).file
    with pytest.raises(UserError, match="written by codec"):
        decode(load_bundle(bundles / "mean_scale.safetensors"), file)


def test_latents_that_are_no_numbers_are_one_error(bundles):
    bundle = load_bundle(bundles / "factorized.safetensors")
    with torch.no_grad():
        bundle.model.g_a[-1].bias[0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        encode(bundle, picture(64, 64))


def test_a_bundle_has_the_rights_of_other_files(bundles, tmp_path):
    (tmp_path / "other").write_bytes(b"")
    assert (bundles / "factorized.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    "model, arguments",
    [("mean_scale", {"N": 65536, "M": 65536}), ("mean_scale", {"N": 4096, "M": 4096}), ("mean_scale", {"N": 10**9, "M": 12}),
     ("hific", {"N": 8, "M": 12, "C": 60, "num_blocks": 65536}), ("hific", {"N": 8, "M": 12, "C": 60, "num_blocks": 10**9}),
     ("hific", {"N": 2, "M": 2, "C": 2, "num_blocks": 65536}), ("factorized", {"N": 1, "M": 65536}),
     ("wacnn", {"N": 24 * 2000, "M": 40 * 1000}), ("segpic", {"N": 24 * 2000, "M": 40 * 1000})],
)  # fmt: skip
def test_no_arguments_build_more_than_the_file_has_weights_for(tmp_path, model, arguments):
    core = {"model": model, "arguments": arguments, "check": 0}
    tensors = {"weights.g_a.0.weight": torch.zeros(65536, 1, dtype=torch.float16)}
    (tmp_path / "b.safetensors").write_bytes(seal(tensors, core, {}))
    begun, peak = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="damaged"):
        load_bundle(tmp_path / "b.safetensors")
    assert time.perf_counter() - begun < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**15  # KiB


def test_latents_that_are_no_pictures_are_one_error(bundles):
    """Behind sound checksums a black picture would come of them."""
    bundle = load_bundle(bundles / "factorized.safetensors")
    latents = encode(bundle, picture(64, 64)).latents
    with pytest.raises(UserError, match="beyond floating point"):
        reconstruct(bundle, latents._replace(y_hat=latents.y_hat * 2.0**100), 64, 64)
