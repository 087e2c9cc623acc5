"""A function in several processes at once, as the ranks of one training on this machine."""

import multiprocessing
import os
import pickle
import socket
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _as_rank(rank: int, world: int, port: int, folder: Path, function: Callable[..., Any], arguments: tuple) -> None:
    torch.set_num_threads(1)
    told = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    os.environ |= {name: str(value) for name, value in told.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
    rank_zero_only.rank = rank
    try:
        (folder / str(rank)).write_bytes(pickle.dumps(function(*arguments)))
    except SystemExit as stop:
        (folder / str(rank)).write_bytes(pickle.dumps(stop.code))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # what the parent registered for its own end is not this process's


def on_ranks(world: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What each rank returned, or its exit status; the processes are forked, so that imports are paid once."""
    with tempfile.TemporaryDirectory() as name:
        folder, port, context = Path(name), _free_port(), multiprocessing.get_context("fork")
        ranks = [
            context.Process(target=_as_rank, args=(rank, world, port, folder, function, arguments)) for rank in range(world)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        assert [process.exitcode for process in ranks] == [0] * world
        return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(world)]
