"""A start from data: the four-stage transforms begin as a linear transform codec.

The first thousands of steps from random weights only teach the network to be the identity. Here each stage of g_a
takes the principal components of the 2x2 patches of the stage before, and g_s undoes them. No layer changes.

N filters, K components kept, C input channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.entropy.density import FactorizedDensity
from codec.layers.gdn import GDN
from codec.models.base import Codec
from codec.models.hyperprior import FactorizedPrior, ScaleHyperprior

# Filters without a component start small, so that they neither disturb the transform nor stay dead.
SPARE_GAIN = 0.05
MIN_WIDTH = 0.3  # quantisation steps: narrower densities learn to widen slowly
TAPS = slice(2, 4)  # of a 5x5 kernel with stride 2 and padding 2: the inputs 2i and 2i + 1


def quantisation_step(lmbda: float) -> float:
    """The step, in orthonormal units of pictures in [0, 1], at which uniform quantisation has the slope of lmbda.

    At high rate D = step^2 / 12 and dR/d(step) = -1 / (step ln 2), so lmbda * 255^2 * MSE + bits is stationary at
    step^2 = 18 / (lmbda ln 2) / 255^2: per component of an RGB picture, whose MSE is a mean over three values a pixel.
    """
    return math.sqrt(18 / (lmbda * math.log(2))) / 255


def _principal_components(patches: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Orthonormal rows [K, D] of the strongest components of patches [n, D] without mean, and their deviations [K]."""
    covariance = patches.T.double() @ patches.double() / len(patches)
    values, vectors = torch.linalg.eigh(covariance)
    keep = min(keep, len(values))
    basis = vectors.flip(1)[:, :keep].T
    # An eigenvector's sign is the solver's whim: fix it, so that two machines start alike.
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    return (basis * largest.sign()).float(), values.flip(0)[:keep].clamp(min=1e-12).sqrt().float()


def can_start_as_transform_codec(codec: Codec) -> bool:
    """Whether the transforms are Ballé's four stages."""
    return isinstance(codec, (FactorizedPrior, ScaleHyperprior))


@torch.no_grad()
def start_as_transform_codec(codec: Codec, crops: Tensor, lmbda: float) -> None:
    """Set the weights of `codec` in place from crops [n, 3, H, W] in [0, 1], sides multiples of 16.

    lmbda: weight of 255^2 MSE against bits per pixel, which fixes the quantisation step.
    The codec is one of can_start_as_transform_codec.
    """
    assert can_start_as_transform_codec(codec)
    stages = [layer for layer in codec.g_a.children() if isinstance(layer, nn.Conv2d)]
    mirrors = [layer for layer in codec.g_s.children() if isinstance(layer, nn.ConvTranspose2d)][::-1]
    norms = [layer for layer in codec.g_a.children() if isinstance(layer, GDN)]
    assert len(stages) == len(mirrors) == len(norms) + 1 == 4
    x, gain, used = crops, 1.0, 3
    for stage, (analysis, synthesis) in enumerate(zip(stages, mirrors, strict=True)):
        mean = x.mean(dim=(0, 2, 3))
        patches = F.unfold(x - mean[:, None, None], 2, stride=2).transpose(1, 2).reshape(-1, 4 * used)
        basis, deviations = _principal_components(patches, keep=analysis.out_channels)
        last = stage == len(stages) - 1
        scale = 1 / (quantisation_step(lmbda) * gain) if last else float(1 / deviations[0])
        _set_stage(analysis, synthesis, basis, mean, scale)
        gain, used = gain * scale, len(basis)
        x = analysis(F.pad(x, (0, 0, 0, 0, 0, analysis.in_channels - x.size(1))))
        if not last:
            x = norms[stage](x)
        x = x[:, :used]
    _start_entropy_model(codec, x)


def _set_stage(analysis: nn.Conv2d, synthesis: nn.ConvTranspose2d, basis: Tensor, mean: Tensor, scale: float) -> None:
    """Put a 2x2 patch transform (basis [K, 4C], mean [C]) and its inverse into a pair of 5x5 layers."""
    keep, inputs = len(basis), len(mean)
    kernel = basis.reshape(keep, inputs, 2, 2)
    assert analysis.bias is not None and synthesis.bias is not None
    analysis.weight.mul_(SPARE_GAIN)
    analysis.weight[:keep] = 0
    analysis.weight[:keep, :inputs, TAPS, TAPS] = scale * kernel
    analysis.bias.zero_()
    analysis.bias[:keep] = -scale * torch.einsum("kcij,c->k", kernel, mean)
    synthesis.weight.mul_(SPARE_GAIN)
    synthesis.weight[keep:] = 0  # the decoder does not listen to filters without a component yet
    synthesis.weight[:keep, :inputs] = 0
    synthesis.weight[:keep, :inputs, TAPS, TAPS] = kernel / scale
    synthesis.bias.zero_()
    synthesis.bias[:inputs] = mean


def _start_entropy_model(codec: Codec, y: Tensor) -> None:
    """Let the entropy model of y begin at the deviations of the latents y [n, K, h, w] of the first K channels.

    The density of side information stays as wide as it is made. Fitted to z it would put a price on z before h_s can use
    it: z then shrinks under the noise of training, scales are guessed without it, and after 19,500 steps half the bits
    went into symbols far beyond their predicted scale.
    """
    deviations = y.std(dim=(0, 2, 3))
    if not isinstance(codec, ScaleHyperprior):
        for _, density in codec.densities():
            _set_width(density, deviations)
        return
    head = [layer for layer in codec.h_s.children() if isinstance(layer, nn.Conv2d)][-1]
    assert head.bias is not None
    head.weight.mul_(SPARE_GAIN)  # what a fresh h_s makes of z would only spoil the scales
    head.bias.zero_()
    # Scales come first; the means that follow in the mean-scale model start at zero.
    head.bias[: len(deviations)] = deviations


def _set_width(density: FactorizedDensity, deviations: Tensor) -> None:
    """Centre each density at zero with the deviation given for its channel; those without one get a single step."""
    width = torch.ones(density.channels)
    width[: len(deviations)] = deviations.clamp(min=MIN_WIDTH)
    # Fresh, it is nearly a logistic density of scale init_scale, displaced by its random biases. softplus(H) is the
    # slope of the first layer: dividing it stretches the whole.
    fresh = density.init_scale * math.pi / math.sqrt(3)
    slope = F.softplus(density.matrices[0]) * (fresh / width)[:, None, None]
    density.matrices[0].copy_(torch.log(torch.expm1(slope)))
    density.solve_quantiles()
    density.biases[0].add_(slope * density.medians()[:, None, None])
    density.quantiles.sub_(density.medians()[:, None, None].clone())
