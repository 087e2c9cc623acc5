"""The names of runs, as commands ask for them: by value, whatever the words."""

import pytest

from codec.config.command_line import parse_words
from codec.config.compose import composed, configurations
from codec.config.identity import identity, run_path
from codec.types import UserError


def asked(line):
    cfg, choices = composed("train", parse_words("train", line.split()).overrides)
    return cfg, identity(cfg, choices)


NAMES = {
    "default": [
        "", "seed=1", "steps=900", "seed=2 seed=1", "model=mean_scale", "init=auto optim.lr=1e-3 optim.clip_norm=1",
        "logger=wandb test=kodak test.baselines=[] log_every=5 trainer=ddp_sim callbacks=none data.num_workers=4",
    ],
    "model.lmbda-0.03": ["model.lmbda=0.03", "model.lmbda=0.030", "model.lmbda=3e-2", "model.lmbda=0.01 model.lmbda=0.03"],
    "model.lmbda-0.0035__seed-2": ["seed=2 model.lmbda=0.0035", "model.lmbda=35e-4 seed=2 save_every=7"],
    "model-wacnn": ["model=wacnn", "model=wacnn model.M=120"],
    "data.batch_size-16__steps-50": ["steps=50 data.batch_size=16"],
    "loss-ms_ssim": ["loss=ms_ssim", "loss=ms_ssim model.lmbda=8.73 data.crop=256"],
    "optim-adam": ["optim=adam", "optim=adam optim.lr=0.0001"],
    "trainer.accumulate_grad_batches-2": ["trainer.accumulate_grad_batches=2"],
    "steps-1__trainer.limit_val_batches-1": ["debug=one_batch"],
    "tag-mine": ["tag=mine"],
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_named_by_its_values(name):
    with configurations():
        assert {line: asked(line)[1].name for line in NAMES[name]} == dict.fromkeys(NAMES[name], name)


def test_an_experiment_is_the_folder_above_and_its_default_has_no_name(monkeypatch, tmp_path):
    monkeypatch.setenv("CODEC_RUNS", str(tmp_path))
    with configurations():
        for line, path in {
            "experiment=segpic profile=tiny": "segpic/profile-tiny",
            "experiment=segpic profile=tiny data/regions=grid": "segpic/data.regions-grid__profile-tiny",
            "experiment=hific rate=mi": "hific/rate-mi",
            "experiment=hific rate=lo": "hific/default",
        }.items():
            assert run_path(*asked(line)) == tmp_path / path
        cfg, who = asked("experiment=wacnn data.root=/data/写真 model.lmbda=0.013")
        assert who.name.startswith("model.lmbda-0.013__data.root-") and who.name.isascii()
        assert run_path(*asked(f"run_dir={tmp_path}/mine")) == tmp_path / "mine"


def test_the_environment_gives_values_too(monkeypatch):
    """Two sets of photographs are two runs, whichever way they were named."""
    with configurations():
        monkeypatch.setenv("CODEC_DATA", "/photos")
        by_environment = asked("data=folder")[1]
        assert by_environment.values["data.root"] == "/photos" and "data.root-photos" in by_environment.name
        assert asked("")[1].name == "default"  # which reads no files
        monkeypatch.delenv("CODEC_DATA")
        assert asked("data=folder data.root=/photos")[1].name == by_environment.name


def test_what_must_be_given_is_in_the_name():
    """It has no default that it could be."""
    with configurations():
        for root in ("a", "b"):
            who = asked(f"test@data.val=folder data.val.root={root}")[1]
            assert who.name == f"data.val-folder__data.val.root-{root}"


def test_a_run_with_options_of_ones_own_has_a_name(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("# @package _global_\ndefaults: [mse, _self_]\nmodel: {lmbda: 0.02}\n")
    with configurations(tmp_path):
        assert asked("loss=mine")[1].name == "loss-mine"
        assert asked("loss=mine model.lmbda=0.03")[1].name == "model.lmbda-0.03__loss-mine"
    with configurations(), pytest.raises(UserError, match="loss=mine; expected one of ms_ssim, mse, perceptual"):
        asked("loss=mine")
