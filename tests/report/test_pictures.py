"""Pictures side by side: the originals are the originals."""

from pathlib import Path

import pytest
import torch
from conftest import live_codec, live_levels
from made_up_results import PICTURES, learned, smooth
from PIL import Image

from codec.evaluation.measure import evaluate
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import encode
from codec.report.pictures import GAP, LINE, WINDOW, _choose, write_pictures
from data.testsets import TestSet


def write_bundle(path: Path) -> Path:
    config = {"experiment_name": "small", "model": {"name": "mean_scale", "lmbda": 0.0067}, "steps": 0}
    save_bundle(path, live_codec("mean_scale"), {"config": config}, half=True)
    return path


@pytest.fixture(scope="module")
def coded(tmp_path_factory) -> tuple[Path, Path]:
    """A bundle, and the folder of the .lic files that it wrote."""
    folder = tmp_path_factory.mktemp("coded")
    path = write_bundle(folder / "codec.safetensors")
    bundle = load_bundle(path)
    for picture in PICTURES:
        (folder / f"{picture.name}.lic").write_bytes(encode(bundle, picture.load()).file)
    return path, folder


def test_the_sheet_shows_originals_as_they_are(coded, tmp_path):
    path, files = coded
    ours = learned("ours", None, 0.3, 28.0)  # quality rises with the place: wide worst, even best
    write_pictures(load_bundle(path), PICTURES, ours, files, tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png").convert("RGB")
    assert sheet.width >= 4 * WINDOW
    part = torch.frombuffer(bytearray(sheet.crop((GAP, LINE, GAP + WINDOW, LINE + 60)).tobytes()), dtype=torch.uint8)
    part = part.reshape(60, WINDOW, 3).permute(2, 0, 1)
    original = smooth(60, 400)
    assert any(torch.equal(part, original[:, :, left : left + WINDOW]) for left in range(400 - WINDOW + 1))


def test_a_codec_of_several_rates_is_shown_at_three_of_them(tmp_path):
    """The rows differ in rate: lowest, middle and highest of what was measured."""
    config = {"experiment_name": "small", "model": {"name": "mean_scale", "lmbda": 0.0067}, "steps": 0}
    save_bundle(tmp_path / "b", live_levels("mean_scale"), {"config": config}, half=True)
    ours = evaluate(tmp_path / "b", TestSet("some", PICTURES), tmp_path / "files")
    rates = [row.file_bpp for point, name in _choose(ours) for row in ours.points[point].images if row.name == name]
    assert len(rates) == 3 and rates == sorted(rates) and rates[0] < rates[2]
    write_pictures(load_bundle(tmp_path / "b"), PICTURES, ours, tmp_path / "files", tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").height > 3 * LINE
