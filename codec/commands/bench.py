"""`codec bench`: training step, coding and memory against another implementation in its own loop, in one run, in turn.

For Ballé's family that is CompressAI; for WACNN and SegPIC, of which it has none, the same network computed as its authors do.
"""

import math
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import compressai.models
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.optim import Adam

from codec.benchmark.published_arrangement import as_published, unfolded_dps_conv
from codec.commands.train import choose_precision
from codec.entropy.coder import uniform_noise
from codec.files.bundle import load_bundle, save_bundle
from codec.files.coding import decode, encode
from codec.files.published import compressai_codec
from codec.layers.dps_conv import TAPS, dps_conv
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import Codec, build_model
from codec.training.memory import keep_freed_memory
from data.sources import Leaves

THEIRS = {
    "factorized": compressai.models.FactorizedPrior,
    "hyperprior": compressai.models.ScaleHyperprior,
    "mean_scale": compressai.models.MeanScaleHyperprior,
}
CLIP_NORM = 1.0  # of CompressAI's example
STEP, LAYER = "training step", "DPSConv"
OURS = 0  # of Steps
CODINGS = 3  # of a picture in a round

console = Console()


def instructions() -> str:
    """What of the CPU's instructions decides the speed here."""
    bf16 = "multiplies bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "does not multiply bf16"
    return f"{torch.backends.cpu.get_cpu_capability()}, {bf16}, {torch.get_num_threads()} threads"


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


def _sides(cfg: DictConfig) -> Sides:
    torch.manual_seed(0)
    model = cfg.model
    if model.name in THEIRS:
        theirs = THEIRS[model.name](model.N, model.M)
        with torch.no_grad():
            theirs.g_a[6].weight.mul_(100)  # fresh weights code nothing but zeros
        ours = compressai_codec(theirs.state_dict())
        return Sides(ours, theirs, lambda x: itemgetter("x_hat", "likelihoods")(theirs(x)), theirs.aux_loss)
    ours = build_model(model.name, **{key: value for key, value in model.items() if key not in ("name", "lmbda")})
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


def _our_step(sides: Sides, cfg: DictConfig) -> Callable[[Tensor], None]:
    """What RateDistortionModule does in a step, without Lightning around it."""
    model = sides.ours.train().to(memory_format=torch.channels_last)
    if cfg.compile:
        for transform in model.transforms():
            transform.compile()
    precision = choose_precision(cfg.precision, "cpu")
    loss = RateDistortion(mse_255, cfg.model.lmbda)
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


Steps = tuple[Callable[[], object], Callable[[], object]]
"""One step of our side and one of theirs."""


@dataclass(frozen=True)
class Row:
    """Seconds of one operation here and there, the median of there / here round by round, and the bytes that each needs."""

    ours: float
    theirs: float
    ratio: float
    memory: tuple[int, int] | None = None


def _seconds(operation: Callable[[], object], repeats: int) -> float:
    begun = time.perf_counter()
    for _ in range(repeats):
        operation()
    return (time.perf_counter() - begun) / repeats


def _in_turn(ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> Row:
    """What the two say they took, in turn, so that a machine's moods hit both."""
    ours()  # warm
    theirs()
    seconds = [(ours(), theirs()) for _ in range(rounds)]
    our_median, their_median = (statistics.median(side) for side in zip(*seconds, strict=True))
    return Row(our_median, their_median, statistics.median(their / our for our, their in seconds))


def _coding_rows(cfg: DictConfig) -> dict[str, Row]:
    """Encoding and decoding one picture, against CompressAI."""
    sides = _sides(cfg)
    ours, theirs = sides.ours, sides.theirs.eval()
    theirs.update(force=True)  # type: ignore[operator]
    picture = Leaves(1, max(cfg.size), 1).load(0)[:, : cfg.size[0], : cfg.size[1]]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        save_bundle(Path(folder) / "b.safetensors", ours, {}, half=False, scale_rule="upper", solve=False)
        bundle = load_bundle(Path(folder) / "b.safetensors")
        x = picture[None].float() / 255
        compress: Any = theirs.compress
        decompress: Any = theirs.decompress
        file, coded = encode(bundle, picture).file, compress(x)
        pairs: dict[str, Steps] = {
            "encode": (lambda: encode(bundle, picture), lambda: compress(x)),
            "decode": (lambda: decode(bundle, file), lambda: decompress(coded["strings"], coded["shape"])),
        }
        return {
            name: _in_turn(partial(_seconds, our, CODINGS), partial(_seconds, their, CODINGS), cfg.rounds)
            for name, (our, their) in pairs.items()
        }


def _training_steps(cfg: DictConfig) -> Steps:
    sides = _sides(cfg)
    x = torch.stack([Leaves(cfg.batch_size, cfg.crop, 0).load(i) for i in range(cfg.batch_size)]).float() / 255
    ours, theirs = _our_step(sides, cfg), _their_step(sides, cfg.model.lmbda)
    return lambda: ours(x), lambda: theirs(x)


def _layer_steps(cfg: DictConfig) -> Steps:
    """DPSConv forward and backward at SegPIC's largest map, in float32: ours, and unfold and einsum."""
    x, upstream, *kernels = (torch.empty(_map_shape(cfg)).normal_() for _ in range(2 + TAPS))
    stacked = [x.requires_grad_(), torch.empty(_map_shape(cfg, TAPS)).normal_().requires_grad_()]
    # Ours as it is used: everything in channels_last.
    separate = [t.detach().contiguous(memory_format=torch.channels_last).requires_grad_() for t in (x, *kernels)]
    gradient = upstream.contiguous(memory_format=torch.channels_last)
    layer = torch.compile(dps_conv) if cfg.compile else dps_conv
    return (
        lambda: torch.autograd.grad(layer(separate[0], separate[1:]), separate, gradient),
        lambda: torch.autograd.grad(unfolded_dps_conv(*stacked), stacked, upstream),
    )


def _map_shape(cfg: DictConfig, times: int = 1) -> tuple[int, int, int, int]:
    return cfg.batch_size, times * cfg.model.N, cfg.crop // 4, cfg.crop // 4


def _resident_bytes(which: str) -> int:
    """Memory of this process as Linux counts it: VmRSS now, VmHWM at its peak (getrusage's peak is inherited); else 0."""
    if sys.platform != "linux":
        return 0
    found = re.search(rf"^{which}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


_step: Callable[[], object]
"""Of a worker process: the step of its side."""


def _prepare(settings: dict[str, Any], row: str, side: int) -> int:
    """Make this process one that repeats the steps of one side; bytes by which two of them let it grow, at their peak."""
    global _step
    cfg = OmegaConf.create(settings)
    _step = {STEP: _training_steps, LAYER: _layer_steps}[row](cfg)[side]
    if side == OURS:
        keep_freed_memory()  # as training does; not before, or what building the models freed would hide the growth
    before = _resident_bytes("VmRSS")
    for _ in range(2):
        _step()
    return _resident_bytes("VmHWM") - before


def _seconds_here(repeats: int) -> float:
    return _seconds(_step, repeats)


def _seconds_there(process: ProcessPoolExecutor, repeats: int) -> float:
    """Seconds of the step for which a worker process was prepared."""
    return process.submit(_seconds_here, repeats).result()


def _row_of_steps(cfg: DictConfig, row: str) -> Row:
    """Each side in a process of its own: they differ in how they hold memory, and each one's memory is counted.

    Of a training step that is all beyond the weights; of the layer all beyond inputs, output and their gradients.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["codec.commands.bench"])  # imports once for all of them
    with ProcessPoolExecutor(1, server) as ours, ProcessPoolExecutor(1, server) as theirs:
        grown = [pool.submit(_prepare, settings, row, side).result() for side, pool in enumerate((ours, theirs))]
        timed = _in_turn(partial(_seconds_there, ours, cfg.steps), partial(_seconds_there, theirs, cfg.steps), cfg.rounds)
    if sys.platform != "linux":
        return timed
    known = 4 * math.prod(_map_shape(cfg, 2 + TAPS)) if row == LAYER else 0  # output and gradients
    return replace(timed, memory=(grown[0] - known, grown[1] - known))


def measure(cfg: DictConfig) -> dict[str, Row]:
    """Training step, coding where CompressAI has the model, and DPSConv where the model has it."""
    rows = _coding_rows(cfg) if cfg.model.name in THEIRS else {}
    for name in [LAYER, STEP] if cfg.model.name == "segpic" else [STEP]:
        rows[name] = _row_of_steps(cfg, name)
    return rows


def run(overrides: Sequence[str]) -> int:
    """The command; overrides are Hydra's, of conf/bench.yaml."""
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("bench", list(overrides))
    rows = measure(cfg)
    model = cfg.model
    whose = "CompressAI" if model.name in THEIRS else "published"
    table = Table(title=f"{model.name} N={model.N} M={model.M} against {whose}, {instructions()}")
    for heading in ("", "here s", f"{whose} s", "times as fast"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, row in rows.items():
        table.add_row(name, f"{row.ours:.3f}", f"{row.theirs:.3f}", f"{row.ratio:.2f}")
    console.print(table)
    precision = choose_precision(cfg.precision, "cpu")
    print(f"training: batch {cfg.batch_size} of {cfg.crop}^2, {precision} against fp32; coding: {cfg.size[1]}x{cfg.size[0]}")
    for name, row in rows.items():
        if row.memory is not None:
            here, there = (bytes_ / 2**30 for bytes_ in row.memory)
            print(f"memory of a {name}: {here:.3f} GiB here, {there:.3f} GiB {whose}")
    return 0
