"""The DataModule of training: a mixture of sources, and whole photographs to validate on."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from codec.types import Batch, UserError
from data.sampler import Key, StepBatchSampler, picture_at
from data.sources import Source
from data.testsets import TestImage, load_test_set


class CropDataset(Dataset[Tensor]):
    """The crop of each key (step, place), from a mixture of sources drawn by weight."""

    def __init__(
        self, sources: Mapping[str, Source], weights: Mapping[str, float], crop: int, batch_size: int, seed: int
    ):
        if sources.keys() != weights.keys() or any(w <= 0 for w in weights.values()):
            raise UserError(
                f"data.weights={dict(weights)} for the sources {list(sources)}; expected a positive weight for each; "
                "set data.weights"
            )
        self.sources, self.crop, self.batch_size, self.seed = list(sources.values()), crop, batch_size, seed
        total = np.cumsum([weights[name] for name in sources])
        self._shares = total / total[-1]

    def __getitem__(self, key: Key) -> Tensor:
        """uint8 [3, crop, crop]."""
        step, place = key
        rng = np.random.default_rng((self.seed, step, place))
        source = self.sources[int(np.searchsorted(self._shares, rng.random(), side="right"))]
        draw = step * self.batch_size + place
        return source.crop(picture_at(self.seed, draw, len(source)), self.crop, rng)


class WholePictures(Dataset[tuple[Tensor, str]]):
    """The pictures of a test set, uint8 [3, H, W], with their names."""

    def __init__(self, pictures: Sequence[TestImage]):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        return self.pictures[index].load(), self.pictures[index].name


def _to_batch(crops: list[Tensor]) -> Batch:
    return Batch(torch.stack(crops))


def _to_named_batch(pictures: list[tuple[Tensor, str]]) -> Batch:
    return Batch(torch.stack([image for image, _ in pictures]), name=[name for _, name in pictures])


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches workers too; the step that it waits for needs them


class ImageDataModule(lightning.LightningDataModule):
    """Random crops of `sources`, mixed by `weights`; validation on the whole pictures of a test set, one at a time.

    batch_size: pictures of one step, over all ranks. crop: side in pixels. val: a name that load_test_set knows, below
    `root` where it is a set of files. Pixels travel as uint8 and become float32 in [0, 1] on the device.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, float],
        batch_size: int,
        crop: int,
        num_workers: int,
        seed: int,
        val: str,
        root: str,
    ):
        super().__init__()
        if crop < 64 or crop % 64:
            raise UserError(f"data.crop={crop}; expected a multiple of 64, such as 256; set data.crop")
        self.dataset = CropDataset(sources, weights, crop, batch_size, seed)
        self.batch_size, self.num_workers = batch_size, num_workers
        self.val, self.root = val, Path(root)

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        rank, world, start = 0, 1, 0
        if trainer is not None:
            # A step is one batch; Lightning counts the optimizer's steps.
            rank, world, start = (
                trainer.global_rank, trainer.world_size, trainer.global_step * trainer.accumulate_grad_batches
            )  # fmt: skip
        if self.batch_size % world:
            raise UserError(
                f"data.batch_size={self.batch_size} on {world} ranks; expected a multiple of them, since it is the "
                "batch over all; set data.batch_size"
            )
        return DataLoader(
            self.dataset,
            batch_sampler=StepBatchSampler(self.batch_size, start, rank, world),
            collate_fn=_to_batch,
            num_workers=self.num_workers,
            worker_init_fn=_start_worker,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        pictures = WholePictures(load_test_set(self.val, self.root)[rank::world])
        return DataLoader(pictures, batch_size=1, collate_fn=_to_named_batch, pin_memory=torch.cuda.is_available())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        image = batch.image.contiguous(memory_format=torch.channels_last).float() / 255
        return batch._replace(image=image)

    def sample_crops(self, count: int) -> Tensor:
        """The first `count` crops of training, float32 [count, 3, crop, crop] in [0, 1]."""
        keys = [divmod(number, self.batch_size) for number in range(count)]
        return torch.stack([self.dataset[key] for key in keys]).float() / 255
