"""Several rates in one bundle: every level decodes to what was encoded, exactly, and rates rise with the level."""

import json

import pytest
import torch
from conftest import ALL_NAMES, decode_in_another_process, live_levels, live_model, picture

from codec.entropy.coder import RateEstimator
from codec.files.bundle import bundle_facts, in_floats, load_bundle, load_weights, save_bundle
from codec.files.coding import decode_batch, decode_latents, encode, estimated_bits, reconstruct
from codec.files.container import read_container, write_container
from codec.files.sealed import seal, unseal
from codec.layers.exact import UNIT
from codec.models import build_model
from codec.types import UserError

COUNT, SIZE = 5, (50, 70)

pytestmark = pytest.mark.usefixtures("on_one_thread")


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_level_decodes_to_what_was_encoded(levelled_bundles, name):
    encoder, decoder = load_bundle(levelled_bundles[name]), load_bundle(levelled_bundles[name])
    encoded = [encode(encoder, picture(*SIZE), level=level) for level in range(COUNT)]
    for level, one in enumerate(encoded):
        latents, height, width = decode_latents(decoder, one.file)
        assert latents.equal(one.latents) and (height, width) == SIZE and read_container(one.file).level == level
        assert abs(one.payload_bytes - one.table_bits / 8) <= 0.005 * one.table_bits / 8 + 8
    assert encoded[-1].latents.y_hat.std() > 0.2  # else nothing is tested
    bits = [one.bits_by_stream["y"] for one in encoded]
    assert bits == sorted(bits) and bits[-1] > 1.3 * bits[0]
    assert encode(encoder, picture(*SIZE)).file == encoded[COUNT // 2].file  # of which nobody said another
    if name != "factorized":
        assert {one.bits_by_stream["z"] for one in encoded} == {encoded[0].bits_by_stream["z"]}  # it sees y without gains


@pytest.mark.parametrize("name", ALL_NAMES)
def test_the_estimate_is_of_the_same_symbols(levelled_bundles, name):
    """Likelihoods of training and tables of coding, at the same gains."""
    bundle = load_bundle(levelled_bundles[name])
    if name == "factorized":  # whose tables hold all but 1e-9, and scales that fit nothing do not
        for level in (0, COUNT - 1):
            encoded = encode(bundle, picture(96, 96), level=level)
            for measured in (bundle, in_floats(bundle)):
                assert estimated_bits(measured, encoded) == pytest.approx(encoded.table_bits, rel=0.02)
    model, x = bundle.model, picture(64, 64)[None].float() / 255
    coder = RateEstimator(noise=None)
    y = model.padded_analysis(x)
    latents = model.code_latents(model.at_levels(coder, torch.tensor([3])), y, model.latent_size(64, 64), model.grid)
    assert latents.equal(encode(bundle, picture(64, 64), level=3).latents)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_pictures_of_a_batch_have_levels_of_their_own(name):
    model = live_levels(name, COUNT)
    x = torch.stack([picture(64, 64, seed) for seed in range(3)]).float() / 255
    together = model(x, levels=torch.tensor([0, 4, 2]))
    assert together.levels.tolist() == [0, 4, 2]
    for number, level in enumerate(together.levels):
        alone = model(x[number : number + 1], levels=level[None])
        torch.testing.assert_close(together.x_hat[number], alone.x_hat[0], rtol=1e-3, atol=1e-3)
        for stream, p in alone.likelihoods.items():
            ours, theirs = (-torch.log2(q).detach().sum() for q in (together.likelihoods[stream][number], p))
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["mean_scale", "factorized", "wacnn"])
def test_other_processes_and_instructions_read_the_same(levelled_bundles, name, tmp_path):
    bundle = load_bundle(levelled_bundles[name])
    (tmp_path / name).mkdir()
    (tmp_path / f"{name}.safetensors").write_bytes(levelled_bundles[name].read_bytes())
    expected = [encode(bundle, picture(*SIZE), level=level) for level in (0, COUNT - 1)]
    for number, encoded in enumerate(expected):
        (tmp_path / name / f"{number}.lic").write_bytes(encoded.file)
    decode_in_another_process(tmp_path, [name], ONEDNN_MAX_CPU_ISA="SSE41", ATEN_CPU_CAPABILITY="default")
    for number, encoded in enumerate(expected):
        y_hat, *_ = torch.load(tmp_path / name / f"{number}.decoded", weights_only=True)
        assert y_hat.equal(encoded.latents.y_hat)


def test_gains_and_steps_are_integers_of_the_grid(levelled_bundles):
    tensors = unseal(levelled_bundles["mean_scale"]).tensors
    gains, steps = tensors["levels.gains"], tensors["levels.steps"]
    assert gains.dtype == steps.dtype == torch.int32 and gains.shape == steps.shape == (COUNT, 12)
    torch.testing.assert_close(gains * UNIT * steps * UNIT, torch.ones(COUNT, 12), atol=1e-3, rtol=0)
    held = load_bundle(levelled_bundles["mean_scale"]).model.levels.of(torch.arange(COUNT))
    assert held[0].equal(gains.float() * UNIT) and held[1].equal(steps.float() * UNIT)
    floats = live_levels("mean_scale", COUNT).levels.of(torch.arange(COUNT))
    torch.testing.assert_close(held, floats, atol=UNIT, rtol=1e-3)


def test_levels_start_at_the_root_of_lambda():
    levels = build_model("mean_scale", N=8, M=12, levels=64).levels
    lmbdas = torch.logspace(-3, -1, 64, dtype=torch.float64)
    levels.start(lmbdas.tolist(), 0.0067)
    expected = torch.sqrt(lmbdas / 0.0067).float()[:, None].expand(-1, 12)
    torch.testing.assert_close(levels.of(torch.arange(64))[0], expected)


@pytest.mark.parametrize("name", ["mean_scale", "factorized", "hyperprior"])
def test_a_gain_of_one_is_the_codec_without_levels(name, tmp_path):
    plain, levelled = live_model(name), live_model(name)
    levelled.add_levels(3)
    for path, model in (("plain", plain), ("levelled", levelled)):
        save_bundle(tmp_path / path, model, {}, half=True)
    ours, theirs = (encode(load_bundle(tmp_path / path), picture(*SIZE)) for path in ("plain", "levelled"))
    assert ours.latents.equal(theirs.latents) and ours.symbols_crc == theirs.symbols_crc
    assert read_container(ours.file).payload == read_container(theirs.file).payload
    assert read_container(ours.file).level == 0


def test_files_of_unlike_levels_are_no_batch(levelled_bundles):
    bundle = load_bundle(levelled_bundles["mean_scale"])
    files = [encode(bundle, picture(*SIZE), level=level).file for level in (1, 2)]
    assert read_container(files[0]).shape != read_container(files[1]).shape
    latents, *_ = decode_batch(bundle, [files[0], files[0]])
    assert latents.of(1).equal(decode_latents(bundle, files[0])[0])


@pytest.mark.parametrize("level", [COUNT, 255])
def test_a_level_that_the_codec_does_not_have_is_one_line(levelled_bundles, live_bundles, level):
    bundle = load_bundle(levelled_bundles["mean_scale"])
    file = read_container(encode(bundle, picture(8, 9)).file)
    forged = write_container(bundle.fingerprint, 8, 9, file.payload, file.symbols_crc, level=level)
    with pytest.raises(UserError, match=f"level {level}, its codec 5 from 0"):
        decode_latents(bundle, forged)
    with pytest.raises(UserError, match=rf"level {level} of a codec that has levels 0 to 4"):
        encode(bundle, picture(8, 9), level=level)
    single = load_bundle(live_bundles["mean_scale"])
    file = read_container(encode(single, picture(8, 9)).file)
    with pytest.raises(UserError, match="its codec 1 from 0"):
        decode_latents(single, write_container(single.fingerprint, 8, 9, file.payload, file.symbols_crc, level=1))
    with pytest.raises(UserError, match="has one rate; give no level"):
        encode(single, picture(8, 9), level=0)
    x = picture(8, 9)[None] / 255
    with pytest.raises(UserError, match="no levels for a codec whose number of rates is 5"):
        bundle.model(x)
    with pytest.raises(UserError, match="levels for a codec whose number of rates is 1; expected none"):
        single.model(x, levels=torch.tensor([0]))


def changed(path, target, tensors=None, **arguments):
    sealed = unseal(path)
    core = sealed.core | {"arguments": sealed.core["arguments"] | arguments}
    target.write_bytes(seal(sealed.tensors | (tensors or {}), core, sealed.facts))
    return target


def test_gains_that_are_none_are_one_line(levelled_bundles, tmp_path):
    tensors = unseal(levelled_bundles["factorized"]).tensors
    gains = tensors["levels.gains"]
    for wrong in (gains * 0, gains * 0 - 1, gains * 0 + 2**24 + 1, gains[:-1].clone(), gains.flatten()):
        with pytest.raises(UserError, match="is damaged .*gains of levels that are none") as raised:
            load_bundle(changed(levelled_bundles["factorized"], tmp_path / "b", {"levels.gains": wrong}))
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match="'levels.more' is nothing that is written"):
        load_bundle(changed(levelled_bundles["factorized"], tmp_path / "b", {"levels.more": gains}))
    for wrong in ({"levels": 6}, {"levels": 1}, {"levels": 300}, {"levels": True}, {"levels": "5"}, {"levels": None}):
        with pytest.raises(UserError, match=r"damaged|does not fit"):
            load_bundle(changed(levelled_bundles["factorized"], tmp_path / "b", None, **wrong))


@pytest.mark.parametrize("count, words", [(1, "expected 2 to 256"), (257, "expected 2 to 256"), (True, "a whole number")])
def test_a_number_of_levels_that_is_none_is_one_line(count, words):
    with pytest.raises(UserError, match=words):
        build_model("mean_scale", N=8, M=12, levels=count)


def test_more_tables_than_the_coder_counts_are_refused_before_a_training():
    assert build_model("factorized", N=8, M=127, levels=256).arguments == {"N": 8, "M": 127, "levels": 256}
    with pytest.raises(UserError, match="256 levels of 128 channels, which make 32768 tables"):
        build_model("factorized", N=8, M=128, levels=256)


@pytest.mark.parametrize("name", ["factorized", "mean_scale"])
def test_a_number_of_levels_out_of_a_damaged_bundle_does_not_fill_the_screen(name):
    with pytest.raises(UserError, match="levels") as raised:
        build_model(name, N=8, M=12, levels=10**400)
    assert len(str(raised.value)) < 200


def test_a_gain_beyond_the_grid_is_not_written(tmp_path):
    model = live_levels("mean_scale")
    with torch.no_grad():
        model.levels.log_gains[0, 0] = 9.0
    with pytest.raises(UserError, match="gains of levels from"):
        save_bundle(tmp_path / "b", model, {}, half=True)


def test_weights_of_a_bundle_with_levels_come_back(levelled_bundles):
    model = build_model("mean_scale", N=8, M=12, levels=COUNT)
    load_weights(model, levelled_bundles["mean_scale"])
    assert model.levels.log_gains.equal(live_levels("mean_scale", COUNT).levels.log_gains)
    assert json.dumps(bundle_facts(levelled_bundles["mean_scale"])) == "{}"
    x_hat = reconstruct(
        load_bundle(levelled_bundles["mean_scale"]),
        encode(load_bundle(levelled_bundles["mean_scale"]), picture(8, 9)).latents,
        8,
        9,
    )
    assert x_hat.shape == (3, 8, 9)
