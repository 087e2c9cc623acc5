"""`codec bench`: both sides of every model, in words that say against whom."""

import pytest

from codec.cli import main


@pytest.mark.parametrize("name", ["factorized", "hyperprior", "mean_scale"])
def test_both_sides_are_measured(name, capfd):
    tiny = ["model.N=8", "model.M=12", "batch_size=1", "crop=64", "steps=1", "rounds=1", "size=[64,64]"]
    assert main(["bench", f"model={name}", *tiny]) == 0
    output, errors = capfd.readouterr()
    assert all(row in output for row in ("training step", "encode", "decode", "times as fast", "times as long"))
    assert "Warning" not in errors  # of the processes that it starts


@pytest.mark.parametrize("name", ["wacnn", "segpic"])
def test_the_published_arrangement_is_known(name, capsys):
    tiny = ["model.N=24", "model.M=40", "batch_size=1", "crop=64", "steps=1", "rounds=1"]
    assert main(["bench", f"model={name}", *tiny]) == 0
    output = capsys.readouterr().out
    assert "training step" in output and "published" in output and ("DPSConv" in output) == (name == "segpic")
