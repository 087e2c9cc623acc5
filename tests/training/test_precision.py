"""The precision of a training: what is asked for, or what the hardware multiplies."""

import pytest
import torch

from codec.training.precision import choose_precision
from codec.types import UserError


@pytest.mark.parametrize("multiplies, auto", [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_is_what_the_hardware_multiplies(multiplies, auto, monkeypatch, capsys):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: multiplies)
    assert choose_precision("auto", "cpu") == auto and choose_precision("32-true", "cpu") == "32-true"
    assert capsys.readouterr().out == ""
    assert choose_precision("bf16-mixed", "cpu") == "bf16-mixed"
    assert ("does not multiply bf16" in capsys.readouterr().out) == (not multiplies)


def test_fp16_is_refused():
    with pytest.raises(UserError, match="precision=16-mixed; expected auto, 32-true or bf16-mixed"):
        choose_precision("16-mixed", "cpu")
