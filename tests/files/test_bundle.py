"""A bundle is what was written, or one line: damage by accident, and files that say of nonsense that it is intact."""

import hashlib
import json
import random
import shutil
import struct
import sys
from pathlib import Path

import pytest
import torch
from conftest import live_codec, picture

from codec.files.bundle import bundle_facts, load_bundle, save_bundle
from codec.files.coding import encode
from codec.files.sealed import FORMAT, seal, spelled, unseal
from codec.types import UserError


@pytest.fixture(scope="session")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "codec.safetensors"
    save_bundle(path, live_codec("mean_scale"), {"config": {"seed": 1}}, half=True)
    return path


@pytest.fixture
def refused(path, tmp_path):
    """The line with which a file of this content is refused, whatever it is opened for."""
    target = tmp_path / "changed.safetensors"

    def line(content):
        target.write_bytes(content)
        lines = set()
        for opened in (load_bundle, bundle_facts):
            with pytest.raises(UserError) as caught:
                opened(target)
            lines.add(str(caught.value))
        assert len(lines) == 1 and "\n" not in min(lines) and len(min(lines)) < 500 + len(str(target))
        return min(lines)

    return line


def parts_of(content):
    """The header of a safetensors file as a mapping, and what follows it."""
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:end]), content[end:]


def with_header(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_core(content, text):
    header, data = parts_of(content)
    texts = header["__metadata__"]
    texts["codec"] = text
    texts["hash"] = hashlib.sha256((text + texts["facts"]).encode()).hexdigest()
    return with_header(header, data)


def flipped(content, place, bit):
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def test_a_flipped_bit_of_a_tensor_is_damage(path, refused):
    content = path.read_bytes()
    rng, begin = random.Random(0), len(content) - len(parts_of(content)[1])
    for place in rng.sample(range(begin, len(content)), 100):
        assert "is damaged: 'weights." in (line := refused(flipped(content, place, rng.randrange(8)))) or "'tables." in line


def test_a_flipped_bit_of_the_header_is_one_line_or_changes_nothing(path, tmp_path):
    content, known = path.read_bytes(), unseal(path)
    rng, end = random.Random(0), len(content) - len(parts_of(content)[1])
    accepted = 0
    for place in range(end):
        (tmp_path / "b").write_bytes(flipped(content, place, rng.randrange(8)))
        try:
            sealed = unseal(tmp_path / "b")
        except UserError as error:
            assert "\n" not in str(error)
        else:
            accepted += 1
            assert (sealed.fingerprint, sealed.core, sealed.facts) == (known.fingerprint, known.core, known.facts)
            assert all(sealed.tensors[name].equal(tensor) for name, tensor in known.tensors.items())
    assert accepted < 10  # spaces after the header


@pytest.mark.parametrize("end", [0, 1, 7, 8, 9, 100, -1])
def test_a_cut_file_is_one_line(path, refused, end):
    assert "is not a bundle" in refused(path.read_bytes()[:end])


def test_a_file_that_goes_on_is_one_line(path, refused):
    assert "is not a bundle" in refused(path.read_bytes() + b"\0")


@pytest.mark.parametrize("value", [-5, 0, True, 1.9, "3", None, [], 1e400, float("nan")])
def test_a_format_is_a_whole_number_from_1(path, refused, value):
    core = json.loads(parts_of(path.read_bytes())[0]["__metadata__"]["codec"])
    assert "is not a bundle" in refused(with_core(path.read_bytes(), json.dumps(core | {"format": value}, sort_keys=True)))


def test_another_format_says_what_to_do(path, refused):
    core = json.loads(parts_of(path.read_bytes())[0]["__metadata__"]["codec"])
    assert "newer codec" in refused(with_core(path.read_bytes(), spelled(core | {"format": FORMAT + 1})))
    assert "train or import it again" in refused(with_core(path.read_bytes(), spelled(core | {"format": FORMAT - 1})))


def test_no_key_stands_twice(path, refused):
    content = path.read_bytes()
    header, data = parts_of(content)
    text = header["__metadata__"]["codec"]
    assert "twice" in refused(with_core(content, text.replace('{"arguments"', '{"check": 1, "arguments"', 1)))
    assert "twice" in refused(with_core(content, text.replace('"N": 8', '"N": 8, "N": 8', 1)))
    whole = json.dumps(header)
    again = whole.replace('{"__metadata__"', '{"__metadata__": {}, "__metadata__"', 1)
    assert "twice" in refused(with_header(again.encode(), data))
    name = json.dumps(next(key for key in header if key != "__metadata__"))
    again = whole.replace(f"{name}:", f'{name}: {{"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}}, {name}:', 1)
    assert "twice" in refused(with_header(again.encode(), data))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[]", "1", "null", "", "{", '{"format": 3}', "\0"])
def test_a_header_that_is_no_mapping_is_one_line(path, refused, text):
    assert "is not a bundle" in refused(with_core(path.read_bytes(), text))
    assert "is not a bundle" in refused(with_header(text.encode(), parts_of(path.read_bytes())[1]))


def test_a_core_has_one_spelling(path, refused):
    text = parts_of(path.read_bytes())[0]["__metadata__"]["codec"]
    for other in (text + " ", text.replace(": ", ":", 1), text.replace('"N"', '"\\u004e"', 1)):
        assert "spelled" in refused(with_core(path.read_bytes(), other))


@pytest.mark.parametrize(
    "change",
    [{"arguments": []}, {"arguments": None}, {"model": {}}, {"model": None}, {"model": "os.system"}, {"model": "hyperprior"},
     {"arguments": {}}, {"arguments": {"N": 8, "M": 12, "depth": 2}}, {"arguments": {"N": 8, "M": 12, "name": 2}},
     {"arguments": {"N": [8], "M": 12}}, {"arguments": {"N": "x" * 100_000, "M": "\x1b[2J\n"}},
     {"arguments": {"N": -8, "M": 12}},
     {"check": True}, {"check": 1.0}, {"check": "1"}, {"check": 10**400}, {"more": 1}],
)  # fmt: skip
def test_what_an_intact_header_says_is_checked(path, tmp_path, change):
    sealed = unseal(path)
    (tmp_path / "b").write_bytes(seal(sealed.tensors, sealed.core | change, sealed.facts))
    with pytest.raises(UserError) as caught:
        load_bundle(tmp_path / "b")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "facts",
    [{"config": []}, {"config": None}, {"config": 1}, {"config": {"experiment_name": 1}}, {"config": {"model": {}}},
     {"config": {"experiment_name": "\x1b[2J"}}, {"trained_with": "a\nb"}, {"trained_with": []},
     {"config": {"target_bpp": "low"}}, {"config": {"model": []}}, {"config": {"model": {"lmbda": "low"}}}],
)  # fmt: skip
def test_facts_are_mappings(path, tmp_path, facts):
    sealed = unseal(path)
    (tmp_path / "b").write_bytes(seal(sealed.tensors, sealed.core, facts))
    with pytest.raises(UserError, match="damaged"):
        bundle_facts(tmp_path / "b")


def test_facts_that_are_no_mapping_are_refused(path, refused):
    header, data = parts_of(path.read_bytes())
    for facts in ("[]", "1", '"a"', "null"):
        header["__metadata__"]["facts"] = facts
        assert "is not a bundle" in refused(with_header(header, data))


@pytest.mark.parametrize(
    "facts",
    [
        {"config": 3},
        {"a": float("nan")},
        {"a": {1, 2}},
        {"a": object()},
        {1: 2, "1": 3},
        {1: 2, "a": 3},
        {"config": {"model": 1}},
    ],
)
def test_facts_that_no_reader_would_take_are_not_written(tmp_path, facts):
    with pytest.raises(UserError, match="facts") as caught:
        save_bundle(tmp_path / "b", live_codec("factorized"), facts, half=False)
    assert "\n" not in str(caught.value) and not (tmp_path / "b").exists()


def changed(path, tmp_path, without=(), **tensors):
    """The line with which load_bundle refuses a bundle of other tensors that says of itself that it is intact."""
    sealed = unseal(path)
    kept = {name: tensor for name, tensor in sealed.tensors.items() if name not in without}
    (tmp_path / "b").write_bytes(seal(kept | tensors, sealed.core, sealed.facts))
    with pytest.raises(UserError) as caught:
        load_bundle(tmp_path / "b")
    assert "\n" not in str(caught.value)
    assert any(words in str(caught.value) for words in ("damaged", "does not fit", "not finite", "NaN or infinity"))
    return str(caught.value)


def test_unknown_tensors_and_other_types_are_refused(path, tmp_path):
    tensors = unseal(path).tensors
    for name in ("more", "weights", "weights.", "tables.gaussian.more", "tables.counts", "weights.g_a.0.\nmore"):
        assert changed(path, tmp_path, **{name: torch.ones(3, dtype=torch.float16)})
    bias, lengths = "weights.g_a.0.bias", "tables.gaussian.lengths"
    assert changed(path, tmp_path, **{bias: tensors[bias].to(torch.int32)})
    assert changed(path, tmp_path, **{bias: tensors[bias][:-1]})
    assert changed(path, tmp_path, **{lengths: tensors[lengths].float()})
    assert changed(path, tmp_path, **{"scale_bounds": tensors["scale_bounds"].float()})
    for name in (bias, lengths, "scale_bounds"):
        assert changed(path, tmp_path, without=[name])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["g_a.0.bias", "g_s.6.weight", "h_s.0.weight", "entropy_bottleneck.quantiles"])
def test_weights_that_are_not_finite_are_refused_when_made_and_when_read(path, tmp_path, name, value):
    model = live_codec("mean_scale")
    parameter = dict(model.named_parameters())[name]
    with torch.no_grad():
        parameter.view(-1)[0] = value
    with pytest.raises(UserError, match=f"{name} holds NaN or infinity"):
        save_bundle(tmp_path / "made.safetensors", model, {}, half=True)
    assert not (tmp_path / "made.safetensors").exists()
    weight = unseal(path).tensors[f"weights.{name}"].clone()
    weight.view(-1)[0] = value
    assert "NaN or infinity" in changed(path, tmp_path, **{f"weights.{name}": weight})


def test_weights_beyond_float16_are_refused_when_a_bundle_is_made(tmp_path):
    model = live_codec("factorized")
    with torch.no_grad():
        model.g_s[0].bias[0] = 1e5
    with pytest.raises(UserError, match="NaN or infinity"):
        save_bundle(tmp_path / "made.safetensors", model, {}, half=True)
    save_bundle(tmp_path / "made.safetensors", model, {}, half=False)


def test_weights_that_exact_arithmetic_would_round_are_refused(path, tmp_path):
    """Another decoder might take them as they are."""
    tensors = unseal(path).tensors
    for name in ("weights.h_s.0.weight", "weights.entropy_bottleneck.quantiles"):
        moved = tensors[name].float().clone()
        moved.view(-1)[1] += 2.0**-21  # of quantiles the first channel's median
        assert "not on the grid of exact sums" in changed(path, tmp_path, **{name: moved})


def test_tables_are_checked(path, tmp_path):
    tensors = unseal(path).tensors
    counts = tensors["tables.gaussian.counts"].clone()
    counts.view(torch.int16)[0] += 1
    assert "tables are damaged" in changed(path, tmp_path, **{"tables.gaussian.counts": counts})
    assert "bounds" in changed(path, tmp_path, scale_bounds=tensors["scale_bounds"].flip(0))
    lengths, offsets = tensors["tables.gaussian.lengths"], tensors["tables.gaussian.offsets"]
    one_less = {"lengths": lengths[:-1], "offsets": offsets[:-1], "counts": tensors["tables.gaussian.counts"][: -lengths[-1]]}
    assert "bounds" in changed(path, tmp_path, **{f"tables.gaussian.{key}": tensor for key, tensor in one_less.items()})
    alone = {"lengths": lengths[:1], "offsets": offsets[:1], "counts": tensors["tables.gaussian.counts"][: lengths[0]]}
    assert "bounds" in changed(path, tmp_path, **{f"tables.gaussian.{key}": tensor for key, tensor in alone.items()})


def test_a_name_that_is_too_long_is_no_bundle(tmp_path):
    for opened in (load_bundle, bundle_facts):
        with pytest.raises(UserError, match="no bundle at"):
            opened(tmp_path / ("x" * 300))


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells no mappings")
def test_a_codec_keeps_nothing_of_its_file(path, tmp_path):
    """One mapped tensor would keep all of it in memory, and would follow what is written there later."""
    own = shutil.copy(path, tmp_path / "own.safetensors")
    bundle = load_bundle(own)
    assert str(own) not in Path("/proc/self/maps").read_text()
    file = encode(bundle, picture(64, 64)).file
    own.write_bytes(bytes(own.stat().st_size))
    assert encode(bundle, picture(64, 64)).file == file


def test_facts_alone_do_not_change_the_fingerprint(path, tmp_path):
    sealed = unseal(path)
    prints = []
    for core, facts in ((sealed.core, {}), (sealed.core, {"config": {"seed": 2}}), (sealed.core | {"check": 1}, {})):
        (tmp_path / "b").write_bytes(seal(sealed.tensors, core, facts))
        prints.append(unseal(tmp_path / "b").fingerprint)
    assert prints[0] == prints[1] == sealed.fingerprint != prints[2]
    (tmp_path / "b").write_bytes(seal(sealed.tensors | {"scale_bounds": sealed.tensors["scale_bounds"] + 1}, sealed.core, {}))
    assert unseal(tmp_path / "b").fingerprint != sealed.fingerprint
    assert encode(load_bundle(path), picture(64, 64)).file[4:12] == sealed.fingerprint


def test_equal_weights_are_equal_bytes(tmp_path):
    """safetensors itself orders its header anew in each file."""
    model = live_codec("factorized", N=4, M=6)
    for number in range(4):
        save_bundle(tmp_path / str(number), model, {"config": {"seed": 1}}, half=True)
    assert len({(tmp_path / str(number)).read_bytes() for number in range(4)}) == 1
