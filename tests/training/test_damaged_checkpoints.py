"""A last.ckpt that is damaged, incomplete, of another network or malicious: one line that says what to do."""

import io
from types import SimpleNamespace

import pytest
import torch
from test_saved_tensors import Opens
from tiny_training import fit

from codec.runs.folder import RunFolder
from codec.training.fit import PARTS, Training
from codec.types import UserError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The checkpoint of a run as bytes, and the module that it is of."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    module = fit(folder, 2)
    return folder.last_checkpoint.read_bytes(), module


@pytest.fixture
def resume(run, tmp_path):
    """What Lightning is asked for, with a checkpoint of this content in the run's folder."""
    folder = RunFolder(tmp_path)

    def resumed(content):
        if not isinstance(content, bytes):
            buffer = io.BytesIO()
            torch.save(content, buffer)
            content = buffer.getvalue()
        folder.last_checkpoint.parent.mkdir(exist_ok=True)
        folder.last_checkpoint.write_bytes(content)
        asked = {}
        trainer = SimpleNamespace(
            accelerator=None, strategy=None, world_size=1, callbacks=[], fit=lambda *parts, **more: asked.update(more)
        )
        Training(trainer, run[1], None, folder, {}).fit()
        return asked

    return resumed


def refused(resume, content):
    with pytest.raises(UserError) as caught:
        resume(content)
    assert "last.ckpt" in str(caught.value) and "best.ckpt" in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_one_is_resumed_from_without_running_what_it_says(run, resume, tmp_path):
    asked = resume(run[0])
    assert asked == {"ckpt_path": RunFolder(tmp_path).last_checkpoint, "weights_only": True}


@pytest.mark.parametrize("end", [0, 1, 4, 100, -100, -1])
def test_a_cut_one_is_refused(run, resume, end):
    assert "cannot be read" in refused(resume, run[0][:end])


def test_a_malicious_one_is_refused_and_does_nothing(run, resume, tmp_path):
    content = torch.load(io.BytesIO(run[0]), weights_only=True)
    assert "holds 'io.open'" in refused(resume, content | {"hyper_parameters": Opens(str(tmp_path / "harm"))})
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("part", PARTS)
def test_an_incomplete_one_is_refused(run, resume, part):
    content = torch.load(io.BytesIO(run[0]), weights_only=True)
    assert f"no {part}" in refused(resume, {key: value for key, value in content.items() if key != part})
    assert f"no {part}" in refused(resume, content | {part: None})


def test_weights_that_are_missing_or_others_are_refused(run, resume):
    content = torch.load(io.BytesIO(run[0]), weights_only=True)
    state = content["state_dict"]
    name = next(key for key in state if state[key].dim() > 0)
    for changed in ({**state, name: state[name][:1]}, {**state, name: 3}, {key: state[key] for key in state if key != name}):
        assert f"no fitting {name}" in refused(resume, content | {"state_dict": changed})
    for other in ([], {}, torch.ones(2), {"state_dict": {}}):
        refused(resume, other)
