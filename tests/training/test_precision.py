"""The precision of a training: what is asked for, or what the hardware multiplies."""

import platform
from pathlib import Path

import pytest

from codec.training import precision
from codec.training.precision import choose_precision, cpu_multiplies_bf16
from codec.types import UserError


@pytest.mark.parametrize("multiplies, auto", [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_what_the_hardware_multiplies(multiplies, auto, monkeypatch, capsys):
    monkeypatch.setattr(precision, "cpu_multiplies_bf16", lambda: multiplies)
    assert choose_precision("auto", "cpu") == auto and choose_precision("32-true", "cpu") == "32-true"
    assert capsys.readouterr().out == ""
    assert choose_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert ("does not multiply bf16" in capsys.readouterr().out) == (not multiplies)


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="reads Linux's flags of an x86 CPU")
def test_hardware_that_only_emulates_bf16_does_not_multiply_it():
    flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    assert cpu_multiplies_bf16() == bool(flags & {"avx512_bf16", "amx_bf16", "amx_tile"})


def test_fp16_is_refused():
    with pytest.raises(UserError, match="precision=16-mixed; expected auto, 32-true, bf16-mixed or 64-true"):
        choose_precision("16-mixed", "cpu")
