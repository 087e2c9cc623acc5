"""The precision that a training computes in."""

import torch
from rich.console import Console

from codec.types import UserError


def choose_precision(asked: str, accelerator: str) -> str:
    """`auto` as bf16-mixed where the hardware multiplies bf16, 32-true elsewhere; else what was asked.

    Raises UserError for a precision that training does not support: fp16 has no place in entropy models.
    """
    if asked not in ("auto", "32-true", "bf16-mixed"):
        raise UserError(f"precision={asked}; expected auto, 32-true or bf16-mixed; set precision")
    if accelerator != "cpu" and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if asked == "auto":
        return "bf16-mixed" if fast else "32-true"
    if asked == "bf16-mixed" and not fast:
        Console().print("[yellow]precision=bf16-mixed on hardware that does not multiply bf16: expect it to be far slower")
    return asked
