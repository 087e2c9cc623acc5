"""The codec that ships: small, ready, and as good as the figures beside it."""

import numpy as np
import pytest
import torch
from PIL import Image

from codec.cli import main
from codec.evaluation.results import Results
from codec.files.bundle import SHIPPED
from codec.metrics.quality import psnr
from data.images import read_image
from data.sources import photograph_paths


def test_it_is_under_four_megabytes():
    assert SHIPPED.stat().st_size < 4e6


@pytest.mark.parametrize("path", photograph_paths("test"), ids=lambda path: path.stem)
def test_a_photograph_takes_what_the_figures_say(path, tmp_path, capsys):
    assert main(["compress", str(path), str(tmp_path / "photo.lic")]) == 0
    assert "bpp" in capsys.readouterr().out
    assert main(["decompress", str(tmp_path / "photo.lic"), str(tmp_path / "photo.png")]) == 0
    decoded = torch.from_numpy(np.array(Image.open(tmp_path / "photo.png"))).permute(2, 0, 1)
    original = read_image(path)
    recorded = Results.read(SHIPPED.parent / "photographs.json").points[0].images
    row = next(row for row in recorded if row.name == path.stem)
    bpp = 8 * (tmp_path / "photo.lic").stat().st_size / (row.width * row.height)
    assert bpp == pytest.approx(row.file_bpp, rel=0.005)
    assert psnr(decoded, original) == pytest.approx(row.psnr, abs=0.02)
