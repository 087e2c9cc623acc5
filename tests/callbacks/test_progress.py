"""What a training says on the way, and the pictures that it leaves."""

import re

import lightning
import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image
from tiny_training import NUM_VAL, fit

from codec.callbacks import progress
from codec.callbacks.progress import ShowProgress
from codec.callbacks.reconstructions import LINE, SaveReconstructions
from codec.runs.folder import RunFolder

TERMS = r"loss ([\d.]+)  [\d.]+ bpp  -?[\d.]+ dB"
LINES = re.compile(rf"step (\d+) of 6  {TERMS}  \d+ images/s  \d+:\d\d:\d\d left")
VALIDATIONS = re.compile(rf"validation at step (\d+)  {TERMS}  best loss so far ([\d.]+)")


def test_lines_where_there_is_no_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    fit(RunFolder(tmp_path), 6, extra=[ShowProgress()], accumulate=2)
    out = capsys.readouterr().out
    assert [int(step) for step, _ in LINES.findall(out)] == [2, 4, 6], out


def test_a_validation_tells_the_best_so_far(tmp_path, capsys, monkeypatch):
    """Of all of the run, whichever process saw them."""
    found = []
    for steps in (4, 12):
        fit(RunFolder(tmp_path), steps, extra=[ShowProgress()])
        found += VALIDATIONS.findall(capsys.readouterr().out)
    assert [int(step) for step, *_ in found] == [4, 8, 12]
    losses = [float(loss) for _, loss, _ in found]
    assert [float(best) for *_, best in found] == [min(losses[: end + 1]) for end in range(3)]


def test_one_line_on_a_terminal_that_ends_with_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")

    class Breaks(lightning.Callback):
        def on_before_backward(self, trainer, *_):
            if trainer.global_step == 5:
                raise KeyboardInterrupt

    shown = ShowProgress()
    with pytest.raises(SystemExit):
        fit(RunFolder(tmp_path), 6, extra=[shown, Breaks()])
    out = capsys.readouterr().out
    assert "4/6" in out and "bpp" in out and "images/s" in out
    assert shown._bar is None


def test_nothing_on_other_ranks(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", False)
    fit(RunFolder(tmp_path), 2, extra=[ShowProgress()])
    assert capsys.readouterr().out == ""


def test_reconstructions_lie_beside_the_originals(tmp_path):
    module = fit(RunFolder(tmp_path), 4, extra=[SaveReconstructions()])
    files = sorted((tmp_path / "report" / "reconstructions").iterdir())
    assert [file.name for file in files] == [f"validation_{number}.png" for number in range(NUM_VAL)]
    sheet, original = torch.from_numpy(np.array(Image.open(files[1]))).permute(2, 0, 1), picture(64, 192, 1)
    assert sheet.shape == (3, 64 + LINE, 2 * 192)
    assert torch.equal(sheet[:, :64, :192], original)
    with torch.no_grad():
        x_hat = module.codec.eval()(original[None].float() / 255).x_hat[0]
    assert torch.allclose(sheet[:, :64, 192:].float(), x_hat.clamp(0, 1) * 255, atol=0.51)
    assert (sheet[:, 64:] < 128).any()  # the caption
