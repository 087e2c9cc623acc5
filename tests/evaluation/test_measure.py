"""Measuring: what it reports is what lies in the files, and a wrong coder fails it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import live_codec, live_levels

from codec.entropy.payload import StreamCost
from codec.evaluation import measure
from codec.evaluation.measure import evaluate
from codec.evaluation.results import Results
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, encode
from codec.metrics.quality import psnr
from codec.models.base import Latents
from codec.types import UserError
from data.testsets import TestImage, TestSet


def write_bundle(path: Path) -> Path:
    config = {"experiment_name": "small", "model": {"name": "mean_scale", "lmbda": 0.0067}, "steps": 0}
    save_bundle(path, live_codec("mean_scale"), {"config": config}, half=True)
    return path


def picture(seed: int, height: int, width: int) -> TestImage:
    def load() -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)

    return TestImage(f"deep/p{seed}" if seed else "p0", load)


PICTURES = [picture(0, 170, 161), picture(1, 40, 70), picture(2, 1, 1)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("codec") / "codec.safetensors")


@pytest.fixture(scope="module")
def measured(bundle, tmp_path_factory) -> tuple[Results, Path]:
    folder = tmp_path_factory.mktemp("files")
    return evaluate(bundle, TestSet("mine", PICTURES), folder), folder


def test_rows_are_those_of_the_files(bundle, measured):
    results, folder = measured
    codec = load_bundle(bundle)
    assert [row.name for row in results.points[0].images] == ["p0", "deep/p1", "deep/p2"]
    for row, given in zip(results.points[0].images, PICTURES, strict=True):
        original, data = given.load(), (folder / f"{row.name}.lic").read_bytes()
        assert row.file_bpp == 8 * len(data) / (row.width * row.height)
        assert row.psnr == psnr(decode(codec, data), original)
        assert (row.height, row.width) == original.shape[1:]


def test_the_four_rates_are_in_order(measured):
    results, _ = measured
    for row in results.points[0].images:
        pixels = row.width * row.height
        assert 0 < 8 * 32 / pixels >= row.file_bpp - row.payload_bpp > 0
        assert abs(row.payload_bpp - row.table_bpp) <= 0.005 * row.table_bpp + 8 * 8 / pixels
        assert row.estimated_bpp > 0 and row.encode_seconds > 0 and row.decode_seconds > 0


@pytest.mark.parametrize(
    "facts, expected",
    [
        ({}, [{"lmbda": 0.1, "level": 0}, {"lmbda": 0.1, "level": 1}]),
        ({"lmbda_by_level": [0.01, 0.2]}, [{"lmbda": 0.01, "level": 0}, {"lmbda": 0.2, "level": 1}]),
        (
            {"lmbda_by_level": [0.01, 0.2], "target_bpp_by_level": [0.14, 0.45]},
            [{"lmbda": 0.1, "target_bpp": 0.14, "level": 0}, {"lmbda": 0.1, "target_bpp": 0.45, "level": 1}],
        ),
    ],
    ids=["unknown", "lambdas", "targets"],
)
def test_a_level_has_its_own_lambda_or_target(facts, expected, tmp_path):
    """Of HiFiC's the target: the codec's own is that of one level alone."""
    config = {"model": {"lmbda": 0.1}, "target_bpp": 0.3 if "target_bpp_by_level" in facts else None}
    save_bundle(tmp_path / "b", live_levels("mean_scale", 2), {"config": config, **facts}, half=True)
    found = evaluate(tmp_path / "b", TestSet("mine", [PICTURES[1]]), tmp_path / "files")
    assert [point.setting for point in found.points] == expected


def test_what_streams_took_adds_up_to_the_rate_of_the_tables(measured):
    """z has N = 8 channels at a 64th of a side, y M = 12 at a 16th; both of the padded picture."""
    results, _ = measured
    (point,) = results.points
    bits = sum(row.table_bpp * row.width * row.height for row in point.images)
    assert sum(stream.bits for stream in point.streams.values()) == pytest.approx(bits)
    cells = sum(-(-row.width // 64) * -(-row.height // 64) for row in point.images)
    assert (point.streams["z"].symbols, point.streams["y"].symbols) == (8 * cells, 12 * 16 * cells)
    assert all(0 <= stream.escapes < stream.symbols for stream in point.streams.values())
    assert Results.from_json(results.to_json()) == results


def test_ms_ssim_of_small_pictures_is_missing_with_its_reason(measured):
    results, _ = measured
    large, *small = results.points[0].images
    assert large.ms_ssim is not None and large.ms_ssim_db is not None
    assert all(row.ms_ssim is None and row.ms_ssim_db is None for row in small)
    assert "161" in results.not_computed["ms_ssim"]


def test_the_setting_and_the_codec_are_told(bundle, measured):
    results, _ = measured
    assert results.points[0].setting == {"lmbda": 0.0067}
    assert results.name == "small mean_scale"
    assert load_bundle(bundle).fingerprint.hex() in results.description


def test_a_payload_beyond_its_tables_fails(bundle, tmp_path, monkeypatch):
    def wasteful(codec, image, level):
        encoded = encode(codec, image)
        return replace(encoded, streams={"y": StreamCost(8 * (encoded.payload_bytes / 1.02 - 9), 1, 0)})

    monkeypatch.setattr(measure, "encode", wasteful)
    with pytest.raises(UserError, match="the coder is wrong"):
        evaluate(bundle, TestSet("mine", PICTURES[:1]), tmp_path)


def test_latents_that_differ_fail(bundle, tmp_path, monkeypatch):
    def drifted(codec, image, level):
        encoded = encode(codec, image)
        return replace(encoded, latents=Latents(encoded.latents.y_hat + 2**-10))

    monkeypatch.setattr(measure, "encode", drifted)
    with pytest.raises(UserError, match="other latents"):
        evaluate(bundle, TestSet("mine", PICTURES[:1]), tmp_path)
