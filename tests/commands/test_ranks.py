"""Ranks end together: whichever fails, and however, all end within seconds, and one line is said."""

import os
import re
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY, TINY

SECONDS = 10.0


def train(folder, *words, **variables):
    """The command on two ranks: its exit status, what it said on standard error, and when each line came."""
    environment = os.environ | {
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1", "CODEC_RUNS": str(folder / "runs"),
    } | variables  # fmt: skip
    command = [sys.executable, "-m", "codec", "train", "trainer=ddp_sim", *TINY, "test.baselines=[]", *words]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)


def failing(rank, how):
    return [f"+callbacks.failing={{_target_: failing.Failing, rank: {rank}, how: {how}}}"]


def failed_at(folder):
    (path,) = folder.glob("failed_at")
    return float(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "rank, how, line",
    [
        (1, "refuses", "codec: a thing; expected another; do this"),
        (0, "refuses", "codec: a thing; expected another; do this"),
        (1, "full", "codec: .*No space left on device.*free some and give the same command again"),
        (1, "killed", "codec: a process of this training is gone; .* the same command goes on from the last checkpoint"),
    ],
)
def test_all_ranks_end_and_one_line_is_said(tmp_path, rank, how, line):
    done = train(tmp_path, *failing(rank, how))
    assert time.time() - failed_at(tmp_path) < SECONDS
    assert done.returncode == 2 and re.fullmatch(line, done.stderr.strip()), done.stderr


@pytest.mark.slow
def test_wandb_without_a_login_is_one_line(tmp_path):
    done = train(tmp_path, "logger=wandb", HOME=str(tmp_path), WANDB_API_KEY="", NETRC=str(tmp_path / "none"))
    assert done.returncode == 2 and re.fullmatch("codec: logger=wandb: [^\n]*wandb login[^\n]*", done.stderr.strip()), (
        done.stderr
    )
