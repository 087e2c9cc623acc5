"""Two processes train what one does: the same parameters, spectral-norm vectors and decisions, in float64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from tiny_adversarial import CASES, NUM_STEPS, run_case


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What all cases end with in two processes, by file name; the processes are started once."""
    out = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).parents[1] / "tiny_adversarial.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), str(out)]
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kind, accumulate", CASES)
def test_two_processes_equal_one(two_processes, kind, accumulate, tmp_path):
    alone = run_case(kind, accumulate, tmp_path, world=1)
    decisions = alone["decisions"]
    assert len(decisions) == NUM_STEPS * accumulate and len(set(decisions[3 * accumulate :].tolist())) == 2
    ranks = [torch.load(two_processes / f"{kind}_{accumulate}_rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert torch.equal(ranks[0]["num_regions"], ranks[1]["num_regions"]) == (kind != "regions")  # uneven batches of regions
    for rank, other in enumerate(ranks):
        assert other.keys() == alone.keys() and torch.equal(other["decisions"], decisions)
        values = {name: value for name, value in alone.items() if value.is_floating_point() and value.numel()}
        off = max(float((other[name] - value).abs().max()) for name, value in values.items())
        print(f"{kind}, accumulation {accumulate}, rank {rank}: largest difference {off:.1e}")
        assert off < 1e-8
