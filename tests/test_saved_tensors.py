"""What torch.save wrote is read whole, or refused in one line: nothing of it runs, and it takes no memory that it has not."""

import io
import pickle
import random
import shlex
import subprocess
import sys
import zipfile
from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn

from codec.saved_tensors import num_stored, read_saved, read_state_dict
from codec.types import UserError


class Opens:
    """What a pickle of harm says."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def line(read, path):
    with pytest.raises(UserError) as caught:
        read(path, "a state dict")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and "a state dict" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_back(tmp_path, zipped):
    content = {"epoch": 1, "state_dict": {"a": torch.arange(6.0).view(2, 3), "b": nn.Parameter(torch.ones(2))}}
    torch.save(content, tmp_path / "c.pth", _use_new_zipfile_serialization=zipped)
    assert read_saved(tmp_path / "c.pth", "")["epoch"] == 1
    state = read_state_dict(tmp_path / "c.pth", "")
    assert state["a"].equal(content["state_dict"]["a"]) and state["b"].equal(content["state_dict"]["b"])


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_that_a_file_says_runs(tmp_path, zipped):
    torch.save({"a": torch.ones(2), "b": Opens(str(tmp_path / "harm"))}, tmp_path / "c", _use_new_zipfile_serialization=zipped)
    (tmp_path / "p").write_bytes(pickle.dumps(Opens(str(tmp_path / "harm"))))
    for name in ("c", "p"):
        line(read_saved, tmp_path / name)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_damage_is_one_line(tmp_path, zipped):
    torch.save({"a": torch.arange(100.0), "b": torch.ones(3)}, tmp_path / "c", _use_new_zipfile_serialization=zipped)
    content, rng = (tmp_path / "c").read_bytes(), random.Random(0)
    for end in (0, 1, 3, 4, 5, *(rng.randrange(len(content)) for _ in range(40)), len(content) - 1):
        (tmp_path / "d").write_bytes(content[:end])
        line(read_state_dict, tmp_path / "d")
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (tmp_path / "d").write_bytes(damaged)
        try:
            read_state_dict(tmp_path / "d", "a state dict")
        except UserError as error:
            assert "\n" not in str(error)


def test_a_flipped_bit_of_a_number_is_noticed(tmp_path):
    numbers = torch.arange(1000.0)
    torch.save({"a": numbers}, tmp_path / "c")
    content = bytearray((tmp_path / "c").read_bytes())
    content[content.find(numbers.numpy().tobytes()) + 1001] ^= 4
    (tmp_path / "c").write_bytes(content)
    assert "checksum" in line(read_state_dict, tmp_path / "c")


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1 << 18)}, buffer)
    with zipfile.ZipFile(buffer) as stored, zipfile.ZipFile(tmp_path / "c", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    assert (tmp_path / "c").stat().st_size < 1 << 14
    assert "compressed" in line(read_saved, tmp_path / "c")


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_dense_tensor_is_refused(tmp_path):
    """And names that are no words, before anybody takes them for some."""
    wrong = [
        torch.zeros(1).expand(4096, 4096), torch.zeros(3, 3, device="meta"), torch.eye(3).to_sparse(),
        torch.eye(3).to_sparse_csr(), torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), 3, None, "word",
        [torch.ones(2)], torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    ]  # fmt: skip
    for value in wrong:
        torch.save({"a": torch.ones(2), "b\n\x1b[2J": value}, tmp_path / "c")
        assert "expected" in line(read_state_dict, tmp_path / "c")
    for content in ({0: torch.ones(2)}, {("a",): torch.ones(2)}, {}, [], torch.ones(2), 1, {"state_dict": {}}):
        torch.save(content, tmp_path / "c")
        assert "expected" in line(read_state_dict, tmp_path / "c")
    assert "expected" in line(read_state_dict, tmp_path)
    assert "expected" in line(read_state_dict, tmp_path / ("x" * 300))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content, refused, place", [
    (lambda w: {"args": Namespace(lmbda=1), "state_dict": w}, "'argparse.Namespace' under 'args'", "['state_dict']"),
    (lambda w: {"epoch": 1, "net": {"weights": w}, "best": np.float64(3)}, "under 'best'", "['net']['weights']"),
    (lambda w: {"state_dict": w, "log": {"deep": Namespace()}}, "'argparse.Namespace' under 'log'", "['state_dict']"),
])  # fmt: skip
def test_sound_weights_beside_what_would_run_are_told_with_the_way_to_them(tmp_path, zipped, content, refused, place):
    weights = {"g_a.0.weight": torch.ones(2, 3), "g_a.0.bias": nn.Parameter(torch.zeros(2))}
    torch.save(content(weights), tmp_path / "c.pth", _use_new_zipfile_serialization=zipped)
    said = line(read_state_dict, tmp_path / "c.pth")
    assert refused in said and "sound weights are under " + place.strip("[]'").replace("']['", ".") in said
    command = said.split("python -c ")[1].split(" FILE")[0]
    words = [sys.executable, *shlex.split("-c " + command), tmp_path / "c.pth", tmp_path / "w.pth"]
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert read_state_dict(tmp_path / "w.pth", "")["g_a.0.weight"].equal(weights["g_a.0.weight"])


def test_a_whole_object_and_a_program_are_told_as_what_they_are(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "c.pth")
    assert "'torch.nn.modules.linear.Linear' and would have to be run" in line(read_state_dict, tmp_path / "c.pth")
    with zipfile.ZipFile(tmp_path / "s.pth", "w") as archive:
        for name in ("s/data.pkl", "s/constants.pkl", "s/code/__torch__.py"):
            archive.writestr(name, b"")
    assert "TorchScript archive" in line(read_state_dict, tmp_path / "s.pth")


def test_a_key_is_no_word_for_a_shell(tmp_path):
    torch.save({"$(touch harm)\x1b[2J": {"a": torch.ones(2)}, "b": Namespace()}, tmp_path / "c.pth")
    assert "touch" not in line(read_state_dict, tmp_path / "c.pth")


@pytest.mark.parametrize("keys", [
    ["state_dict"], ["model"], ["net"], ["ema_state_dict"], ["model_state_dict"], ["network"], ["model", "state_dict"],
    ["state_dict", "net"], ["net", "model", "state_dict"],
])  # fmt: skip
def test_weights_are_found_in_dictionaries_in_any_order(tmp_path, keys):
    content = {"a": torch.ones(2)}
    for key in keys:
        content = {key: content, "epoch": 3, "optimizer": {"state": {0: torch.ones(1)}}}
    torch.save({"model": {"N": 3}} | content, tmp_path / "c")  # a configuration is no network
    assert list(read_state_dict(tmp_path / "c", "")) == ["a"]


def test_weights_of_two_networks_are_not_chosen_from(tmp_path):
    torch.save({key: {"a": torch.ones(2)} for key in ("state_dict", "ema_state_dict")}, tmp_path / "c")
    assert "weights under state_dict and ema_state_dict; expected a state dict of one" in line(read_state_dict, tmp_path / "c")
    loop = {"a": torch.ones(2)}
    loop |= {key: loop for key in ("state_dict", "model", "net")}
    torch.save(loop, tmp_path / "c")
    line(read_state_dict, tmp_path / "c")


def test_numbers_that_are_shared_count_once():
    whole = torch.zeros(10)
    assert num_stored([whole, whole[2:], whole.view(2, 5), torch.zeros(3, dtype=torch.float64)]) == 13
