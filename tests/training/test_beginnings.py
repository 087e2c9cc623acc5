"""Starting from another run's weights: what is refused, what is loaded, and both stages as one command."""

import pytest
import torch

from codec.files.bundle import load_bundle, save_bundle
from codec.losses.rate_distortion import RateDistortion, mse_255
from codec.models import build_model
from codec.runs.folder import RunFolder
from codec.training.start import find_start, start_from
from codec.types import UserError

WIDTHS = {"N": 4, "M": 4, "C": 4, "num_blocks": 1}
LOSS = RateDistortion(mse_255, 0.01)


def finished_run(path, target_bpp=0.2, seed=1, **widths):
    """The folder of a run that left a bundle."""
    torch.manual_seed(seed)
    codec = build_model("hific", **(WIDTHS | widths))
    folder = RunFolder(path)
    save_bundle(folder.bundle, codec, {"config": {"target_bpp": target_bpp}}, half=True)
    return folder


def test_weights_come_over_and_nothing_else(tmp_path):
    source = finished_run(tmp_path / "first")
    codec = build_model("hific", **WIDTHS)
    for given in (source.path, source.bundle):
        report = start_from(codec, find_start(given, RunFolder(tmp_path / "second"), 0.2), LOSS)
    expected = dict(load_bundle(source.bundle).model.named_parameters())
    assert all(torch.equal(value, expected[name]) for name, value in codec.named_parameters())
    total = sum(p.numel() for p in codec.parameters())
    assert f"all {total:,} numbers" in report and "g_s" in report and "begin anew" in report


def test_what_is_refused(tmp_path):
    source, own = finished_run(tmp_path / "first"), RunFolder(tmp_path / "second")
    own.path.mkdir()
    with pytest.raises(UserError, match="is the run itself"):
        find_start(own.path, own, 0.2)
    with pytest.raises(UserError, match="a checkpoint, from which a run is resumed"):
        find_start(source.checkpoints / "last.ckpt", own, 0.2)
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(UserError, match="holds no finished run"):
        find_start(tmp_path / "unfinished", own, 0.2)
    with pytest.raises(UserError, match="no bundle at"):
        find_start(tmp_path / "missing", own, 0.2)
    for target in (0.3, None):
        with pytest.raises(UserError, match=r"steered to target_bpp=0.2; expected"):
            find_start(source.path, own, target)
    with pytest.raises(UserError, match="set the same model"):
        start_from(build_model("hific", **(WIDTHS | {"C": 6})), source.bundle, LOSS)
    with pytest.raises(UserError, match="set the same model"):
        start_from(build_model("mean_scale", N=4, M=4), source.bundle, LOSS)


@pytest.fixture(scope="module")
def both_stages(tmp_path_factory):
    """Both stages of HiFiC by one command; the folder in which it ran, and its words."""
    from conftest import codec

    folder = tmp_path_factory.mktemp("stages")
    done = codec("train", *COMMAND, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


COMMAND = [
    "experiment=hific", "rate=mi", "profile=tiny", "steps=4", "first_stage.steps=2", "val_every=2", "log_every=2", "model.N=4",
    "model.M=4", "model.C=4", "model.num_blocks=1", "adversarial.width=4", "data.crop=64", "data.batch_size=4",
    "data.sources.dead_leaves.num_pictures=2", "data.sources.dead_leaves.size=96", "test.baselines=[]",
]  # fmt: skip


def runs(folder, experiment):
    return [path.parent for path in folder.glob(f"runs/{experiment}/*/run.json")]


def test_both_stages_are_one_command(both_stages):
    folder, output = both_stages
    (first,), (second,) = runs(folder, "hific_mse_lpips"), runs(folder, "hific")
    assert f"first stage: runs/hific_mse_lpips/{first.name}" in output and "begin anew" in output
    for run, steps in ((first, 2), (second, 4)):
        assert RunFolder(run).finished
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps
    facts = load_bundle(second / "codec.safetensors").header["facts"]
    assert facts["config"]["target_bpp"] == 0.3 and facts["trained_with"].startswith("lpips_squeeze")
    # The bundle holds E, G and P only.
    assert {name.split(".")[0] for name, _ in load_bundle(second / "codec.safetensors").model.named_parameters()} == {
        "g_a", "g_s", "h_a", "h_mean_s", "h_scale_s", "entropy_bottleneck",
    }  # fmt: skip
    rows = (second / "metrics.csv").read_text().splitlines()
    assert "train/rate_weight" in rows[0] and "train/discriminator_loss" in rows[0]


def test_the_first_stage_is_found_again(both_stages):
    """By its own command, and by another second stage."""
    from conftest import codec

    folder, _ = both_stages
    (first,) = runs(folder, "hific_mse_lpips")
    own = [word for word in COMMAND if not word.startswith(("experiment", "adversarial", "data.batch_size", "steps"))]
    own = ["experiment=hific_mse_lpips", *[word.removeprefix("first_stage.") for word in own]]
    done = codec("train", *own, cwd=folder)
    assert done.returncode == 0 and "is finished: nothing to train" in done.stdout, done.stderr
    again = codec("train", *COMMAND, "adversarial.beta=0.3", cwd=folder)
    assert again.returncode == 0 and "is finished: nothing to train" in again.stdout, again.stderr
    assert runs(folder, "hific_mse_lpips") == [first] and len(runs(folder, "hific")) == 2
    wrong = codec("train", *COMMAND, f"init_from={first}", "target_bpp=0.5", cwd=folder)
    assert wrong.returncode == 2 and "was steered to target_bpp=0.3" in wrong.stderr
