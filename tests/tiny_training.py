"""A training of seconds, for tests of what stands around it."""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning
import numpy as np
import torch
from conftest import OPTIMIZERS, picture
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DataLoader

from codec.callbacks.checkpoint import SaveCheckpoints
from codec.losses.levels import Ladder
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import build_model
from codec.modules.rate_distortion import RateDistortionModule
from codec.optim.schedules import Schedule
from codec.runs.folder import RunFolder
from codec.training.start import start_levels
from codec.types import Batch
from data.module import ImageDataModule
from data.testsets import photographs

LOG_EVERY, VAL_EVERY, SAVE_EVERY, NUM_VAL = 2, 4, 5, 2


class Waves:
    """A source without the cost of drawing."""

    def __len__(self) -> int:
        return 8

    def crop(self, index: int, side: int, rng: np.random.Generator) -> Tensor:
        return picture(side, side, index)


class TinyData(ImageDataModule):
    """The real one, validated on small pictures."""

    def __init__(self) -> None:
        super().__init__({"waves": Waves()}, {"waves": 1.0}, 2, 64, 0, 3, photographs())

    def val_dataloader(self) -> DataLoader[Batch]:
        return DataLoader([Batch(picture(64, 192, seed)[None]) for seed in range(NUM_VAL)], batch_size=None)


def fit(
    folder: RunFolder, steps: int, *, loggers: Sequence[Logger] = (), extra: Sequence[lightning.Callback] = (),
    accumulate: int = 1, schedule: Schedule | None = None, world: int = 1, levels: Ladder | None = None,
) -> RateDistortionModule:  # fmt: skip
    """A tiny factorized codec after `steps` steps, from the folder's last checkpoint where there is one; in `world` ranks."""
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    codec = build_model("factorized", N=4, M=6, **({} if levels is None else {"levels": len(levels.lmbdas)}))
    loss = RateDistortion(mse_255, 0.01, levels=levels)
    start_levels(codec, loss, 0.01)
    module = RateDistortionModule(
        codec, loss, schedule or Schedule(),
        optimizer=OPTIMIZERS["adam"], lr=1e-2, quantiles_lr=1e-2, clip_norm=1.0, seed=3,
    )  # fmt: skip
    parallel = {"strategy": DDPStrategy(broadcast_buffers=False, process_group_backend="gloo")} if world > 1 else {}
    trainer = lightning.Trainer(
        accelerator="cpu", devices=world, max_steps=steps, max_epochs=-1, val_check_interval=VAL_EVERY * accumulate,
        check_val_every_n_epoch=None, num_sanity_val_steps=0, use_distributed_sampler=False,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=LOG_EVERY,
        accumulate_grad_batches=accumulate, default_root_dir=folder.path, logger=list(loggers),
        callbacks=[*extra, SaveCheckpoints(folder.checkpoints, SAVE_EVERY)], **parallel,
    )  # fmt: skip
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so little work is slower on more, ten times where the cores have other work
    try:
        checkpoint = folder.last_checkpoint if folder.last_checkpoint.exists() else None
        trainer.fit(module, TinyData(), ckpt_path=checkpoint, weights_only=True)
    finally:
        torch.set_num_threads(threads)
    return module


def flat(state: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a checkpoint, each by its way there."""
    if isinstance(state, (dict, list, tuple)):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from flat(value, f"{name}/{key}")
    else:
        yield name, state


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, where they are tensors."""
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
