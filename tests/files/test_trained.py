"""Trained weights on Kodak: the figures that CompressAI's own evaluation gives, and every file decoded exactly."""

import pytest
import torch
from conftest import MODEL_NAMES, decode_in_another_process, live_codec

from codec.cli import main
from codec.evaluation.measure import evaluate
from codec.files.bundle import SHIPPED, load_bundle, save_bundle
from codec.files.coding import encode, reconstruct
from data.testsets import kodak


@pytest.mark.slow
def test_compressais_trained_weights_give_its_figures(shared, tmp_path):
    """0.18850 bpp and 28.2125 dB by compressai.utils.eval_model with these weights; its rate leaves out any header."""
    weights, bundle = shared / "weights" / "bmshj2018-factorized-q2.pth", tmp_path / "q2.safetensors"
    assert main(["import", "compressai", str(weights), "--out", str(bundle)]) == 0
    point = evaluate(bundle, kodak(shared / "images" / "kodak"), tmp_path / "files").points[0]
    assert point.mean("payload_bpp") == pytest.approx(0.1885, rel=0.005)
    assert point.mean("psnr") == pytest.approx(28.2125, abs=0.005)


@pytest.mark.slow
def test_the_shipped_codec_decodes_kodak_exactly(shared, tmp_path):
    """evaluate raises where a latent comes back otherwise, or a payload is larger than its tables allow."""
    points = evaluate(SHIPPED, kodak(shared / "images" / "kodak"), tmp_path / "files", levels=2).points
    for point in points:
        assert all(row.file_bpp - row.payload_bpp <= 8 * 32 / (row.width * row.height) for row in point.images)
        assert point.mean("estimated_bpp") == pytest.approx(point.mean("table_bpp"), rel=0.01)
    y = encode(load_bundle(SHIPPED), kodak(shared / "images" / "kodak").pictures[0].load()).y
    assert (y.abs() >= 0.5).float().mean() > 0.01  # else nothing is tested


@pytest.mark.slow
def test_kodak_at_rescaled_weights_comes_back_from_another_process(shared, tmp_path):
    """Latents and pictures, bit for bit, at symbols that span the tables and leave them."""
    pictures = kodak(shared / "images" / "kodak").pictures
    expected = {}
    for name in MODEL_NAMES:
        save_bundle(tmp_path / f"{name}.safetensors", live_codec(name), {}, half=False)
        bundle = load_bundle(tmp_path / f"{name}.safetensors")
        (tmp_path / name).mkdir()
        for picture in pictures:
            encoded = encode(bundle, picture.load())
            (tmp_path / name / f"{picture.name}.lic").write_bytes(encoded.file)
            height, width = picture.load().shape[1:]
            y_hat = encoded.latents.y_hat
            expected[name, picture.name] = y_hat, reconstruct(bundle, encoded.latents, height, width)
            assert float(y_hat.std()) > 4 and 8 * encoded.payload_bytes > 3 * y_hat.numel()
    decode_in_another_process(tmp_path, MODEL_NAMES)
    for (name, picture_name), (y_hat, decoded) in expected.items():
        again, _, picture_again, _ = torch.load(tmp_path / name / f"{picture_name}.decoded", weights_only=True)
        assert torch.equal(again, y_hat) and torch.equal(picture_again, decoded)
    assert len(expected) == 72
