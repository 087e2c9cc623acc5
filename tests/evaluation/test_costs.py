"""What a codec costs: multiplications as one counts them by hand, seconds that add up."""

import pytest
import torch
from conftest import live_codec, picture

from codec.evaluation.costs import costs_of, peak_memory
from codec.evaluation.measure import evaluate
from codec.evaluation.results import Results
from codec.files.bundle import in_floats, load_bundle, save_bundle
from codec.machine import give_back_freed_memory
from data.testsets import TestImage, TestSet

N, M = 8, 12


def test_multiplications_of_the_scale_hyperprior_are_those_of_its_layers(tmp_path, on_one_thread):
    """Kernels of 5x5 at strides of 2, and 3x3 between M and N; GDN is a 1x1 convolution. Each at its own resolution."""
    save_bundle(tmp_path / "codec.safetensors", live_codec("hyperprior", N=N, M=M), {}, half=True)
    bundle = load_bundle(tmp_path / "codec.safetensors")
    gdn = N * N / 4 + N * N / 16 + N * N / 64
    g_a = 25 * (3 * N / 4 + N * N / 16 + N * N / 64 + N * M / 256) + gdn
    h_a = 9 * M * N / 256 + 25 * N * N / 1024 + 25 * N * N / 4096
    h_s = 25 * N * N / 4096 + 25 * N * N / 1024 + 9 * N * M / 256
    g_s = 25 * (M * N / 256 + N * N / 64 + N * N / 16 + N * 3 / 4) + gdn
    costs = costs_of(in_floats(bundle))
    assert costs["kmac_per_pixel_encode"] == pytest.approx((g_a + h_a + h_s) / 1000, rel=1e-3)
    assert costs["kmac_per_pixel_decode"] == pytest.approx((h_s + g_s) / 1000, rel=1e-3)
    assert costs["parameters"] == sum(p.numel() for p in live_codec("hyperprior", N=N, M=M).parameters())


@pytest.fixture(scope="module")
def measured(live_bundles, tmp_path_factory):
    pictures = TestSet("mine", [TestImage(f"p{seed}", lambda seed=seed: picture(96, 128, seed)) for seed in range(2)])
    return {name: evaluate(live_bundles[name], pictures, tmp_path_factory.mktemp("files")) for name in ("mean_scale", "segpic")}


@pytest.mark.parametrize("name", ["mean_scale", "segpic"])
def test_seconds_go_into_transform_entropy_and_file_and_nothing_else(measured, name):
    (point,) = measured[name].points
    for row in point.images:
        for coding in ("encode", "decode"):
            parts = [getattr(row, f"{coding}_{part}_seconds") for part in ("transform", "entropy", "file")]
            assert min(parts) > 0 and sum(parts) == pytest.approx(getattr(row, f"{coding}_seconds"))
    whole = sum(row.encode_seconds for row in point.images)
    assert point.seconds_per_megapixel("encode_seconds") == pytest.approx(whole / (2 * 96 * 128 / 1e6))


def test_costs_are_in_the_results(measured):
    results = measured["mean_scale"]
    assert {"parameters", "kmac_per_pixel_encode", "kmac_per_pixel_decode"} <= results.costs.keys()
    assert results.made_by["threads"] == str(torch.get_num_threads()) and "float32" in results.made_by["precision"]
    assert Results.from_json(results.to_json()) == results


def test_a_peak_is_what_was_held_at_once():
    give_back_freed_memory()  # of tests before, which a block would lie in
    with peak_memory(torch.device("cpu")) as found:
        block = torch.ones(64 * 2**20 // 4)
        del block
    if found:  # a system that lets a process ask
        assert 60 * 2**20 < found["peak_memory_bytes"] < 200 * 2**20
