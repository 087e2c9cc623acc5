"""`codec bench`: training step, coding and memory against CompressAI's own model in its own loop, in one run, in turn."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import compressai.models
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Adam

from codec.bundle import load_bundle, save_bundle
from codec.checkpoints import compressai_codec
from codec.coding import decode, encode
from codec.entropy.coder import uniform_noise
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import Codec
from codec.train import choose_precision
from data.sources import Leaves

THEIRS = {
    "factorized": compressai.models.FactorizedPrior,
    "hyperprior": compressai.models.ScaleHyperprior,
    "mean_scale": compressai.models.MeanScaleHyperprior,
}
CLIP_NORM = 1.0  # of CompressAI's example

console = Console()


def instructions() -> str:
    """What of the CPU's instructions decides the speed here."""
    bf16 = "multiplies bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "does not multiply bf16"
    return f"{torch.backends.cpu.get_cpu_capability()}, {bf16}, {torch.get_num_threads()} threads"


def _their_step(model: nn.Module, lmbda: float) -> Callable[[Tensor], None]:
    """The loop of CompressAI's examples/train.py: two Adams, fp32, its loss."""
    quantiles = [p for name, p in model.named_parameters() if name.endswith(".quantiles")]
    others = [p for name, p in model.named_parameters() if not name.endswith(".quantiles")]
    optimizer, auxiliary = Adam(others, lr=1e-4), Adam(quantiles, lr=1e-3)

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        auxiliary.zero_grad()
        output = model(x)
        num_pixels = x.size(0) * x.size(2) * x.size(3)
        bpp = sum(-torch.log2(p).sum() / num_pixels for p in output["likelihoods"].values())
        loss = lmbda * 255**2 * nn.functional.mse_loss(output["x_hat"], x) + bpp
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        aux_loss = model.aux_loss()  # type: ignore[operator]
        aux_loss.backward()
        auxiliary.step()
        loss.item(), aux_loss.item()  # which the example prints

    return step


def _our_step(model: Codec, lmbda: float, precision: str) -> Callable[[Tensor], None]:
    """What RateDistortionModule does in a step, without Lightning around it."""
    loss = RateDistortion(mse_255, lmbda)
    quantiles = [density.quantiles for _, density in model.densities()]
    of_quantiles = {id(p) for p in quantiles}
    others = [p for p in model.parameters() if id(p) not in of_quantiles]
    optimizer = Adam([{"params": others, "lr": 1e-4}, {"params": quantiles, "lr": 1e-3}], fused=True)

    def step(x: Tensor) -> None:
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            total = loss(model(x, uniform_noise), x).loss + model.auxiliary_loss()
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(others, CLIP_NORM)
        optimizer.step()

    return step


def _in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int, repeats: int) -> tuple[float, float, float]:
    """Median seconds of each, and the median of the ratio theirs / ours round by round."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for side in (ours, theirs):
        side()  # warm
    for _ in range(rounds):
        for place, side in enumerate((ours, theirs)):
            begun = time.perf_counter()
            for _ in range(repeats):
                side()
            seconds[place].append((time.perf_counter() - begun) / repeats)
    ratios = [their / our for our, their in zip(*seconds, strict=True)]
    return statistics.median(seconds[0]), statistics.median(seconds[1]), statistics.median(ratios)


def measure(cfg: DictConfig) -> dict[str, tuple[float, float, float]]:
    """(our seconds, their seconds, their seconds / ours) of training, encoding and decoding."""
    torch.manual_seed(0)
    theirs = THEIRS[cfg.model.name](cfg.model.N, cfg.model.M)
    with torch.no_grad():
        theirs.g_a[6].weight.mul_(100)  # fresh weights code nothing but zeros
    ours = compressai_codec(theirs.state_dict())
    x = torch.stack([Leaves(cfg.batch_size, cfg.crop, 0).load(i) for i in range(cfg.batch_size)]).float() / 255
    rows = {}

    theirs.update(force=True)
    theirs.eval()
    picture = Leaves(1, max(cfg.size), 1).load(0)[:, : cfg.size[0], : cfg.size[1]]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        save_bundle(Path(folder) / "b.safetensors", ours, {}, half=False, scale_rule="upper", solve=False)
        bundle = load_bundle(Path(folder) / "b.safetensors")
        x_picture = picture[None].float() / 255
        file, coded = encode(bundle, picture).file, theirs.compress(x_picture)
        rows["encode"] = _in_turn(lambda: encode(bundle, picture), lambda: theirs.compress(x_picture), cfg.rounds, 3)
        rows["decode"] = _in_turn(
            lambda: decode(bundle, file), lambda: theirs.decompress(coded["strings"], coded["shape"]), cfg.rounds, 3
        )
    theirs.train()
    ours = ours.train().to(memory_format=torch.channels_last)
    if cfg.compile:
        for transform in ours.transforms():
            transform.compile()
    our_step = _our_step(ours, cfg.model.lmbda, choose_precision(cfg.precision, "cpu"))
    their_step = _their_step(theirs, cfg.model.lmbda)
    rows["training step"] = _in_turn(lambda: our_step(x), lambda: their_step(x), cfg.rounds, cfg.steps)
    return rows


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, of conf/bench.yaml."""
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("bench", list(overrides))
    rows = measure(cfg)
    model = cfg.model
    table = Table(title=f"{model.name} N={model.N} M={model.M} against CompressAI's, {instructions()}")
    for heading in ("", "here s", "CompressAI s", "times as fast"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, (ours, theirs, ratio) in rows.items():
        table.add_row(name, f"{ours:.3f}", f"{theirs:.3f}", f"{ratio:.2f}")
    console.print(table)
    precision = choose_precision(cfg.precision, "cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"training: batch {cfg.batch_size} of {cfg.crop}^2, {precision} against fp32; coding: {cfg.size[1]}x{cfg.size[0]}")
    print(f"peak memory of both in this process: {peak:.2f} GiB")
    return 0
