"""Pictures side by side: the originals are the originals."""

from pathlib import Path

import pytest
import torch
from conftest import live_codec
from made_up_results import PICTURES, learned, smooth
from PIL import Image

from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import encode
from codec.report.pictures import WINDOW, write_pictures


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
    assert sheet.width >= 3 * WINDOW
    part = torch.frombuffer(bytearray(sheet.crop((8, 32, 8 + WINDOW, 32 + 60)).tobytes()), dtype=torch.uint8)
    part = part.reshape(60, WINDOW, 3).permute(2, 0, 1)
    original = smooth(60, 400)
    assert any(torch.equal(part, original[:, :, left : left + WINDOW]) for left in range(400 - WINDOW + 1))
