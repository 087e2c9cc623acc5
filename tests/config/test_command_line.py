"""What people type: keys and options that there are, those that there are not, and paths of any character."""

import subprocess
import sys

import pytest
import yaml
from conftest import configured

from codec.cli import main
from codec.config.compose import prepared
from codec.training.settings import check_settings
from codec.types import UserError


def shown(capsys, *words):
    """The configurations that the words ask for."""
    capsys.readouterr()
    prepared("train", [*words, "--cfg", "job"])
    return list(yaml.safe_load_all(capsys.readouterr().out))


@pytest.mark.parametrize(
    "words, expected",
    [
        ("seeed=3", "has no key seeed; did you mean seed?"),
        ("+seeed=3", "did you mean seed?; + is for arguments of a class"),
        ("modle.lmbda=1", "did you mean model.lmbda?"),
        ("model.lmda=3", "did you mean model.lmbda?"),
        ("lmbda=0.1", "expected model.lmbda"),
        ("model=vgg", "model=vgg; expected one of factorized, hific"),
        ("experiment=wacn", "did you mean wacnn?"),
        ("data/regions=gird", "did you mean grid?"),
        ("-m model=hyperprior,vgg", "model=vgg; expected one of"),
        ("logger.offline=true", "expected logger.wandb.offline"),
        ("logger=mlflow", "expected one of csv, tensorboard, wandb"),
        ("optim.method=adam", "expected optim, such as optim=adam"),
        ("trainer.deterministic=true", "say +trainer.deterministic=true"),
        ("+trainer.determinstic=true", "has no key trainer.determinstic"),
        ("+trainer.max_steps=4", "expected steps"),
        ("max_steps=3", "expected steps"),
        ("fast_dev_run=true", "expected debug=one_batch"),
        ("overfit_batches=1", "expected data.overfit_batches"),
        ("limit_train_batches=1", "expected trainer.limit_train_batches"),
        ("ckpt_path=x", "the same command again, which resumes"),
        ("resume=true", "the same command again, which resumes"),
        ("seed=1,2", "reads as several values; expected one; say -m"),
        ("data=folder data.root=[x]", "is no path"),
        ("steps", "steps is no override; expected key=value"),
        ("--resume", "no option --resume"),
        ("--cfg hydra", "expected --cfg job"),
        ("--config-dir nowhere", "no folder there"),
        ("hydra.searchpath=[file:///mine]", "expected a folder of options of your own as --config-dir FOLDER"),
        ("profile=tiny", "which has one size"),
        ("loss=ms_ssim data.crop=128", "expected at least 161"),
        ("experiment=shipped profile=paper", "which has one size"),
        ("data.root=photos", "expected data=folder beside it"),
        ("steps=0", "steps=0; expected a whole number, at least 1"),
        ("data.batch_size=0", "data.batch_size=0; expected a whole number"),
        ("val_every=half", "val_every=half; expected a whole number"),
        ("model.lmbda=abc", "model.lmbda=abc; expected a number above 0"),
        ("model.lmbda=30", "published lambdas"),
        ("seed=-1", "seed=-1; expected"),
        ("ema=2", "ema=2; expected null, or a number between 0 and 1"),
        ("precision=16-mixed", "expected one of auto, 32-true, bf16-mixed"),
        ("init=xavier", "expected one of auto, pca, random"),
        ("experiment=segpic profile=tiny steps=${nothing}", "nothing"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words, expected):
    with pytest.raises(UserError) as caught:
        prepared("train", words.split(), check_settings)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["/home/x/写真", "Bilder_ü", "Pictures (1)", "a=b", "a~b", "it's", 'say "x"', "back\\slash", "a;b&c"]
)
def test_a_path_may_hold_any_character(path, capsys):
    assert shown(capsys, "data=folder", f"data.root={path}")[0]["data"]["root"] == path


def test_a_home_folder_is_written_out(capsys, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ü")
    assert shown(capsys, "data=folder", "data.root=~/photos")[0]["data"]["root"] == "/home/ü/photos"


def test_a_comma_is_told_how_to_be_quoted(capsys):
    with pytest.raises(UserError, match="for a comma") as caught:
        prepared("train", ["data=folder", "data.root=a,b"])
    word = str(caught.value).partition(" or '")[2].partition("' for")[0]
    assert shown(capsys, "data=folder", word)[0]["data"]["root"] == "a,b"


def test_options_stand_anywhere_and_show_each_point(capsys):
    for words in (["-m", "seed=1,2"], ["seed=1,2", "-m"], ["seed=1,2", "--multirun", "steps=3"]):
        assert [config["seed"] for config in shown(capsys, *words)] == [1, 2]
    assert shown(capsys, "model.lmbda=0.013")[0]["loss"]["lmbda"] == 0.013  # resolved


def test_what_lightnings_users_know_works(capsys):
    (config,) = shown(capsys, "logger=[csv,wandb]", "trainer=ddp_sim", "debug=limited", "+trainer.deterministic=true")
    assert config["logger"]["wandb"]["project"] == "codec" and config["trainer"]["devices"] == 2
    assert config["trainer"]["limit_val_batches"] == 2 and config["trainer"]["deterministic"] is True
    (config,) = shown(capsys, "trainer.limit_train_batches=3", "trainer.profiler=simple", "~callbacks.reconstructions")
    assert config["trainer"]["profiler"] == "simple" and list(config["callbacks"]) == ["progress", "speed", "live"]


def test_a_loss_brings_its_lambda_and_crop_unless_they_are_given(capsys):
    (config,) = shown(capsys, "loss=ms_ssim")
    assert (config["model"]["lmbda"], config["data"]["crop"]) == (8.73, 256)
    (config,) = shown(capsys, "loss=ms_ssim", "model.lmbda=30", "data.crop=192")
    assert (config["loss"]["lmbda"], config["data"]["crop"]) == (30, 192)
    (config,) = shown(capsys, "model=hific")
    assert config["model"]["lmbda"] == 0.00234375


@pytest.mark.parametrize(
    "profile, regions", [([], "grid"), ([], "none"), ([], "sam"), (["profile=tiny"], "grid"), (["profile=tiny"], "none")]
)
def test_the_regions_of_an_experiment_are_the_ones_that_were_asked_for(profile, regions, capsys):
    (config,) = shown(capsys, "experiment=segpic", *profile, f"data/regions={regions}")
    (alone,) = shown(capsys, "data=folder", f"data/regions={regions}")
    assert config["data"]["regions"].keys() == alone["data"]["regions"].keys()
    assert config["data"]["regions"]["_target_"] == alone["data"]["regions"]["_target_"]


def test_every_command_shows_its_points(capsys):
    for command, words, key, values in (
        (
            "eval",
            ["-m", "test=kodak,photographs"],
            lambda c: c["test"]["_target_"].rpartition(".")[2],
            ["kodak", "photographs"],
        ),
        ("bench", ["model=hyperprior,segpic", "-m"], lambda c: c["model"]["name"], ["hyperprior", "segpic"]),
        ("masks", ["data=coco_panoptic", "shard=0/2,1/2", "--multirun"], lambda c: c["shard"], ["0/2", "1/2"]),
    ):
        capsys.readouterr()
        prepared(command, ["--cfg", "job", *words])
        assert [key(config) for config in yaml.safe_load_all(capsys.readouterr().out)] == values


def test_the_benchmark_takes_the_model_of_an_experiment(capsys):
    for words, widths in (([], (192, 320)), (["profile=tiny"], (48, 80)), (["model.N=72"], (72, 320))):
        capsys.readouterr()
        prepared("bench", ["experiment=segpic", *words, "--cfg", "job"])
        model = yaml.safe_load(capsys.readouterr().out)["model"]
        assert (model["name"], model["N"], model["M"]) == ("segpic", *widths)


def test_a_short_run_has_its_own_schedule(capsys):
    (config,) = shown(capsys, "steps=2")
    assert (config["val_every"], config["log_every"], config["save_every"], config["schedule"]["warmup"]) == (2, 2, 2, 0)


def test_options_of_ones_own_are_found(tmp_path, capsys):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("# @package _global_\nloss: {_target_: mine.Loss}\nladder: null\n")
    (config,) = shown(capsys, "--config-dir", str(tmp_path), "loss=mine", "model.lmbda=30")
    assert config["loss"] == {"_target_": "mine.Loss"}


def test_a_typo_is_answered_before_anything_heavy_is_imported():
    heavy = "torch lightning numpy compressai wandb"
    code = (
        "import sys; from codec.cli import main; status = main(['train', 'seeed=3']); "
        f"assert status == 2; print([name for name in {heavy.split()} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_name_may_look_like_a_number():
    """As a year does; a folder and a file are called after it."""
    words = ("experiment_name=2024", "tag=1", "test=folder", "test.root=2023", "test.name=7")
    cfg = configured(*words)
    assert (cfg.experiment_name, cfg.tag, cfg.test.root, cfg.test.name) == ("2024", "1", "2023", "7")


@pytest.mark.parametrize("name", ["1.10", "007", "1_000", "1e3", "-5"])
def test_a_name_that_looks_like_a_number_stays_as_it_is_written(name, capsys):
    (config,) = shown(capsys, f"tag={name}", "data=folder", f"data.root={name}", "test=folder", f"test.root={name}")
    assert (config["tag"], config["data"]["root"], config["test"]["root"]) == (name, name, name)
    prepared("eval", [f"codec={name}", f"out={name}", "--cfg", "job"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["codec"], config["out"]) == (name, name)


def test_runs_of_such_names_are_several(capsys, monkeypatch):
    assert [config["tag"] for config in shown(capsys, "-m", "tag=007,7")] == ["007", "7"]
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["train", "-m", "--dry-run", "tag=1.1,1.10"]) == 0
    said = capsys.readouterr().out
    assert "quickstart/tag-1.1 " in said and "quickstart/tag-1.10 " in said


@pytest.mark.parametrize(
    "content, words",
    [("name: mine\n  N: 3\n", ["mapping values are not allowed here", "mine.yaml", "line 2"]), ("[", ["mine.yaml"])],
)
def test_a_slip_in_an_option_of_ones_own_is_one_line(tmp_path, capsys, content, words):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(content)
    assert main(["train", "--config-dir", str(tmp_path), "model=mine", "--cfg", "job"]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words) and said.count("\n") == 1


def test_an_option_of_ones_own_takes_no_name_of_conf(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mean_scale.yaml").write_text("name: mean_scale\n")
    assert main(["train", "--config-dir", str(tmp_path), "--cfg", "job"]) == 2
    assert "model/mean_scale.yaml has the name of an option of conf/" in capsys.readouterr().err
