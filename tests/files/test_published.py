"""Published WACNN and SegPIC checkpoints as codecs: from their file to pictures in files and back."""

import json
import os
import random
import re
import resource
import time
import zlib
from contextlib import suppress
from statistics import mean
from typing import ClassVar

import compressai.models
import plain
import pytest
import torch
from conftest import decode_in_another_process, import_published, live_codec, live_slices, one_thread, picture
from PIL import Image

from codec.cli import main
from codec.entropy.payload import StreamWriter, strips
from codec.entropy.stream import SymbolWriter
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, decode_latents, encode, reconstruct
from codec.files.published import KINDS, MADE_ANEW, canonical_names, load_published
from codec.layers.regions import Grid
from codec.models import build_model, model_name
from codec.models.base import Latents
from codec.types import UserError
from data.testsets import kodak

STREAMS = {"wacnn": {"z", "y"}, "segpic": {"p1", "p2", "z", "y"}}


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """Bundles of small WACNN and SegPIC networks by kind, from checkpoints as their authors write them."""
    folder = tmp_path_factory.mktemp("published")
    return {kind: import_published(kind, state(kind), folder) for kind in KINDS if kind != "compressai"}


def state(kind, N=24, M=40):
    """A state dict in the published layout."""
    weights = plain.Weights()
    with torch.no_grad():
        plain.MODELS[kind](weights, torch.zeros(1, 3, 64, 64, dtype=torch.float64), None, N, M)
    return {name: value.float() for name, value in plain.aliased(weights).items()}


def imported(kind, content, folder):
    torch.save(content, folder / "c.pth")
    assert main(["import", kind, str(folder / "c.pth"), "--out", str(folder / "b.safetensors"), "--force"]) == 0
    return load_bundle(folder / "b.safetensors").fingerprint


@pytest.mark.parametrize("kind", ["wacnn", "segpic"])
def test_every_way_of_saving_a_checkpoint_gives_one_bundle(kind, tmp_path):
    weights = state(kind)
    bare = imported(kind, weights, tmp_path)
    tables = {
        f"{name}.{buffer}": torch.zeros(3, dtype=torch.int32)
        for name in ("entropy_bottleneck", "entropy_bottleneck_b", "entropy_bottleneck_b2", "gaussian_conditional")
        for buffer in ("_offset", "_quantized_cdf", "_cdf_length")
    }
    index = {"g_s.0.conv_b.0.attn.relative_position_index": torch.zeros(16, 16, dtype=torch.int64)}
    scheduler = {"best": 0.5, "mode_worse": float("inf"), "patience": 16}
    whole = {"epoch": 1, "loss": torch.tensor(0.5), "state_dict": weights | tables | index, "lr_scheduler": scheduler}
    assert imported(kind, whole, tmp_path) == bare
    assert imported(kind, {f"module.{name}": value for name, value in (weights | tables).items()}, tmp_path) == bare
    without_aliases = {k: v for k, v in weights.items() if not k.startswith(("basic_E", "basic_D"))}
    assert imported(kind, without_aliases, tmp_path) == bare


PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.model.", "net.module.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrappers_are_taken_off_in_any_order(prefix, tmp_path):
    model = live_codec("mean_scale")
    weights = dict(model.named_parameters())
    bare = imported("compressai", weights, tmp_path)
    assert imported("compressai", {"net": {f"{prefix}{name}": value for name, value in weights.items()}}, tmp_path) == bare
    within = {name.replace("g_a.", "g_a._orig_mod.").replace("h_s.", "h_s.module."): value for name, value in weights.items()}
    assert imported("compressai", within, tmp_path) == bare


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", ["_matrix0", "_matrices.0", "matrices.0"])
def test_every_spelling_of_densities_is_read(kind, spelling, tmp_path):
    """CompressAI#125: _biases.0, which it reads, and its newer networks do not write."""
    weights = canonical_names(dict(live_codec("hyperprior").named_parameters()) if kind == "compressai" else state(kind))
    bare = imported(kind, weights, tmp_path)
    plural = re.compile(r"\b(matric|bias|factor)(?:es|s)\.(\d)$")
    forms = {
        "_matrix0": lambda m: f"_{ {'matric': 'matrix'}.get(m[1], m[1]) }{m[2]}",
        "_matrices.0": lambda m: "_" + m[0],
        "matrices.0": lambda m: m[0],
    }
    renamed = {plural.sub(forms[spelling], name): value for name, value in weights.items()}
    assert spelling == "matrices.0" or renamed.keys() != weights.keys()
    assert imported(kind, renamed, tmp_path) == bare


def test_what_is_left_over_is_named_and_nothing_written(tmp_path, capsys):
    """An autoregressive network without the nine tensors that make it one would be a mean-scale one."""
    theirs = compressai.models.JointAutoregressiveHierarchicalPriors(8, 12).state_dict()
    mean_scale = dict(live_codec("mean_scale").named_parameters())
    second = {f"teacher.{name}": value for name, value in mean_scale.items()}
    for weights, named in (
        (theirs, ("context_prediction.weight", "entropy_parameters.0.weight")),
        (mean_scale | {"g_a.7.weight": torch.ones(3)}, ("1 tensors", "g_a.7.weight")),
        (mean_scale | second, (f"{len(second)} tensors", "teacher.g_a.0.weight")),
        (
            mean_scale | {f"module.{name}": value for name, value in mean_scale.items()},
            ("'module.g_a.0.weight', both of them",),
        ),
    ):
        torch.save(weights, tmp_path / "c.pth")
        assert main(["import", "compressai", str(tmp_path / "c.pth"), "--out", str(tmp_path / "b.safetensors")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and all(name in error for name in named), error
        assert not (tmp_path / "b.safetensors").exists()


@pytest.mark.parametrize("name, theirs", [
    ("factorized", compressai.models.FactorizedPrior), ("hyperprior", compressai.models.ScaleHyperprior),
    ("mean_scale", compressai.models.MeanScaleHyperprior),
])  # fmt: skip
def test_what_compressai_writes_itself_leaves_nothing_over(name, theirs, tmp_path):
    network = theirs(8, 12)
    network.update()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "c.pth")
    assert model_name(load_published("compressai", tmp_path / "c.pth")) == name


def test_every_published_name_has_its_place(shared):
    """Of WACNN and SegPIC as their authors build them, tables and indices among them."""
    for kind in STREAMS:
        keys = json.loads((shared / "reference" / "state_dicts" / f"{kind}.json").read_text())["keys"]
        unplaced = {entry["key"] for entry in keys if entry["kind"] == "buffer" and not MADE_ANEW.search(entry["key"])}
        assert not unplaced


def test_aliases_that_disagree_are_refused(tmp_path, capsys):
    weights = state("segpic")
    weights["g_a1.0.conv_groups.0.bias"] = weights["g_a1.0.conv_groups.0.bias"] + 1
    torch.save(weights, tmp_path / "c.pth")
    assert main(["import", "segpic", str(tmp_path / "c.pth"), "--out", str(tmp_path / "b.safetensors")]) == 2
    assert "two values" in capsys.readouterr().err


def test_a_checkpoint_of_the_other_kind_is_one_error(tmp_path, capsys):
    torch.save(state("wacnn"), tmp_path / "c.pth")
    for kind in ("segpic", "compressai"):
        assert main(["import", kind, str(tmp_path / "c.pth"), "--out", str(tmp_path / "b.safetensors")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("codec: ") and error.count("\n") == 1


def factorized_state(N=4, M=6):
    model = build_model("factorized", N=N, M=M)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def hostile_states():
    """Checkpoints in CompressAI's layout but for one thing, by what that is."""
    state = factorized_state()
    first, last = "g_a.0.weight", "g_a.6.weight"
    yield "no sides", state | {first: torch.tensor(1.0)}
    yield "too few sides", {**state, last: torch.ones(())}
    yield (
        "numbers that are not stored",
        state | {first: torch.zeros(1).expand(4096, 3, 5, 5), last: torch.zeros(1).expand(4096, 4096, 5, 5)},
    )
    yield "widths without numbers", state | {first: torch.zeros(4096, 0), last: torch.zeros(4096, 0)}
    yield "widths that the rest has not", state | {first: torch.zeros(65536, 1), last: torch.zeros(65536, 1)}
    yield "a width beyond all", state | {last: torch.zeros(1 << 17, 1)}
    yield "integers", state | {first: torch.ones(4, 3, 5, 5, dtype=torch.int32)}
    yield "complex numbers", state | {first: torch.ones(4, 3, 5, 5, dtype=torch.complex64)}
    yield "whole numbers as names", dict(enumerate(state.values()))
    yield "no place", state | {first: torch.ones(4, 3, 5, 5, device="meta")}
    yield "a sparse tensor", state | {first: torch.ones(4, 3, 5, 5).to_sparse()}
    yield "a quantised tensor", state | {first: torch.quantize_per_tensor(torch.ones(4, 3, 5, 5), 0.1, 0, torch.qint8)}
    yield "NaN", state | {"g_s.0.bias": torch.full((4,), float("nan"))}
    yield "infinity", state | {"g_s.0.bias": torch.full((4,), float("inf"))}
    yield "beyond float32", state | {"g_s.0.bias": torch.full((4,), 1e300, dtype=torch.float64)}
    yield "a prior of another width", state | {"h_s.4.weight": torch.ones(5, 4, 5, 5)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what, content", list(hostile_states()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_hostile_checkpoint_is_one_line(tmp_path, what, content):
    torch.save(content, tmp_path / "c.pth")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in KINDS:
        with pytest.raises(UserError) as caught:
            load_published(kind, tmp_path / "c.pth")
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**16  # KiB


@pytest.mark.parametrize("kind", ["wacnn", "segpic"])
@pytest.mark.parametrize("height, width", [(1, 1), (64, 64), (97, 150)])
def test_any_size_round_trips(published, kind, height, width):
    encoder, decoder = load_bundle(published[kind]), load_bundle(published[kind])
    encoded = encode(encoder, picture(height, width))
    latents, decoded_height, decoded_width = decode_latents(decoder, encoded.file)
    assert (decoded_height, decoded_width) == (height, width)
    assert latents.equal(encoded.latents)
    assert set(encoded.bits_by_stream) == STREAMS[kind]
    assert all(bits > 0 for bits in encoded.bits_by_stream.values())
    assert len(encoded.file) - encoded.payload_bytes <= 32
    assert abs(encoded.payload_bytes - encoded.table_bits / 8) <= 0.005 * encoded.table_bits / 8 + 8


@pytest.mark.parametrize("options", [{"context": False}, {"attention": False, "context": False, "inverse_gdn": True}])
def test_variants_round_trip(options, tmp_path):
    save_bundle(tmp_path / "b.safetensors", live_slices("segpic", **options), {}, half=True)
    encoder, decoder = load_bundle(tmp_path / "b.safetensors"), load_bundle(tmp_path / "b.safetensors")
    encoded = encode(encoder, picture(70, 90))
    assert decode_latents(decoder, encoded.file)[0].equal(encoded.latents)


def test_the_grid_is_in_the_file(published):
    bundle = load_bundle(published["segpic"])
    image = picture(100, 150)
    bits = {}
    for grid in (None, Grid(4, 4), Grid(1, 1), Grid(3, 5)):
        encoded = encode(bundle, image, grid)
        assert decode_latents(bundle, encoded.file)[0].equal(encoded.latents)
        bits[grid] = encoded.bits_by_stream["p1"]
    assert bits[None] == bits[Grid(4, 4)] > bits[Grid(1, 1)]
    assert encode(bundle, image).file == encode(bundle, image, Grid(4, 4)).file
    with pytest.raises(UserError, match="255"):
        encode(bundle, image, Grid(0, 4))
    with pytest.raises(UserError, match="which has no regions"):
        encode(load_bundle(published["wacnn"]), image, Grid(4, 4))


def test_the_command_takes_a_grid(published, tmp_path, capsys):
    Image.fromarray(picture(64, 80).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    words = ["compress", str(tmp_path / "a.png"), str(tmp_path / "a.lic"), "--codec", str(published["segpic"]), "--grid"]
    assert main([*words, "2x3"]) == 0
    assert (tmp_path / "a.lic").read_bytes()[15:17] == bytes([2, 3])
    assert main(["decompress", str(tmp_path / "a.lic"), str(tmp_path / "b.png"), "--codec", str(published["segpic"])]) == 0
    capsys.readouterr()
    assert main([*words, "2by3", "--force"]) == 2
    assert "--grid 2by3" in capsys.readouterr().err


def test_no_damaged_or_forged_file_does_harm(published):
    """Any damage is found; a forged file with its checksum set right may be a picture, or is one clear error."""
    bundle = load_bundle(published["segpic"])
    file = encode(bundle, picture(64, 64)).file
    rng = random.Random(0)
    for trial in range(60):
        body = bytearray(file[:-4])
        body[12 + trial if trial < 6 else rng.randrange(12, len(body))] ^= rng.randrange(1, 256)
        with pytest.raises(UserError, match="damaged or cut"):
            decode(bundle, bytes(body) + file[-4:])
        with suppress(UserError):
            decode(bundle, bytes(body) + zlib.crc32(body).to_bytes(4, "little"))


class StreamsAlone(StreamWriter):
    """Writes each stream to a payload of its own besides."""

    made: ClassVar[list["StreamsAlone"]] = []

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.made.append(self)

    @property
    def alone(self):
        writers = {}
        for name, (symbols,), (indices,), tables in self._kept:
            for place in strips(symbols):
                writers.setdefault(name, SymbolWriter()).write(symbols[place].ravel(), indices[place].ravel(), tables)
        return writers


def check_payload(num_bytes, table_bits):
    assert abs(num_bytes - table_bits / 8) <= 0.005 * table_bits / 8 + 8


@pytest.mark.slow
def test_kodak_comes_back_from_another_process(shared, recipe, tmp_path, monkeypatch):
    """At the published widths and the weights of the parity recipe, which code far more than trained ones do.

    A picture takes half a minute or more on one thread; CODEC_TEST_PICTURES=24 codes all of them.
    """
    monkeypatch.setattr("codec.files.coding.StreamWriter", StreamsAlone)
    pictures = kodak(shared / "images" / "kodak").pictures
    pictures = [*pictures[3:], *pictures[:3]][: int(os.environ.get("CODEC_TEST_PICTURES", 2))]  # an upright one and a wide one
    seconds = {kind: ([], []) for kind in STREAMS}
    rates = {kind: [] for kind in STREAMS}
    expected = {}
    for kind, streams in STREAMS.items():
        weights = recipe.weights(shared / "reference" / "state_dicts" / f"{kind}.json")
        bundle = load_bundle(import_published(kind, {k: torch.from_numpy(v) for k, v in weights.items()}, tmp_path))
        (tmp_path / kind).mkdir()
        for item in pictures:
            image = item.load()
            begun = time.perf_counter()
            encoded = encode(bundle, image)
            seconds[kind][0].append(time.perf_counter() - begun)
            (tmp_path / kind / f"{item.name}.lic").write_bytes(encoded.file)
            expected[kind, item.name] = encoded.latents, reconstruct(bundle, encoded.latents, *image.shape[1:])
            rates[kind].append(8 * len(encoded.file) / image[0].numel())
            check_payload(encoded.payload_bytes, encoded.table_bits)
            alone = StreamsAlone.made.pop().alone
            assert set(encoded.bits_by_stream) == set(alone) == streams
            for name, writer in alone.items():
                check_payload(len(writer.finish()), encoded.bits_by_stream[name])
    assert all(rate >= 1 for of_kind in rates.values() for rate in of_kind)
    decode_in_another_process(tmp_path, list(STREAMS))
    for (kind, name), (latents, decoded) in expected.items():
        y_hat, prototypes, decoded_again, took = torch.load(tmp_path / kind / f"{name}.decoded", weights_only=True)
        assert Latents(y_hat, prototypes).equal(latents) and torch.equal(decoded_again, decoded)
        seconds[kind][1].append(took)
    for kind, (encoding, decoding) in seconds.items():
        times = f"{mean(encoding):.2f} s to encode, {mean(decoding):.2f} s to decode"
        print(f"{kind}: {times}, {mean(rates[kind]):.2f} bpp (least {min(rates[kind]):.2f}), {len(encoding)} pictures")
    encoding, decoding = cheng2020_attn_seconds(pictures[-1].load())
    print(f"CompressAI's cheng2020-attn: {encoding:.2f} s to encode, {decoding:.2f} s to decode, one picture")


@torch.no_grad()
def cheng2020_attn_seconds(image):
    """What its own encoder and decoder take for a picture at its initial weights."""
    theirs = compressai.models.Cheng2020Attention(192).eval()
    theirs.update(force=True)
    x, begun = image[None].float() / 255, time.perf_counter()
    coded = theirs.compress(x)
    encoded_at = time.perf_counter()
    theirs.decompress(coded["strings"], coded["shape"])
    return encoded_at - begun, time.perf_counter() - encoded_at
