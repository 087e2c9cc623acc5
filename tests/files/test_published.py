"""Published WACNN and SegPIC checkpoints as codecs: from their file to pictures in files and back."""

import os
import random
import time
import zlib
from contextlib import suppress
from statistics import mean
from typing import ClassVar

import compressai.models
import plain
import pytest
import torch
from conftest import decode_in_another_process, import_published, live_slices, one_thread, picture
from PIL import Image

from codec.cli import main
from codec.entropy.coder import StreamWriter
from codec.entropy.stream import SymbolWriter
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, decode_latents, encode, reconstruct
from codec.files.published import KINDS
from codec.layers.regions import Grid
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
        self.alone = {}
        self.made.append(self)

    def _write(self, name, values, indices, tables):
        symbols = super()._write(name, values, indices, tables)
        for place, indices_there in self._strips(indices):
            self.alone.setdefault(name, SymbolWriter()).write(symbols[place].ravel(), indices_there, tables)
        return symbols


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
        y_hat, prototypes, decoded_again, took = torch.load(tmp_path / kind / f"{name}.decoded")
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
