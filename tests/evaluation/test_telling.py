"""How far a measurement is, said in lines."""

from codec.evaluation import progress
from codec.evaluation.progress import told


def test_what_takes_long_says_how_far_it_is(monkeypatch, capsys):
    now = iter(float(second) for second in range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    assert list(told(range(10), "coding kodak")) == list(range(10))
    assert capsys.readouterr().out.splitlines() == [
        "coding kodak  3 of 10 pictures  0:00:37 left", "coding kodak  7 of 10 pictures  0:00:14 left",
    ]  # fmt: skip


def test_what_is_quick_says_nothing(capsys):
    assert list(told(range(10), "coding kodak")) == list(range(10))
    assert capsys.readouterr().out == ""
