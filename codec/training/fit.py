"""The training itself: from where the folder's last checkpoint left it, to its last step."""

import lightning
from lightning.pytorch.accelerators import CPUAccelerator

from codec.modules.base import CodecModule
from codec.runs.folder import RunFolder
from codec.training.machine import keep_freed_memory
from data.module import ImageDataModule


def fit(trainer: lightning.Trainer, module: CodecModule, data: ImageDataModule, folder: RunFolder) -> None:
    """Train, resuming where the folder has a checkpoint."""
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_memory()
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    trainer.fit(module, data, ckpt_path=folder.last_checkpoint if folder.last_checkpoint.exists() else None)
