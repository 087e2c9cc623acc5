"""A start from a narrower codec: what it has learned stays, and there is room beside it.

Chen et al. 2016 ("Net2Net") split filters. Here new ones are fresh, and nothing that was there listens to them yet: the wider
codec begins with the pictures of the narrower one, and with latents of which it makes nothing.

O outputs and I inputs of a layer with kernels of k x k.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from codec.models.base import Codec
from codec.models.hyperprior import FactorizedPrior, MeanScaleHyperprior, ScaleHyperprior
from codec.types import shown

# What the scales of new latents begin at; their deviation is that of an old one in the median, 0.3 in a trained codec. What
# fresh weights predict is near 0, at which each symbol but 0 costs tens of bits.
NEW_SCALE = 0.5


def is_wider(codec: Codec, arguments: Mapping[str, object]) -> bool:
    """Whether `codec` is of Ballé's four stages, and one of these arguments but for more filters N or latents M."""
    widths = [(codec.arguments.get(name), arguments.get(name)) for name in ("N", "M")]
    return (
        isinstance(codec, (FactorizedPrior, ScaleHyperprior))
        and all(isinstance(new, int) and isinstance(old, int) and new >= old for new, old in widths)
        and {**codec.arguments, "N": 0, "M": 0} == {**arguments, "N": 0, "M": 0}
    )


def what_to_set(codec: Codec, arguments: Mapping[str, object], same: bool) -> str:
    """What of a training's settings makes `codec` one that begins with weights of these arguments.

    same: whether they are of the same model.
    """
    count, ours = arguments.get("levels"), codec.arguments.get("levels")
    others = {key: value for key, value in arguments.items() if key != "levels"} | ({} if ours is None else {"levels": ours})
    if not same or count == ours or (others != codec.arguments and not is_wider(codec, others)):
        return "the same model"
    return f"levels.count={shown(count)}" if ours is not None else f"levels=ladder levels.count={shown(count)}"


@torch.no_grad()
def widened(codec: Codec, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `codec`, which is fresh, begins with: its parameters by name.

    weights: those of a narrower codec (is_wider), all of them; gains of levels may be as many as `codec` has.
    """
    wide = {name: parameter.detach().clone() for name, parameter in codec.named_parameters() if name in weights}
    for name, narrow in weights.items():
        wide[name][tuple(map(slice, narrow.shape))] = narrow
    for name, layer in codec.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            outputs = int(isinstance(layer, nn.ConvTranspose2d))  # on which side of a weight they are
            _set_new(*(of[f"{name}.weight"].transpose(0, outputs) for of in (wide, weights)))
    if isinstance(codec, ScaleHyperprior):
        head = f"h_s.{max(place for place, layer in enumerate(codec.h_s.children()) if isinstance(layer, nn.Conv2d))}"
        parts = 2 if isinstance(codec, MeanScaleHyperprior) else 1
        for name in (f"{head}.weight", f"{head}.bias"):
            wide[name] = _widened_head(wide[name], weights[name], parts)
        wide[f"{head}.bias"][weights[f"{head}.bias"].size(0) // parts : codec.latent_channels] = NEW_SCALE
    return wide


def _set_new(wide: Tensor, narrow: Tensor) -> None:
    """Of a weight [O, I, k, k]: old outputs hear no new input, and new outputs are as strong as an old one in the median."""
    outputs, inputs = narrow.shape[:2]
    wide[:outputs, inputs:] = 0
    if len(wide) > outputs:
        strengths = (weight.flatten(1).norm(dim=1).median() for weight in (narrow, wide[outputs:]))
        wide[outputs:] *= next(strengths) / next(strengths)


def _widened_head(wide: Tensor, narrow: Tensor, parts: int) -> Tensor:
    """What predicts y, of which the first channels are the narrow codec's; scales and means, where it has both, stay apart."""
    result = torch.zeros_like(wide).unflatten(0, (parts, -1))
    narrow = narrow.unflatten(0, (parts, -1))
    result[tuple(map(slice, narrow.shape))] = narrow
    return result.flatten(0, 1)
