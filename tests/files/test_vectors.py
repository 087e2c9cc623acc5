"""Files that were written once decode for ever, to the same latents, here and by the second decoder."""

import json
import lzma

import numpy_decoder
import pytest
from conftest import ALL_NAMES, one_thread
from make_vectors import CODECS, VECTORS, latents_crc, make

from codec.files.bundle import load_bundle
from codec.files.coding import decode, decode_latents
from codec.files.container import read_container

LATENTS = json.loads((VECTORS / "latents.json").read_text())


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize("name", CODECS)
def test_they_decode_to_the_latents_that_were_written(name, tmp_path):
    content = lzma.decompress((VECTORS / f"{name}.safetensors.xz").read_bytes())
    path = tmp_path / "codec.safetensors"
    path.write_bytes(content)
    bundle, second = load_bundle(path), numpy_decoder.read_bundle(content)
    assert second.check == numpy_decoder.check(second)
    files = sorted(VECTORS.glob(f"{name}.*.lic"))
    assert len(files) == 2
    for file in files:
        data = file.read_bytes()
        latents, height, width = decode_latents(bundle, data)
        assert latents_crc(latents.y_hat) == LATENTS[file.name]
        assert numpy_decoder.decode(second, data).tobytes() == latents.y_hat[0].numpy().tobytes()
        assert decode(bundle, data).shape == (3, height, width)


def test_they_hold_what_files_can_hold(monkeypatch):
    """Every model, sides that are no multiples, strips, maps, a grid that is not the codec's own, escapes of every size."""
    read = {name: read_container((VECTORS / name).read_bytes()) for name in LATENTS}
    assert {name.split(".")[0] for name in read} == CODECS.keys() >= set(ALL_NAMES)
    assert {file.level for file in read.values()} == {0, 1, 2}
    assert {(file.level_map is None, file.grid is None) for file in read.values()} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert {file.grid for file in read.values()} == {None, (3, 3), (2, 5)}
    assert all(file.height % 16 and file.width % 16 for file in read.values())
    lengths = set()

    class Noting(numpy_decoder.Reader):
        def _distances(self, count):
            distances = super()._distances(count)
            lengths.update(distance.bit_length() for distance in distances)
            return distances

    monkeypatch.setattr(numpy_decoder, "Reader", Noting)
    for name in ("factorized", "hyperprior", "mean_scale"):
        second = numpy_decoder.read_bundle(lzma.decompress((VECTORS / f"{name}.safetensors.xz").read_bytes()))
        for number in range(2):
            numpy_decoder.decode(second, (VECTORS / f"{name}.{number}.lic").read_bytes())
    assert len(lengths) > 20 and lengths >= {0, 16, 17, 32}  # where a distance takes one part more


def test_others_can_be_made(tmp_path):
    """By the functions that made them, which are documented by what they do."""
    assert len(make("hyperprior", tmp_path)) == 2
