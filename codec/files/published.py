"""Codecs from published checkpoints: CompressAI's, STF's WACNN, SegPIC; names and shapes of their state dicts."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec.models import Codec, build_model, model_name
from codec.types import UserError

# CompressAI's spelling of density parameters before 1.2.8: _matrix0 for matrices.0.
OLD_SPELLING = re.compile(r"\b_(matrix|bias|factor)(\d)$")
PLURAL = {"matrix": "matrices", "bias": "biases", "factor": "factors"}

# What stands in the names of STF's WACNN and of SegPIC, and what it is called here.
WACNN_NAMES = (
    (r"\.attn\.relative_position_bias_table$", ".bias_table"),
    (r"\.attn\.", "."),
    (r"^cc_mean_transforms\.", "context.means."),
    (r"^cc_scale_transforms\.", "context.scales."),
    (r"^lrp_transforms\.", "context.residuals."),
)
SEGPIC_NAMES = (
    *WACNN_NAMES,
    # The layers of basic_E and basic_D are registered a second time in the transforms that use them.
    (r"^basic_E\.([01])\.", r"g_a1.\1."), (r"^basic_E\.2\.", "g_a2.0."), (r"^basic_E\.3\.", "g_a2.1."),
    (r"^basic_D\.0\.", "g_s0.1."), (r"^basic_D\.1\.", "g_s0.2."), (r"^basic_D\.2\.", "g_s1.1."), (r"^basic_D\.3\.", "g_s1.2."),
    (r"^(g_a[12]\.\d)\.conv_groups\.", r"\1."),
    (r"^(g_a[12]\.\d)\.scales_bias\.", r"\1.2.scale_and_shift."),
    (r"^(g_s[01]\.\d)\.conv_groups\.0\.", r"\1.1."),
    (r"^(g_s[01]\.\d)\.conv_groups\.1\.", r"\1.2."),
    (r"^(g_s[01]\.\d)\.scales_bias\.", r"\1.0.scale_and_shift."),
    (r"^g_ab\.", "p1.g_a."), (r"^g_sb\.", "p1.g_s."), (r"^g_ab2\.", "p2.g_a."), (r"^g_sb2\.", "p2.g_s."),
    (r"^entropy_bottleneck_b\.", "p1.entropy_bottleneck."), (r"^entropy_bottleneck_b2\.", "p2.entropy_bottleneck."),
    (r"^dyn_encoder\.", "rat_a."), (r"^dyn_decoder\.", "rat_s."), (r"^dyn_enc_hyper\.", "rat_h_a."),
    (r"^dyn_dec_hyper_means\.", "rat_mean_s."), (r"^dyn_dec_hyper_scales\.", "rat_scale_s."),
    (r"^(rat_\w+)\.conv\.", r"\1.ctl."), (r"^(rat_\w+)\.conv_out\.", r"\1.out."),
    (r"^(rat_\w+)\.k_sp_gen\.0\.", r"\1.dkg.mix."), (r"^(rat_\w+)\.k_sp_gen\.2\.", r"\1.dkg.spread."),
    (r"^(rat_\w+)\.k_sp_gen\.4\.", r"\1.dkg.taps."),
    (r"^(rat_\w+)\.k_ch_gen\.1\.", r"\1.cag.gate.0."), (r"^(rat_\w+)\.k_ch_gen\.3\.", r"\1.cag.gate.2."),
)  # fmt: skip


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint: a state dict, or a training dict that holds one.

    Raises UserError for a file that is missing, or holds something else.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}; expected a .pth or .pth.tar file; check the path")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]  # other files end an unpickler in many ways
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
    _fill(model, state, "CompressAI")
    return model


def _fill(model: Codec, state: dict[str, Tensor], whose: str) -> None:
    """Set the parameters of `model` from a state dict with its names.

    Raises UserError where one is missing or of another shape.
    """
    own = dict(model.named_parameters())
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if wrong:
        raise UserError(
            f"the checkpoint does not fit {model_name(model)} {model.arguments}: {', '.join(wrong[:4])}; "
            f"expected {whose}'s layout"
        )
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(state[key])


def _renamed(state: dict[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """The tensors under our names; one that has several there is one here.

    Raises UserError where such aliases differ: then the checkpoint is not what its layout says.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        if name in renamed and not renamed[name].equal(tensor):
            raise UserError(f"the checkpoint has two values for {name}; expected one under both of its names; get it again")
        renamed[name] = tensor
    return renamed


def wacnn_codec(state: dict[str, Tensor]) -> Codec:
    """The codec whose weights a state dict of STF's WACNN holds; widths are read off its shapes."""
    return _published_codec("wacnn", _renamed(state, WACNN_NAMES), "g_a.0.weight", "Zou 2022")


def segpic_codec(state: dict[str, Tensor]) -> Codec:
    """The codec whose weights a state dict of SegPIC holds; widths are read off its shapes."""
    return _published_codec("segpic", _renamed(state, SEGPIC_NAMES), "g_a1.0.0.weight", "SegPIC")


def _published_codec(name: str, state: dict[str, Tensor], first: str, whose: str) -> Codec:
    if first not in state or "h_a.0.weight" not in state:
        raise UserError(f"the checkpoint holds no {name}; expected {whose}'s layout; say of which kind it is")
    model = build_model(name, N=state[first].size(0), M=state["h_a.0.weight"].size(1))
    _fill(model, state, whose)
    return model


KINDS = {"compressai": compressai_codec, "wacnn": wacnn_codec, "segpic": segpic_codec}


def load_published(kind: str, checkpoint: Path) -> Codec:
    """The codec that a published checkpoint holds; kind: one of KINDS, whose layout it has.

    Raises UserError where the file is missing or of another layout.
    """
    return KINDS[kind](canonical_names(read_state_dict(checkpoint)))
