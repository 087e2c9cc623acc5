"""A second decoder, of NumPy and integers, takes the same latents out of the same files, bit for bit."""

import ast
import math
import re
import sys
from pathlib import Path

import constriction
import numpy as np
import numpy_decoder
import numpy_networks
import pytest
import torch
from conftest import MODEL_NAMES, live_levels, live_model, one_thread, picture

from codec.entropy import stream
from codec.entropy.payload import STRIP
from codec.entropy.tables import Tables
from codec.files import bundle
from codec.files.bundle import SHIPPED, load_bundle, save_bundle
from codec.files.coding import decode_latents, encode
from codec.files.container import MAGIC, VERSIONS
from codec.files.sealed import FORMAT
from data.testsets import kodak

SIZES = [(1, 1), (70, 301), (530, 67)]  # the last has strips of rows: 34 of y, 9 of z
SCALE = (2**64 - 1) >> 24  # of the coder's first symbol


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


def equal(y_hat, theirs):
    return y_hat.dtype == np.float32 and y_hat.tobytes() == theirs[0].numpy().tobytes()


@pytest.mark.parametrize("name", [*MODEL_NAMES, "hific"])  # the slower ones: test_vectors.py
def test_latents_are_equal_bit_for_bit(name, tmp_path):
    path = tmp_path / "codec.safetensors"
    save_bundle(path, live_model(name), {}, half=True)
    ours, second = load_bundle(path), numpy_decoder.read_bundle(path.read_bytes())
    assert numpy_decoder.check(second) == second.check == ours.header["check"]
    for seed, size in enumerate(SIZES):
        file = encode(ours, picture(*size, seed)).file
        assert equal(numpy_decoder.decode(second, file), decode_latents(ours, file)[0].y_hat)


@pytest.mark.parametrize("name", ["factorized", "mean_scale", "wacnn"])  # a density, means, slices
def test_latents_of_levels_are_equal_bit_for_bit(name, tmp_path):
    """Of one for all places, and of a map."""
    path = tmp_path / "codec.safetensors"
    save_bundle(path, live_levels(name), {}, half=True)
    ours, second = load_bundle(path), numpy_decoder.read_bundle(path.read_bytes())
    assert numpy_decoder.check(second) == second.check
    for level in (0, 3, 4):
        file = encode(ours, picture(30, 40, level), level=level).file
        assert equal(numpy_decoder.decode(second, file), decode_latents(ours, file)[0].y_hat)
    offsets = torch.arange(math.prod(ours.model.latent_size(30, 40))).view(ours.model.latent_size(30, 40)) % 4
    file = encode(ours, picture(30, 40), level=1, offsets=offsets).file
    assert equal(numpy_decoder.decode(second, file), decode_latents(ours, file)[0].y_hat)


@pytest.mark.slow
def test_latents_of_the_shipped_codec_are_equal_on_photographs(shared):
    ours, second = load_bundle(SHIPPED), numpy_decoder.read_bundle(SHIPPED.read_bytes())
    for item in kodak(shared / "images" / "kodak").pictures[:2]:
        encoded = encode(ours, item.load())
        assert equal(numpy_decoder.decode(second, encoded.file), encoded.latents.y_hat)


def intervals(model, entries):
    """Where constriction's coder puts each entry of a model, in units of 2^-24, seen in its state after that entry alone."""
    for entry in range(entries):
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(entry, model)
        _, (lower, size) = encoder.pos()
        assert lower % SCALE == size % SCALE == 0
        yield lower // SCALE, (lower + size) // SCALE


def same_intervals(bounds, model):
    return list(zip(bounds, bounds[1:], strict=False)) == list(intervals(model, len(bounds) - 1))


def test_the_coders_intervals_are_the_formulas_integers():
    """Of all tables that ship, of some that are long or lopsided, and of the lengths and bits of escapes."""
    second, ours = numpy_decoder.read_bundle(SHIPPED.read_bytes()), load_bundle(SHIPPED).tables
    for name, tables in ours.items():
        for index, table in enumerate(second.tables[name]):
            assert same_intervals(table.bounds, stream._models_of(tables).model(index)), (name, index)
    rng = np.random.default_rng(0)
    for entries, evenness in [(2, 0.1), (3, 1), (999, 0.01), (5000, 1), (2**14, 0.1)]:
        counts = 1 + rng.multinomial(2**16 - entries, rng.dirichlet(np.full(entries, evenness)))
        tables = Tables(counts, np.array([entries]), np.array([0]))
        assert same_intervals(numpy_decoder.bounds_of(counts.tolist()), stream._models_of(tables).model(0))
    assert same_intervals(numpy_decoder.LENGTH_BOUNDS, stream.LENGTHS)
    for bits in range(1, 11):
        bounds = range(0, 2**24 + 1, 2 ** (24 - bits))
        assert same_intervals(bounds, constriction.stream.model.Uniform(2**bits))


def test_the_numbers_on_paper_are_those_of_the_code():
    text = Path(bundle.__file__).with_name("FORMAT.md").read_text()
    counts = re.findall(r"^    ([\d ]+)$", text, re.MULTILINE)
    assert [int(count) for count in " ".join(counts).split()] == stream.LENGTH_COUNTS.tolist()
    assert f"`format`, which is {FORMAT};" in text and f"strips of {STRIP} rows" in text
    assert all(f"`{(MAGIC + version).decode()}`" in text for version in VERSIONS)


def test_it_shares_no_code():
    for module in (numpy_decoder, numpy_networks):
        nodes = list(ast.walk(ast.parse(Path(module.__file__).read_text())))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names | {"numpy", "numpy_networks"}
