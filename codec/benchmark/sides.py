"""Two implementations of one codec, ours and another, and a step of each."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import compressai.models
import torch
from torch import Tensor, nn
from torch.optim import Adam

from codec.benchmark.published_arrangement import as_published, unfolded_dps_conv
from codec.entropy.noise import uniform_noise
from codec.files.published import compressai_codec
from codec.layers.dps_conv import TAPS, dps_conv
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import Codec, build_model
from codec.training.precision import choose_precision
from data.sources import Leaves

THEIRS = {
    "factorized": compressai.models.FactorizedPrior,
    "hyperprior": compressai.models.ScaleHyperprior,
    "mean_scale": compressai.models.MeanScaleHyperprior,
}
CLIP_NORM = 1.0  # of CompressAI's example

Steps = tuple[Callable[[], object], Callable[[], object]]
"""One step of our side and one of theirs."""


@dataclass(frozen=True)
class Settings:
    """What is measured, as conf/bench.yaml has it.

    model: name, lmbda and what else build_model takes. size: height and width of the picture that is coded.
    """

    model: dict[str, Any]
    batch_size: int
    crop: int
    steps: int
    rounds: int
    size: tuple[int, int]
    precision: str
    compile: bool

    def map_shape(self, times: int = 1) -> tuple[int, int, int, int]:
        """Of SegPIC's largest feature map, or of `times` of them stacked."""
        return self.batch_size, times * self.model["N"], self.crop // 4, self.crop // 4


@dataclass(frozen=True)
class Sides:
    """Two implementations of one codec, in training.

    forward: of x [B, 3, H, W] their x_hat, their likelihoods by stream, and whatever follows. auxiliary_loss: theirs, of
    the quantiles.
    """

    ours: Codec
    theirs: nn.Module
    forward: Callable[[Tensor], tuple[Any, ...]]
    auxiliary_loss: Callable[[], Tensor]


def build_sides(settings: Settings) -> Sides:
    """The model here with CompressAI's weights beside CompressAI's, or beside the published arrangement of its own."""
    torch.manual_seed(0)
    model = settings.model
    if model["name"] in THEIRS:
        theirs = THEIRS[model["name"]](model["N"], model["M"])
        with torch.no_grad():
            theirs.g_a[6].weight.mul_(100)  # fresh weights code nothing but zeros
        ours = compressai_codec(theirs.state_dict())
        return Sides(ours, theirs, lambda x: itemgetter("x_hat", "likelihoods")(theirs(x)), theirs.aux_loss)
    ours = build_model(model["name"], **{key: value for key, value in model.items() if key not in ("name", "lmbda")})
    published = as_published(ours)
    return Sides(ours, published, lambda x: published(x, uniform_noise), published.auxiliary_loss)


def _their_step(sides: Sides, lmbda: float) -> Callable[[Tensor], None]:
    """The loop of CompressAI's examples/train.py, on which the authors' loops are built: two Adams, fp32, its loss."""
    model = sides.theirs.train()
    quantiles = [p for name, p in model.named_parameters() if name.endswith(".quantiles")]
    others = [p for name, p in model.named_parameters() if not name.endswith(".quantiles")]
    optimizer, auxiliary = Adam(others, lr=1e-4), Adam(quantiles, lr=1e-3)

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        auxiliary.zero_grad()
        x_hat, likelihoods = sides.forward(x)[:2]
        num_pixels = x.size(0) * x.size(2) * x.size(3)
        bpp = sum(-torch.log2(p).sum() / num_pixels for p in likelihoods.values())
        loss = lmbda * 255**2 * nn.functional.mse_loss(x_hat, x) + bpp
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        aux_loss = sides.auxiliary_loss()
        aux_loss.backward()
        auxiliary.step()
        loss.item(), aux_loss.item()  # which the example prints

    return step


def _our_step(sides: Sides, settings: Settings) -> Callable[[Tensor], None]:
    """What RateDistortionModule does in a step, without Lightning around it."""
    model = sides.ours.train().to(memory_format=torch.channels_last)
    if settings.compile:
        for transform in model.transforms():
            transform.compile()
    precision = choose_precision(settings.precision, "cpu")
    loss = RateDistortion(mse_255, settings.model["lmbda"])
    quantiles = [density.quantiles for _, density in model.densities()]
    of_quantiles = {id(p) for p in quantiles}
    others = [p for p in model.parameters() if id(p) not in of_quantiles]
    optimizer = Adam([{"params": others, "lr": 1e-4}, {"params": quantiles, "lr": 1e-3}], fused=True)

    def step(x: Tensor) -> None:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            total = loss(model(x, uniform_noise), x).loss + model.auxiliary_loss()
        total.backward()
        nn.utils.clip_grad_norm_(others, CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad()

    return step


def training_steps(settings: Settings) -> Steps:
    """A whole step of training on a batch of dead leaves."""
    sides = build_sides(settings)
    leaves = Leaves(settings.batch_size, settings.crop, 0)
    x = torch.stack([leaves.load(i) for i in range(settings.batch_size)]).float() / 255
    ours, theirs = _our_step(sides, settings), _their_step(sides, settings.model["lmbda"])
    return lambda: ours(x), lambda: theirs(x)


def layer_steps(settings: Settings) -> Steps:
    """DPSConv forward and backward at SegPIC's largest map, in float32: ours, and unfold and einsum."""
    x, upstream, *kernels = (torch.empty(settings.map_shape()).normal_() for _ in range(2 + TAPS))
    stacked = [x.requires_grad_(), torch.empty(settings.map_shape(TAPS)).normal_().requires_grad_()]
    # Ours as it is used: everything in channels_last.
    separate = [t.detach().contiguous(memory_format=torch.channels_last).requires_grad_() for t in (x, *kernels)]
    gradient = upstream.contiguous(memory_format=torch.channels_last)
    layer = torch.compile(dps_conv) if settings.compile else dps_conv
    return (
        lambda: torch.autograd.grad(layer(separate[0], separate[1:]), separate, gradient),
        lambda: torch.autograd.grad(unfolded_dps_conv(*stacked), stacked, upstream),
    )
