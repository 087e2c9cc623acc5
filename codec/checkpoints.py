"""`codec import`: published checkpoints as bundles."""

import argparse
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.bundle import save_bundle
from codec.models import Codec, build_model
from codec.types import UserError

# CompressAI's spelling of density parameters before 1.2.8: _matrix0 for matrices.0.
OLD_SPELLING = re.compile(r"\b_(matrix|bias|factor)(\d)$")
PLURAL = {"matrix": "matrices", "bias": "biases", "factor": "factors"}


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint: a state dict, or a training dict that holds one."""
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}; expected a .pth or .pth.tar file; check the path")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is no checkpoint that can be read ({reason}); expected a state dict") from None
    for key in ("state_dict", "model_state_dict", "network"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no state dict; expected names and tensors, or a dict with them as state_dict")
    return content


def canonical_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under today's names: without `module.` of DataParallel, densities as CompressAI 1.2.8 spells them."""
    renamed = {}
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        renamed[OLD_SPELLING.sub(lambda found: f"{PLURAL[found[1]]}.{found[2]}", name)] = tensor
    return renamed


def compressai_codec(state: dict[str, Tensor]) -> Codec:
    """The codec whose weights a state dict of bmshj2018-factorized, bmshj2018-hyperprior or mbt2018-mean holds.

    Model and widths are read off names and shapes. Coder tables in it are left aside: they are built anew.
    Raises UserError where it is none of the three.
    """
    try:
        N, M = state["g_a.0.weight"].size(0), state["g_a.6.weight"].size(0)
        if "h_s.4.weight" not in state:
            name = "factorized"
        else:
            name = {M: "hyperprior", 2 * M: "mean_scale"}[state["h_s.4.weight"].size(0)]
    except KeyError as error:
        raise UserError(
            f"the checkpoint has no {error}; expected bmshj2018-factorized, bmshj2018-hyperprior or mbt2018-mean of CompressAI"
        ) from None
    model = build_model(name, N=N, M=M)
    own = dict(model.named_parameters())
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if wrong:
        raise UserError(f"the checkpoint does not fit {name} N={N} M={M}: {', '.join(wrong[:4])}; expected CompressAI's layout")
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(state[key])
    return model


def run(arguments: argparse.Namespace) -> int:
    """Write the bundle of a published checkpoint; quantiles, medians and the rule of its scale tables stay its own."""
    model = compressai_codec(canonical_names(_state_dict(arguments.checkpoint)))
    facts = {"imported": {"kind": arguments.kind, "file": arguments.checkpoint.name}}
    save_bundle(arguments.out, model, facts, half=False, scale_rule="upper", solve=False)
    print(f"{type(model).__name__} {model.arguments} in {arguments.out}")
    return 0
