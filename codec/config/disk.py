"""How much room a run takes on its disk, said before it begins."""

import shutil
from pathlib import Path

from omegaconf import DictConfig

from codec.config.networks import build_codec, build_discriminator
from codec.runs.folder import RunFolder

MOMENTS = 2  # of Adam, for each weight; Muon has one
CHECKPOINTS = 3  # last.ckpt, best.ckpt, and one that is being written
FLOAT, HALF = 4, 2  # bytes
REST = 20_000_000  # logs, report, files of a test set


def bytes_to_come(cfg: DictConfig, run: Path) -> int:
    """At most what the run will still take, by the number of its weights; 0 for a finished one."""
    if RunFolder(run).finished:
        return 0
    networks = [build_codec(cfg), build_discriminator(cfg)]
    num_weights, *others = (0 if network is None else sum(p.numel() for p in network.parameters()) for network in networks)
    copies = 1 + MOMENTS + (cfg.ema is not None)
    whole = CHECKPOINTS * FLOAT * (copies * num_weights + (1 + MOMENTS) * sum(others)) + HALF * num_weights + REST
    there = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    return max(0, whole - there)


def free_bytes(folder: Path) -> int:
    """What is free where the folder lies, or will lie."""
    return shutil.disk_usage(next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())).free
