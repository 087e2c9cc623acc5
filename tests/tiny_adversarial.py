"""Trainings of seconds, adversarial or not, with regions or without, in one process or in two; as a script, in as many as
started it.

    python -m torch.distributed.run --standalone --nproc-per-node=2 tests/tiny_adversarial.py OUT
"""

import os
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from conftest import OPTIMIZERS
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.layers.gdn import GDN
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.losses.rate_target import Decision, RateTarget
from codec.metrics.perceptual import Lpips
from codec.models import build_model
from codec.models.discriminator import Discriminator
from codec.modules.adversarial import AdversarialModule
from codec.modules.base import CodecModule
from codec.modules.rate_distortion import RateDistortionModule
from codec.optim.schedules import FirstBatches, Milestones, Schedule
from codec.runs.tracking import MetricsCsv
from codec.types import Batch
from data.module import ImageDataModule
from data.regions import ExactRegions
from data.sources import Leaves
from data.testsets import photographs

WIDTHS = {"N": 4, "M": 4, "C": 4, "num_blocks": 1}
CASES = [(kind, accumulate) for kind in ("adversarial", "rate_distortion", "regions") for accumulate in (1, 2)]
TARGETS = {"adversarial": 0.425, "rate_distortion": 0.43, "regions": 0.85}  # which the rates of the first steps cross
NUM_STEPS = 20


class RecordedTarget(RateTarget):
    """Keeps its decisions."""

    def decide(self, quantized_bpp: Tensor, step: int | None, target: Tensor | None = None) -> Decision:
        decision = super().decide(quantized_bpp, step, target)
        if step is not None:
            self.decisions = [*getattr(self, "decisions", []), float(decision.rate_weight)]
        return decision


class CountRegions(lightning.Callback):
    """Keeps the number of regions of each batch; 0 without maps."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, batch_idx: int) -> None:
        self.counts.append(0 if batch.regions is None else int(batch.regions.max()) + 1)


def tiny_module(
    kind: str,
    *,
    accumulate: int = 1,
    target: float = 0.5,
    schedule: Schedule | None = None,
    method: str = "adam",
    **settings: Any,
) -> CodecModule:  # fmt: skip
    """A small codec that steers to a rate within a few steps of where it begins: SegPIC where `kind` is regions, else HiFiC."""
    torch.manual_seed(0)
    if kind == "regions":
        codec, perceptual = build_model("segpic", N=24, M=40, attention=False, context=False), None
    else:
        codec, perceptual = build_model("hific", **WIDTHS), Lpips("squeeze", "random")
        with torch.no_grad():
            codec.g_a[-1].weight.mul_(8)  # latents that do not all round to 0
    rate_target = RecordedTarget(target, 2.0, 0.0625, FirstBatches(3, 0.5), FirstBatches(3, 1.4286))
    loss = RateDistortion(mse_255, 0.0023, rate_target, perceptual)
    settings = {"optimizer": OPTIMIZERS[method], "lr": 1e-3, "quantiles_lr": 1e-3, "clip_norm": 1.0, "seed": 3} | settings
    schedule = schedule or Milestones([6], 0.5)
    if kind != "adversarial":
        return RateDistortionModule(codec, loss, schedule, **settings)
    settings |= {"beta": 0.15, "discriminator_lr": 1e-3, "accumulate": accumulate}
    return AdversarialModule(codec, Discriminator(WIDTHS["M"], 4), loss, schedule, **settings)


def fit(
    module: CodecModule, folder: Path, steps: int, *, batch_size: int, accumulate: int = 1, precision: str = "32-true",
    resume: bool = False, regions: bool = False, extra: tuple = (), **settings: Any,
) -> lightning.Trainer:  # fmt: skip
    """Train the module to that step; checkpoints and metrics.csv in `folder`. accumulate: of Lightning; regions: with maps."""
    folder.mkdir(parents=True, exist_ok=True)
    leaves = Leaves(3, 96, 1, ExactRegions() if regions else None)
    data = ImageDataModule({"leaves": leaves}, {"leaves": 1.0}, batch_size, 64, 0, 3, photographs())
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, log_every_n_steps=2, default_root_dir=folder, precision=precision,
        accumulate_grad_batches=accumulate, logger=[MetricsCsv(folder / "metrics.csv")],
        callbacks=[SaveCheckpoints(folder, every=5), *extra],
        **{"val_check_interval": 4 * accumulate, "limit_val_batches": 1} | settings,
    )  # fmt: skip
    trainer.fit(module, data, ckpt_path=folder / "last.ckpt" if resume else None, weights_only=True)
    return trainer


def effective(module: torch.nn.Module) -> dict[str, Tensor]:
    """The state of a module as it counts.

    Below its bound a weight of GDN counts as 0. There most of them begin, and which gradients pass hangs on their sign, which
    may be that of a rounding error.
    """
    state = module.state_dict()
    for name, layer in module.named_modules():
        if isinstance(layer, GDN):
            state[f"{name}.gamma"] = layer.gamma_reparam(layer.gamma.detach())
    return state


def run_case(kind: str, accumulate: int, folder: Path, world: int) -> dict[str, Tensor]:
    """Parameters, vectors of the spectral norm and decisions after some steps in float64."""
    adversarial = kind == "adversarial"
    # Ten times the learning rate, or C = 2, and what differs by rounding in step 1 grows to what can be seen in step 20: two
    # runs in one process do the same.
    module = tiny_module(kind, accumulate=accumulate, target=TARGETS[kind], lr=1e-4)
    count = CountRegions()
    parallel = {"strategy": DDPStrategy(broadcast_buffers=False, process_group_backend="gloo"), "devices": world}
    fit(
        module, folder, NUM_STEPS, precision="64-true", limit_val_batches=0, regions=kind == "regions", extra=(count,),
        # Lightning's batch is the part in one module and the whole of the parts in the other.
        batch_size=8 * accumulate if adversarial else 4, accumulate=1 if adversarial else accumulate,
        **(parallel if world > 1 else {"devices": 1}),
    )  # fmt: skip
    state = effective(module)
    told = {"decisions": module.loss.rate_target.decisions, "num_regions": count.counts}
    return state | {name: torch.tensor(values) for name, values in told.items()}


def main(out: Path) -> None:
    """Run all cases and save what they end with, by rank."""
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for kind, accumulate in CASES:
        state = run_case(kind, accumulate, out / f"{kind}_{accumulate}_{rank}", world)
        torch.save(state, out / f"{kind}_{accumulate}_rank{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
