"""A training that is killed, whenever that is, ends with the same bytes as one that was not."""

import multiprocessing
import os
import random
import re
import resource
import signal
import time
from unittest.mock import patch

import pytest
import torch
from conftest import TINY, picture
from tiny_training import equal, flat
from torchvision.io import write_png

from codec.atomic import new_file
from codec.callbacks.checkpoint import SaveCheckpoints
from codec.cli import main
from codec.evaluation import measure
from codec.training import fit

SEED = 15
WORDS = [
    *(word for word in TINY if "warmup" not in word), "steps=12", "val_every=4", "save_every=3", "data.batch_size=4",
    "ema=0.9", "schedule=plateau", "schedule.patience=0", "data.num_workers=2", "test=folder", "test.name=two",
    "test.baselines=[]", "test@data.val=folder", "trainer=cpu",
]  # fmt: skip


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def half_written(path, content, **_):
    new_file(path.parent).write_bytes(content[: len(content) // 2])
    kill()


class Half:
    """A checkpoint of which half is written."""

    def __init__(self, path, **_):
        new_file(path.parent).write_bytes(b"half a checkpoint")
        kill()


PLACES = {
    "in the middle of a step": lambda: patch.object(SaveCheckpoints, "on_train_batch_start", kill),
    "while a checkpoint is written": lambda: patch("codec.callbacks.checkpoint.replacing", Half),
    "before a validation's checkpoint": lambda: patch.object(SaveCheckpoints, "on_validation_end", kill),
    "before the export": lambda: patch.object(fit, "save_bundle", kill),
    "within the export": lambda: patch("codec.files.bundle.write_atomically", half_written),
    "within the evaluation": lambda: patch.object(measure, "decode_latents", kill),
}


def train(folder, words, place=None):
    os.setsid()  # its workers are those of this group
    os.chdir(folder)
    torch.set_num_threads(1)  # those of the process that forked this one are not here, and would be waited for
    if place is None:
        raise SystemExit(main(["train", *words]))
    with PLACES[place]():
        main(["train", *words])


def train_in_little_room(folder, words):
    """With no file larger than 20,000 bytes: the first checkpoint does not fit."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    train(folder, words)


def started(*arguments, target=train):
    """The command in a process that can be killed, forked so that imports are paid once."""
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """The command of a run on pictures of its own."""
    pictures = tmp_path_factory.mktemp("pictures")
    for number in range(2):
        write_png(picture(64, 72, number), str(pictures / f"{number}.png"))
    return [*WORDS, f"test.root={pictures}", f"data.val.root={pictures}", "data.val.name=two"]


def left(folder):
    """What counts of a run's folder, by name."""
    run = folder / "run"
    names = ["codec.safetensors", "metrics.csv", *(f"results/two/{number}.lic" for number in range(2))]
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["loops"]  # Lightning's counts of batches, of which a run that goes on has seen fewer
    return {name: (run / name).read_bytes() for name in names} | dict(flat(checkpoint))


@pytest.fixture(scope="module")
def straight(words, tmp_path_factory):
    """What an uninterrupted run leaves, and the seconds that it takes."""
    folder, begun = tmp_path_factory.mktemp("straight"), time.monotonic()
    process = started(folder, [*words, "run_dir=run"])
    process.join()
    assert process.exitcode == 0
    return left(folder), time.monotonic() - begun


def ends(group, seconds=10.0):
    """Whether all processes of a group end within that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def killed_after(seconds, above, words):
    """The folder of a run that was killed, and its process; sooner, where it came to its end before."""
    for number in range(10):
        folder = above / str(number)
        folder.mkdir()
        process = started(folder, words)
        process.join(seconds / 2**number)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            return folder, process
    raise AssertionError("every run was done before it could be killed")


@pytest.mark.slow
@pytest.mark.parametrize("moment", [*PLACES, *range(4)])
def test_a_killed_run_ends_with_the_same_bytes(words, straight, moment, tmp_path):
    """Six places, and four moments of a run by a seed."""
    expected, seconds = straight
    words = [*words, "run_dir=run"]
    if isinstance(moment, int):
        folder, process = killed_after(random.Random(SEED + moment).uniform(0.1, 0.9) * seconds, tmp_path, words)
        print(f"seed {SEED + moment}")
    else:
        folder, process = tmp_path, started(tmp_path, words, moment)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert ends(process.pid)
    again = started(folder, words)
    again.join()
    assert again.exitcode == 0
    found = left(folder)
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not equal(value, found[name])] == []
    assert not [path for path in (folder / "run").rglob("*.tmp")]


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(words, straight, tmp_path, capfd):
    words = [*words, "run_dir=run"]
    process = started(tmp_path, words, target=train_in_little_room)
    process.join()
    assert process.exitcode == 2
    assert re.fullmatch("codec: [^\n]*File too large; expected room to write; [^\n]*\n", capfd.readouterr().err)
    again = started(tmp_path, words)
    again.join()
    found = left(tmp_path)
    assert again.exitcode == 0 and all(equal(value, found[name]) for name, value in straight[0].items())
