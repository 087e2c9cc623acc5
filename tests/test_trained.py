"""Trained weights on Kodak: the figures that CompressAI's own evaluation gives, and every file decoded exactly."""

import pytest

from codec.bundle import SHIPPED
from codec.cli import main
from codec.evaluate import evaluate
from data.testsets import load_test_set


@pytest.mark.slow
def test_compressais_trained_weights_give_its_figures(shared, tmp_path):
    """0.18850 bpp and 28.2125 dB by compressai.utils.eval_model with these weights; its rate leaves out any header."""
    weights, bundle = shared / "weights" / "bmshj2018-factorized-q2.pth", tmp_path / "q2.safetensors"
    assert main(["import", "compressai", str(weights), "--out", str(bundle)]) == 0
    point = evaluate(bundle, load_test_set("kodak", shared / "images"), "kodak", tmp_path / "files").points[0]
    assert point.mean("payload_bpp") == pytest.approx(0.1885, rel=0.005)
    assert point.mean("psnr") == pytest.approx(28.2125, abs=0.005)


@pytest.mark.slow
def test_the_shipped_codec_decodes_kodak_exactly(shared, tmp_path):
    """evaluate raises where a latent comes back otherwise, or a payload is larger than its tables allow."""
    point = evaluate(SHIPPED, load_test_set("kodak", shared / "images"), "kodak", tmp_path / "files").points[0]
    assert all(row.file_bpp - row.payload_bpp <= 8 * 32 / (row.width * row.height) for row in point.images)
    assert point.mean("estimated_bpp") == pytest.approx(point.mean("table_bpp"), rel=0.01)
