"""`codec bench`: both sides of every model, in words that say against whom."""

import pytest

from codec.cli import main
from codec.commands import bench


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


@pytest.mark.parametrize(
    "word, expected",
    [("size=512", "size=512; expected height and width"), ("size=abc", "size='abc'; expected height and width"),
     ("size=[64]", "expected height and width"), ("size=[64,x]", "size of 'x'; expected a multiple of 64"),
     ("size=[100,64]", "size of 100; expected a multiple of 64"), ("crop=100", "crop of 100; expected a multiple of 64"),
     ("steps=0", "steps=0; expected a whole number from 1"), ("rounds=1.5", "rounds=1.5; expected a whole number"),
     ("batch_size=x", "batch_size='x'; expected"), ("model.N=abc", "model.N='abc'; expected a whole number from 1"),
     ("model.lmbda=abc", "model.lmbda='abc'; expected a number above 0"), ("compile=abc", "compile='abc'; expected true or")],
)  # fmt: skip
def test_what_cannot_be_measured_is_one_line_at_once(word, expected, capsys, monkeypatch):
    monkeypatch.setattr(bench, "measure", None)
    assert main(["bench", word]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
