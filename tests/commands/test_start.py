"""Coding starts fast: what it imports is torch and little else."""

import json
import subprocess
import sys

from conftest import REPOSITORY, picture
from PIL import Image

ALLOWED = {"codec", "data", "torch", "numpy", "safetensors", "constriction", "PIL"}
CODE = """
import json, sys, time
import torch
torch_seconds, before = time.process_time(), set(sys.modules)
from codec.cli import main
assert main(["compress", "a.png", "a.lic"]) == main(["decompress", "a.lic", "b.png"]) == 0
seconds = time.process_time() - torch_seconds
print(json.dumps([sorted(set(sys.modules) - before), torch_seconds, seconds]))
"""


def test_coding_imports_few_modules_and_takes_little_longer_than_torch(tmp_path):
    """In a process of its own; no more than 1.6 times what importing torch takes, one small picture both ways included."""
    Image.fromarray(picture(64, 64).permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{CODE}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    imported, torch_seconds, seconds = json.loads(done.stdout.splitlines()[-1])
    roots = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names
    assert {"codec", "PIL"} <= roots <= ALLOWED
    assert "torch._dynamo" not in imported  # which torch needs to compile, and to compute on the meta device
    assert seconds < 0.6 * torch_seconds
