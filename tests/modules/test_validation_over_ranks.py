"""A validation over any number of processes shows each picture once, and gives the figures of one process."""

import lightning
import pytest
import torch
from conftest import OPTIMIZERS, picture
from lightning.pytorch.strategies import DDPStrategy
from ranks import on_ranks

from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import build_model
from codec.modules.rate_distortion import RateDistortionModule
from codec.optim.schedules import Schedule
from data.module import ImageDataModule
from data.regions import ExactRegions
from data.sources import Leaves
from data.testsets import TestSet

NUM_PICTURES = 5


class Made:
    """A picture of a test set without its file."""

    def __init__(self, number):
        self.name = f"{number}.png"
        self.number = number

    def load(self):
        return picture(64 + 8 * self.number, 72, self.number)


def figures(world, maps, limit):
    """What a validation of a tiny codec logs, by this rank, and the names that it counted."""
    torch.manual_seed(0)
    codec = build_model("segpic", N=24, M=40, attention=False, context=False) if maps else build_model("factorized", N=4, M=6)
    module = RateDistortionModule(
        codec, RateDistortion(mse_255, 0.01), Schedule(), optimizer=OPTIMIZERS["adam"], lr=1e-3, quantiles_lr=1e-3,
        clip_norm=1.0, seed=1,
    )  # fmt: skip
    leaves = Leaves(NUM_PICTURES, 96, 1, ExactRegions())
    data = ImageDataModule(
        {"leaves": leaves}, {"leaves": 1.0}, 6, 64, 0, 1, TestSet("made", [Made(n) for n in range(NUM_PICTURES)]),
        val_source=leaves if maps else None,
    )  # fmt: skip
    parallel = {"strategy": DDPStrategy(broadcast_buffers=False, process_group_backend="gloo")} if world > 1 else {}
    trainer = lightning.Trainer(
        accelerator="cpu", devices=world, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, use_distributed_sampler=False, limit_val_batches=limit, **parallel,
    )  # fmt: skip
    trainer.validate(module, data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("maps, limit", [(False, None), (False, 3), (True, None)])
def test_any_number_of_processes_gives_the_figures_of_one(maps, limit):
    """Also where there are more processes than pictures, and with the maps of each picture."""
    (alone,) = on_ranks(1, figures, 1, maps, limit)
    assert alone["val/psnr"] > 3 and ("val/masked_loss" in alone) == maps
    for world in (2, 3, 6):
        for rank in on_ranks(world, figures, world, maps, limit):
            assert rank == pytest.approx(alone, rel=1e-6)
