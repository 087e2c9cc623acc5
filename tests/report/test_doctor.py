"""What the doctor finds: each sickness by its name, in a run or a codec that has it; nothing in what is healthy."""

import csv
import json
import math
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY, live_codec, one_thread, picture

from codec.cli import main
from codec.evaluation.measure import evaluate
from codec.evaluation.results import Results
from codec.files.bundle import SHIPPED, save_bundle
from codec.report.doctor import diagnose, of_results
from codec.report.runs_of import read_run
from codec.runs.folder import RunFolder
from data.testsets import TestImage, TestSet, photographs

PICTURES = TestSet("mine", [TestImage("a", lambda: picture(256, 320))])
THUMBNAILS = TestSet("small", [TestImage(str(seed), partial(picture, 64, 64, seed)) for seed in range(3)])
STEPS = 400  # of the runs that are made up of a real one's files


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of four steps, and what it said at its end."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(map(str, words))))
        assert main(["train", *TINY, f"run_dir={folder}", "logger=[]", "callbacks=none"]) == 0
    return folder, "\n".join(said)


def write_log(folder: Path, **columns: list[float]) -> None:
    """metrics.csv: values at equal steps up to the last one, by `train__bpp` for train/bpp."""
    count = len(next(iter(columns.values())))
    with RunFolder(folder).metrics_file.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *(name.replace("__", "/") for name in columns)])
        for number, row in enumerate(zip(*columns.values(), strict=True), start=1):
            writer.writerow([STEPS * number // count, *row])


@pytest.fixture
def healthy(trained, tmp_path) -> Path:
    """The same run as if it had been trained well: its files, with figures of a healthy one."""
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    run = RunFolder(folder)
    config = yaml.safe_load(run.config_file.read_text())
    config["data"]["crop"] = 256
    run.config_file.write_text(yaml.safe_dump(config))
    write_log(folder, **HEALTHY_LOG)
    path = run.results / "photographs.json"
    results = Results.read(path)
    (point,) = results.points
    rows = [replace(row, estimated_bpp=row.payload_bpp) for row in point.images]
    streams = point.streams | {"y": replace(point.streams["y"], escapes=0, bits=10 * point.streams["z"].bits)}
    path.write_text(replace(results, points=[replace(point, images=rows, streams=streams)]).to_json())
    return folder


HEALTHY_LOG = {
    "train__bpp_z": [0.01] * 8, "train__skipped_steps": [0] * 8, "val__loss": [2, 1.5, 1.3, 1.2, 1.1, 1.02, 1.02, 1.015],
    "train__real_accuracy": [0.9, 0.5, 0.9, 0.7, 0.7, 0.7, 0.7, 0.7], "train__fake_accuracy": [0.7] * 8,
    "train__quantized_bpp": [0.9, 0.5, 0.3, 0.2, 0.15, 0.13, 0.15, 0.13], "train__target_bpp": [0.14] * 8,
}  # fmt: skip


def names(folder: Path) -> list[str]:
    return [finding.name for finding in diagnose(RunFolder(folder))]


def test_a_healthy_run_is_silent(healthy):
    assert diagnose(RunFolder(healthy)) == []


@pytest.mark.parametrize(
    "expected, column, values",
    [
        ("steps skipped", "train__skipped_steps", [0] * 7 + [1]),
        ("validation still falling", "val__loss", [2, 1.5, 1.3, 1.2, 1.1, 1.05, 1.04, 1.03]),
        ("validation not finite", "val__loss", [2, 1.5, 1.3, 1.2, 1.1, 1.02, 1.02, math.nan]),
        ("validation not finite", "val__loss", [2, 1.5, 1.3, 1.2, 1.1, math.inf, math.inf, math.inf]),
        ("discriminator at chance", "train__real_accuracy", [0.9] * 5 + [0.35] * 3),
        ("discriminator winning", "train__fake_accuracy", [0.7] * 5 + [1.3] * 3),
        ("rate target not reached", "train__quantized_bpp", [0.9, 0.5, 0.3, 0.2, 0.13, 0.17, 0.16, 0.17]),
        ("rate target not reached", "train__quantized_bpp", [0.9, 0.5, 0.3, 0.2, 0.15, 0.11, 0.12, 0.11]),
    ],
)
def test_a_log_that_shows_it_is_named(healthy, expected, column, values):
    write_log(healthy, **HEALTHY_LOG | {column: values})
    assert names(healthy) == [expected]


def of_levels(gap: float) -> dict[str, list[float]]:
    """A log of batches of two levels, each so far from its own target."""
    targets = [0.14, 0.45, 0.45, 0.14, 0.14, 0.45, 0.14, 0.45]
    return {"train__target_bpp": targets, "train__quantized_bpp": [(1 + gap) * target for target in targets]}


def test_each_batch_is_held_against_the_target_of_its_own_level(healthy):
    write_log(healthy, **HEALTHY_LOG | of_levels(0.02))
    assert names(healthy) == []
    for gap, told in ((-0.5, "-50 % from its target, below it"), (0.5, r"\+50 % from its target, above it")):
        write_log(healthy, **HEALTHY_LOG | of_levels(gap))
        (finding,) = diagnose(RunFolder(healthy))
        assert finding.name == "rate target not reached" and re.match(told, finding.found)


def test_a_log_whose_last_line_is_being_written_is_read(healthy):
    with RunFolder(healthy).metrics_file.open("a") as file:
        file.write("99999,1.5,3e-")
    assert names(healthy) == []


def test_a_value_that_is_no_number_is_left_out(healthy):
    """As the page leaves it out, and with it the row whose step is none."""
    lines = RunFolder(healthy).metrics_file.read_text().splitlines()
    at = lines[0].split(",").index("train/quantized_bpp")
    for number, text in ((2, "abc"), (5, "")):
        cells = lines[number].split(",")
        lines[number] = ",".join([*cells[:at], text, *cells[at + 1 :]])
    lines.insert(4, "abc" + lines[4][lines[4].index(",") :])
    RunFolder(healthy).metrics_file.write_text("\n".join(lines) + "\n")
    assert names(healthy) == [] and set(read_run(RunFolder(healthy)).log) >= {"train/quantized_bpp"}


def test_what_only_an_end_can_tell_is_not_told_of_a_run_that_goes_on(healthy):
    write_log(healthy, **HEALTHY_LOG | {"val__loss": [8, 7, 6, 5, 4, 3, 2, 1]})
    RunFolder(healthy).bundle.unlink()
    assert names(healthy) == []


def test_four_steps_are_told_at_their_end(trained):
    """A real run, whose loss falls; its quantiles lie where they started, which is no matter: the bundle's are solved."""
    folder, said = trained
    found = set(names(folder))
    assert "validation still falling" in found and not found & {"crops too small", "quantiles far from the tails"}
    lines = [line for line in said.splitlines() if line.startswith("doctor")]
    assert lines == [f"doctor   {finding}" for finding in diagnose(RunFolder(folder))]


def test_a_density_too_wide_for_any_table_has_quantiles_far_from_its_tails(tmp_path, on_one_thread):
    codec = live_codec("mean_scale", fitting=True)
    with torch.no_grad():
        codec.entropy_bottleneck.matrices[0].fill_(-30)  # flat: softplus makes a slope of 1e-13 of it
    save_bundle(tmp_path / "flat.safetensors", codec, {}, half=False)
    words = [*TINY, f"init_from={tmp_path / 'flat.safetensors'}", f"run_dir={tmp_path / 'run'}", "logger=[]", "callbacks=none"]
    assert main(["train", *words]) == 0
    assert "quantiles far from the tails" in names(tmp_path / "run")


def test_crops_are_too_small_for_side_information_in_a_training_that_is_long(healthy):
    config = yaml.safe_load((healthy / "config.yaml").read_text())
    config["data"]["crop"] = 64
    (healthy / "config.yaml").write_text(yaml.safe_dump(config))
    assert names(healthy) == []
    (healthy / "config.yaml").write_text(yaml.safe_dump(config | {"steps": 20_000}))
    (finding,) = diagnose(RunFolder(healthy))
    assert "z of crops of 64 is 1x1" in finding.found and "data.crop=256" in finding.remedy
    write_log(healthy, **{name: values for name, values in HEALTHY_LOG.items() if name != "train__bpp_z"})
    assert names(healthy) == []


@torch.no_grad()
def measured(folder: Path, change, pictures: TestSet = PICTURES) -> Results:
    """A codec whose predicted scales fit its latents, changed."""
    codec = live_codec("mean_scale", fitting=True)
    change(codec)
    save_bundle(folder / "codec.safetensors", codec, {}, half=True)
    return evaluate(folder / "codec.safetensors", pictures, folder / "files")


def of_measured(results: Results) -> list[str]:
    return [finding.name for finding in of_results(results)]


def test_a_codec_of_fitting_scales_is_silent(tmp_path, on_one_thread):
    assert of_measured(measured(tmp_path, lambda codec: None)) == []


def test_a_codec_whose_z_says_nothing_is_asleep(tmp_path, on_one_thread):
    def put_to_sleep(codec):
        codec.h_a[-1].weight.zero_()
        codec.h_a[-1].bias.zero_()
        density = codec.entropy_bottleneck
        density.matrices[0].fill_(200)  # all of it at one symbol, as a density that was trained on nothing else
        for bias in density.biases:
            bias.zero_()

    assert of_measured(measured(tmp_path, put_to_sleep)) == ["z asleep"]


@pytest.mark.parametrize("pictures", [PICTURES, THUMBNAILS])
def test_symbols_beyond_their_scales_are_escapes_and_set_estimate_and_files_apart(pictures, tmp_path, on_one_thread):
    def narrow(codec):
        codec.h_s[-1].weight.zero_()
        codec.h_s[-1].bias.fill_(0.11)

    results = measured(tmp_path, narrow, pictures)
    assert of_measured(results) == ["estimate and file apart", "escapes"]
    assert of_measured(replace(results, points=2 * results.points)) == of_measured(results)  # as of a codec with levels


def test_the_shipped_codec_is_silent_on_small_pictures(tmp_path, on_one_thread):
    """Of which the range coder's last bytes are several percent."""
    for side in (1, 64):
        crops = [TestImage(str(number), lambda load=given.load, side=side: load()[:, :side, :side].contiguous())
                 for number, given in enumerate(photographs().pictures)]  # fmt: skip
        results = evaluate(SHIPPED, TestSet("crops", crops), tmp_path, levels=2)
        (point, *_) = results.points
        assert point.mean("payload_bpp") > 1.01 * point.mean("estimated_bpp") and of_results(results) == []


@pytest.mark.slow
def test_the_shipped_codec_is_silent(tmp_path):
    assert of_results(evaluate(SHIPPED, photographs(), tmp_path, levels=3)) == []


def test_results_of_another_kind_say_nothing(healthy):
    results = RunFolder(healthy).results
    (results / "torn.json").write_text("{")
    (results / "other.json").write_text(json.dumps({"results": {"bpp": [1.0]}}))
    assert names(healthy) == []
