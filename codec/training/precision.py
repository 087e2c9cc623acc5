"""The precision that a training computes in."""

import platform

import torch
from rich.console import Console

from codec.types import UserError


def cpu_multiplies_bf16() -> bool:
    """Whether the CPU has instructions for products of bf16.

    oneDNN says so of each with AVX-512, and where these are missing computes in float32 between two conversions: thrice as long
    as in float32 alone.
    """
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def choose_precision(asked: str, accelerator: str) -> str:
    """`auto` as bf16-mixed where the hardware multiplies bf16, 32-true elsewhere; else what was asked.

    Raises UserError for a precision that training does not support: fp16 has no place in entropy models.
    """
    if asked not in ("auto", "32-true", "bf16-mixed", "64-true"):
        raise UserError(f"precision={asked}; expected auto, 32-true, bf16-mixed or 64-true; set precision")
    if accelerator != "cpu" and torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = cpu_multiplies_bf16()
    if asked == "auto":
        return "bf16-mixed" if fast else "32-true"
    if asked == "bf16-mixed" and not fast:
        Console().print("[yellow]precision=bf16-mixed on hardware that does not multiply bf16: expect it to be far slower")
    return asked
