"""The DataModule of training: a mixture of sources, and whole photographs to validate on."""

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from codec.types import Batch, UserError
from data.crops import smallest
from data.regions import relabel
from data.sampler import Key, StepBatchSampler, picture_at
from data.sources import Folder, MappedSource, Source
from data.testsets import TestImage, TestSet


class CropDataset(Dataset[Tensor]):
    """The crop of each key (step, place), from a mixture of sources drawn by weight.

    weights: of each source, positive. crop: side in pixels. batch_size: places of a step. seed: with the key, all that is
    random.
    """

    def __init__(self, sources: Mapping[str, Source], weights: Mapping[str, float], crop: int, batch_size: int, seed: int):
        if sources.keys() != weights.keys() or any(w <= 0 for w in weights.values()):
            raise UserError(
                f"data.weights={dict(weights)} for the sources {list(sources)}; expected a positive weight for each; "
                "set data.weights"
            )
        self.sources, self.crop, self.batch_size, self.seed = list(sources.values()), crop, batch_size, seed
        total = np.cumsum([weights[name] for name in sources])
        self._shares = total / total[-1]

    def draw(self, key: Key) -> tuple[Source, int, np.random.Generator]:
        """The source and the picture that a key stands for, and the randomness that is left for its crop."""
        step, place = key
        rng = np.random.default_rng((self.seed, step, place))
        source = self.sources[int(np.searchsorted(self._shares, rng.random(), side="right"))]
        return source, picture_at(self.seed, step * self.batch_size + place, len(source)), rng

    def __getitem__(self, key: Key) -> Tensor:
        """uint8 [3, crop, crop]."""
        source, index, rng = self.draw(key)
        return source.crop(index, self.crop, rng)


class MappedCropDataset(Dataset[tuple[Tensor, Tensor]]):
    """The crops of a dataset whose sources all have regions, each with its map."""

    def __init__(self, crops: CropDataset):
        self.crops = crops

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """uint8 [3, crop, crop]; ids [crop, crop], dense from 0, in the smallest type that holds them."""
        source, index, rng = self.crops.draw(key)
        image, ids = cast(MappedSource, source).crop_with_regions(index, self.crops.crop, rng)
        return image, smallest(relabel(ids))


def _have_regions(sources: Mapping[str, Source], asked: bool) -> bool:
    """Whether the sources have regions: all or none. Raises UserError for anything between, or none where it is asked."""
    without = [name for name, source in sources.items() if not (isinstance(source, MappedSource) and source.has_regions)]
    if without and (asked or len(without) < len(sources)):
        raise UserError(
            f"no regions for data.sources.{' and '.join(without)} in a mixture with regions; expected them in every source, "
            f"or in none; set data/regions@data.sources.{without[0]}.regions=grid"
        )
    return not without


class WholePictures(Dataset[Batch]):
    """The pictures of a test set as batches of one, uint8 [1, 3, H, W], with their names."""

    def __init__(self, pictures: Sequence[TestImage]):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Batch:
        return Batch(self.pictures[index].load()[None], name=[self.pictures[index].name])


class ValidationCrops(Dataset[Batch]):
    """One crop of each picture of a source with its map, as batches of one; the same ones each time."""

    def __init__(self, source: MappedSource, crop: int, seed: int):
        self._length = len(source)
        self._crops = MappedCropDataset(CropDataset({"val": source}, {"val": 1.0}, crop, 1, seed))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        return _to_mapped_batch([self._crops[index, 0]])


class FirstAndAgain(Dataset[Batch]):
    """The first `count` batches of `batches`, and by any further index the same ones again, which are marked as such."""

    def __init__(self, batches: WholePictures | ValidationCrops, count: int):
        self.batches, self.count = batches, count

    def __getitem__(self, index: int) -> Batch:
        return self.batches[index % self.count]._replace(again=index >= self.count)


def _to_batch(crops: list[Tensor]) -> Batch:
    return Batch(torch.stack(crops))


def _to_mapped_batch(crops: list[tuple[Tensor, Tensor]]) -> Batch:
    images, maps = zip(*crops, strict=True)
    kind = max((ids.dtype for ids in maps), key=lambda dtype: dtype.itemsize)
    return Batch(torch.stack(images), torch.stack([ids.to(kind) for ids in maps]))


def _end_with(parent: int) -> None:
    """End when the training does, even by a kill: workers hold each other's pipes, and would wait at a full one for ever."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _start_worker(_: int) -> None:
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C and SLURM reach workers too; the step that is waited for needs them


class ImageDataModule(lightning.LightningDataModule):
    """Random crops of `sources`, mixed by `weights`; validation on the whole pictures of a test set, one at a time.

    batch_size: pictures of one step, over all ranks. crop: side in pixels. val: the test set. root: what conf/data names the
    files of sources, regions and maps by; nothing is read from it here. regions: where the maps of the sources come from, or
    None; with them each training batch has maps. val_source: pictures with regions to validate on instead, one crop of each, so
    that what maps are worth can be measured. num_workers: processes that load. seed: of crops and their order. overfit_batches:
    the first so many batches again and again. Pixels travel as uint8 and become floats in [0, 1] on the device, ids travel as
    small as they can.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, float],
        batch_size: int,
        crop: int,
        num_workers: int,
        seed: int,
        val: TestSet,
        root: str | None = None,
        regions: object | None = None,
        val_source: MappedSource | None = None,
        overfit_batches: int | None = None,
    ):
        super().__init__()
        if crop < 64 or crop % 64:
            raise UserError(f"data.crop={crop}; expected a multiple of 64, such as 256; set data.crop")
        if not isinstance(val, TestSet):
            raise UserError(f"data.val={val}; expected a test set of conf/test; say test@data.val={val}")
        self.dataset = CropDataset(sources, weights, crop, batch_size, seed)
        self.has_regions = _have_regions(sources, asked=regions is not None)
        self.batch_size, self.num_workers = batch_size, num_workers
        if overfit_batches is not None and overfit_batches < 1:
            raise UserError(f"data.overfit_batches={overfit_batches}; expected at least 1, or null; set data.overfit_batches")
        self.val, self.val_source, self.overfit_batches = val, val_source, overfit_batches

    def prepare_data(self) -> None:
        """Make the maps that are missing, where the set is small.

        Raises UserError with the command to run where it is not.
        """
        for source in self._folders():
            source.make_maps()

    def setup(self, stage: str | None = None) -> None:
        """Name and leave out the pictures whose maps are not sound."""
        for source in self._folders():
            source.check_maps()

    def _folders(self) -> list[Folder]:
        return [source for source in [*self.dataset.sources, self.val_source] if isinstance(source, Folder)]

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        if self.batch_size % world:
            raise UserError(
                f"data.batch_size={self.batch_size} on {world} ranks; expected a multiple of them, since it is the "
                "batch over all; set data.batch_size"
            )
        return DataLoader(
            MappedCropDataset(self.dataset) if self.has_regions else self.dataset,
            batch_sampler=StepBatchSampler(self.batch_size, self._next_batch, rank, world, self.overfit_batches),
            collate_fn=_to_mapped_batch if self.has_regions else _to_batch,
            num_workers=self.num_workers,
            worker_init_fn=_start_worker,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _next_batch(self) -> int:
        """How many batches the training has seen: Lightning counts the optimizer's steps."""
        return 0 if self.trainer is None else self.trainer.global_step * self.trainer.accumulate_grad_batches

    def val_dataloader(self) -> DataLoader[Any]:
        """Each picture once over all ranks, in parts of one length: where they do not come out even, the last ranks go over
        some again. So there may be more ranks than pictures, and no rank waits for another."""
        trainer, crops = self.trainer, self.val_source is not None
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        pictures: WholePictures | ValidationCrops = WholePictures(self.val.pictures)
        if self.val_source is not None:
            pictures = ValidationCrops(self.val_source, self.dataset.crop, self.dataset.seed)
        limit = trainer.limit_val_batches if trainer else None  # of all ranks together; Lightning's own is of each
        count = min(len(pictures), limit) if isinstance(limit, int) else len(pictures)
        share = -(-count // world)
        return DataLoader(
            FirstAndAgain(pictures, count),
            batch_size=None,
            sampler=range(rank * share, (rank + 1) * share),
            num_workers=self.num_workers if crops else 0,
            worker_init_fn=_start_worker if crops else None,
            pin_memory=torch.cuda.is_available(),
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        in_doubles = self.trainer is not None and self.trainer.precision == "64-true"
        precise = torch.float64 if in_doubles else torch.float32
        image = batch.image.contiguous(memory_format=torch.channels_last).to(precise) / 255
        return batch._replace(image=image, regions=None if batch.regions is None else batch.regions.long())

    def sample_crops(self, count: int) -> Tensor:
        """The first `count` crops of training, float32 [count, 3, crop, crop] in [0, 1]."""
        self.prepare_data()
        self.setup()
        keys = [divmod(number, self.batch_size) for number in range(count)]
        return torch.stack([self.dataset[key] for key in keys]).float() / 255
