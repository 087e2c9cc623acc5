"""Codecs from published checkpoints: CompressAI's, STF's WACNN, SegPIC; names and shapes of their state dicts."""

import re
from pathlib import Path

import torch
from torch import Tensor

from codec.models import Codec, build_model, model_name
from codec.models.unfilled import Unfilled
from codec.saved_tensors import num_stored, read_state_dict
from codec.types import UserError, shown

# Density parameters as CompressAI spelled them and still reads them: _matrix0, before that _matrices.0; now matrices.0.
OLD_SPELLING = re.compile(r"\b_(?:(matrix|bias|factor)|(matrices|biases|factors)\.)(\d+)$")
PLURAL = {"matrix": "matrices", "bias": "biases", "factor": "factors"}
# What wrappers put before or into names: DataParallel, torch.compile, and modules or scripts that hold the network.
WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod|model|net)\.)+|(?<=\.)(?:module|_orig_mod)\.")
# What networks of these kinds hold besides weights, and have anew from them: tables of coders, bounds, windows' indices.
MADE_ANEW = re.compile(
    r"\.(?:_offset|_quantized_cdf|_cdf_length|scale_table|scale_bound|target|bound|pedestal|relative_position_index|attn_mask)$"
)
MOST_NAMED = 12  # of the names in a message

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


def canonical_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under today's names: without those of wrappers, densities as CompressAI 1.2.8 spells them.

    Raises UserError where two would be one, as those of two networks in a checkpoint.
    """
    renamed: dict[str, Tensor] = {}
    before: dict[str, str] = {}
    for name, tensor in state.items():
        own = OLD_SPELLING.sub(lambda found: f"{found[2] or PLURAL[found[1]]}.{found[3]}", WRAPPERS.sub("", name))
        if own in renamed:
            raise UserError(
                f"the checkpoint holds {shown(before[own])} and {shown(name)}, both of them {shown(own)}; expected one "
                "network; save the one that is meant alone"
            )
        renamed[own], before[own] = tensor, name
    return renamed


def compressai_codec(state: dict[str, Tensor]) -> Codec:
    """The codec whose weights a state dict of bmshj2018-factorized, bmshj2018-hyperprior or mbt2018-mean holds.

    Model and widths are read off names and shapes. Coder tables in it are left aside: they are built anew.
    Raises UserError where it is none of the three.
    """
    expected = "bmshj2018-factorized, bmshj2018-hyperprior or mbt2018-mean of CompressAI"
    N, M = _width(state, "g_a.0.weight", 0, expected), _width(state, "g_a.6.weight", 0, expected)
    name = "factorized"
    if "h_s.4.weight" in state:
        name = "mean_scale" if _width(state, "h_s.4.weight", 0, expected) == 2 * M else "hyperprior"
    return _filled(name, N, M, state, "CompressAI")


def _width(state: dict[str, Tensor], name: str, dimension: int, expected: str) -> int:
    """A side of the tensor of that name; UserError where there is none."""
    if name not in state or state[name].dim() <= dimension:
        raise UserError(
            f"the checkpoint has no {name} with {dimension + 1} sides; expected {expected}; say of which kind it is"
        )
    return state[name].size(dimension)


def _filled(name: str, N: int, M: int, state: dict[str, Tensor], whose: str) -> Codec:
    """The codec of that name and those widths, its parameters set from a state dict with their names.

    Raises UserError where one is missing, of another shape, or not finite, or anything is left over; before more memory is
    taken than they have.
    """
    with Unfilled(num_stored(state.values()), len(state)):
        model = build_model(name, N=N, M=M)
    own = dict(model.named_parameters())
    wrong = [key for key in own if key not in state or state[key].shape != own[key].shape or not state[key].is_floating_point()]
    if wrong:
        raise UserError(
            f"the checkpoint does not fit {model_name(model)} {model.arguments}: {', '.join(wrong[:4])}; "
            f"expected {whose}'s layout"
        )
    left = [key for key in state if key not in own and not MADE_ANEW.search(key)]
    if left:
        named = ", ".join(map(shown, left[:MOST_NAMED])) + (", ..." if len(left) > MOST_NAMED else "")
        raise UserError(
            f"the checkpoint holds {len(left)} tensors that {model_name(model)} {model.arguments} has no place for: {named}; "
            f"expected {whose}'s layout and no more, since without them it is another model; take a checkpoint of one of "
            "these kinds, or save its own weights alone"
        )
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(state[key])
            if not torch.isfinite(parameter).all():
                raise UserError(f"the checkpoint holds NaN or infinity in {key}; expected finite weights; take another one")
    return model


def _renamed(state: dict[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """The tensors under our names; one that has several there is one here.

    Raises UserError where such aliases differ: then the checkpoint is not what its layout says.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        if name in renamed and not renamed[name].equal(tensor):
            raise UserError(
                f"the checkpoint has two values for {shown(name)}; expected one under both of its names; get it again"
            )
        renamed[name] = tensor
    return renamed


def wacnn_codec(state: dict[str, Tensor]) -> Codec:
    """The codec whose weights a state dict of STF's WACNN holds; widths are read off its shapes."""
    return _published_codec("wacnn", _renamed(state, WACNN_NAMES), "g_a.0.weight", "Zou 2022")


def segpic_codec(state: dict[str, Tensor]) -> Codec:
    """The codec whose weights a state dict of SegPIC holds; widths are read off its shapes."""
    return _published_codec("segpic", _renamed(state, SEGPIC_NAMES), "g_a1.0.0.weight", "SegPIC")


def _published_codec(name: str, state: dict[str, Tensor], first: str, whose: str) -> Codec:
    N, M = _width(state, first, 0, f"{whose}'s layout"), _width(state, "h_a.0.weight", 1, f"{whose}'s layout")
    return _filled(name, N, M, state, whose)


KINDS = {"compressai": compressai_codec, "wacnn": wacnn_codec, "segpic": segpic_codec}


def load_published(kind: str, checkpoint: Path) -> Codec:
    """The codec that a published checkpoint holds; kind: one of KINDS, whose layout it has.

    Raises UserError where the file is missing or of another layout.
    """
    return KINDS[kind](canonical_names(read_state_dict(checkpoint, "a .pth or .pth.tar file with a state dict")))
