"""What `codec verify` says of results: nothing of true ones, and of others what is not as they say."""

import json
import shutil

import pytest
import torch
from conftest import codec, live_codec, live_levels, picture
from PIL import Image
from torchvision.io import write_png

from codec.cli import main
from codec.evaluation.measure import evaluate
from codec.evaluation.results import Results
from codec.files.bundle import save_bundle
from data.testsets import folder


@pytest.fixture
def measured(tmp_path):
    """The results of a codec on a folder of two pictures, as of a run: its bundle is above them."""
    pictures = tmp_path / "mine"
    pictures.mkdir()
    for number in range(2):
        write_png(picture(64, 72, number), str(pictures / f"{number}.png"))
    facts = {"config": {"experiment_name": "small", "model": {"lmbda": 0.0067}}, "trained_with": "lpips_alex"}
    save_bundle(tmp_path / "codec.safetensors", live_codec("mean_scale"), facts, half=True)
    results = tmp_path / "results" / "mine"
    evaluate(tmp_path / "codec.safetensors", folder(pictures), results).write(results)
    return results.with_suffix(".json")


def verify(results, capsys):
    """What the command says in lines, and its exit status."""
    capsys.readouterr()
    status = main(["verify", str(results), "--pictures", str(results.parents[1] / "mine")])
    said = capsys.readouterr()
    return status, (said.out + said.err).splitlines()


def test_results_of_another_process_are_accepted(measured):
    done = codec("verify", str(measured), "--pictures", str(measured.parents[1] / "mine"))
    said, not_again = done.stdout.splitlines()
    assert done.returncode == 0 and said == f"{measured}: 2 pictures decoded and measured again, nothing differs"
    assert not_again.startswith("not measured again: estimated_bpp, ") and "psnr" not in not_again
    assert not_again.endswith("streams, not_computed, device, threads, precision, codec, torch")


def test_results_are_those_of_their_run_from_wherever_they_are_named(measured, capsys, monkeypatch):
    """Its bundle lies above them, and the shipped one is another."""
    monkeypatch.chdir(measured.parent)
    assert main(["verify", measured.name, "--pictures", str(measured.parents[1] / "mine")]) == 0
    assert "nothing differs" in capsys.readouterr().out


def test_a_changed_byte_is_that_of_its_picture(measured, capsys):
    path = measured.with_suffix("") / "1.lic"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify(measured, capsys) == (1, [f"1: {path} has other bytes than were measured"])
    path.unlink()
    assert verify(measured, capsys) == (1, [f"1: no file at {path}"])


def test_a_changed_pixel_is_that_of_its_picture(measured, capsys):
    path = measured.parents[1] / "mine" / "0.png"
    with Image.open(path) as image:
        image.putpixel((5, 6), (1, 2, 3))
        image.save(path)
    assert verify(measured, capsys) == (1, ["0: other pixels than were measured"])


def test_the_same_pixels_in_another_file_are_the_same_picture(measured, capsys):
    path = measured.parents[1] / "mine" / "0.png"
    with Image.open(path) as image:
        image.save(path, compress_level=0)
    assert verify(measured, capsys)[0] == 0


def test_another_bundle_is_said(measured, capsys):
    bundle = measured.parents[1] / "codec.safetensors"
    torch.manual_seed(1)
    save_bundle(bundle, live_codec("mean_scale", seed=1), {}, half=True)
    status, (line,) = verify(measured, capsys)
    assert status == 1 and line.startswith(f"{bundle}: its fingerprint is ")
    data = bytearray(bundle.read_bytes())
    data[-1] ^= 1
    bundle.write_bytes(data)
    status, (line,) = verify(measured, capsys)
    assert status == 2 and line.startswith(f"codec: {bundle}")


@pytest.mark.parametrize("quantity, less", [("psnr", 0.02), ("file_bpp", 1e-6)])
def test_figures_that_the_files_do_not_give_are_said(measured, capsys, quantity, less):
    document = json.loads(measured.read_text())
    document["points"][0]["images"][1][quantity] -= less
    measured.write_text(json.dumps(document))
    status, lines = verify(measured, capsys)
    (line,) = (line for line in lines if line.startswith("1: "))
    assert status == 1 and "the results say" in line


@pytest.mark.parametrize(("change", "told"), [
    (lambda said: said["results"].update({"psnr-rgb": [99.0]}), "results, psnr-rgb: [99.0], and the pictures give ["),
    (lambda said: said["points"][0]["means"].update(lpips=0.01), "mean lpips 0.01, and the pictures give None"),
    (lambda said: said["points"][0]["images"][0].update(width=640), "0: 72x64, the results say 640x64"),
    (lambda said: said["points"][0]["images"].pop(0), "0: the results have no such picture"),
    (lambda said: said.update(name="better mean_scale"), "name 'better mean_scale', the bundle says 'small mean_scale'"),
    (lambda said: said.update(description=said["description"].replace("cpu", "tpu")), "description 'mean_scale {"),
    (lambda said: said["points"][0].update(setting={"lmbda": 1}), "setting {'lmbda': 1}, the bundle says {'lmbda': 0.0067}"),
    (lambda said: said["points"][0].update(setting={}), "setting {}, the bundle says {'lmbda': 0.0067}"),
])  # fmt: skip
def test_what_the_rows_do_not_give_is_said(measured, capsys, change, told):
    """Means and CompressAI's columns are of the rows, a row that is gone is missing, names and settings are the bundle's."""
    document = json.loads(measured.read_text())
    change(document)
    measured.write_text(json.dumps(document))
    status, lines = verify(measured, capsys)
    assert status == 1 and any(line.startswith(told) for line in lines)


STEERED = {"config": {"model": {"lmbda": 0.01}, "target_bpp": 0.3}, "lmbda_by_level": [0.001, 0.01, 0.1]}


@pytest.fixture(scope="module")
def levelled(tmp_path_factory):
    """A codec of three levels with one rate target, as one was trained before each level had its own; and its results."""
    above = tmp_path_factory.mktemp("levels")
    (above / "mine").mkdir()
    write_png(picture(64, 72, 0), str(above / "mine" / "0.png"))
    save_bundle(above / "codec.safetensors", live_levels("mean_scale", 3), STEERED, half=True)
    results = above / "results" / "mine"
    evaluate(above / "codec.safetensors", folder(above / "mine"), results).write(results)
    return results.with_suffix(".json")


@pytest.mark.parametrize(("change", "told"), [
    (lambda point: None, []),
    (lambda point: point.update(setting={"lmbda": 0.1, "target_bpp": 0.3, "level": 2}), []),  # as it was written before
    (lambda point: point.update(setting={"lmbda": 0.1, "target_bpp": 0.2, "level": 2}), ["setting {"]),
    (lambda point: point["setting"].update(level=1), ["0: ", "0: "]),
])  # fmt: skip
def test_the_setting_of_a_level_is_that_of_its_files(levelled, tmp_path, capsys, change, told):
    above = shutil.copytree(levelled.parents[1], tmp_path / "run")
    path = above / "results" / "mine.json"
    document = json.loads(path.read_text())
    document["points"] = document["points"][2:]
    document["results"] = {name: values[2:] for name, values in document["results"].items()}
    change(document["points"][0])
    path.write_text(json.dumps(document))
    for level in (0, 1):  # files of the last level in each folder
        shutil.copytree(above / "results/mine/level_2", above / f"results/mine/level_{level}", dirs_exist_ok=True)
    status, lines = verify(path, capsys)
    assert status == bool(told)
    assert not told or [line[: len(told[0])] for line in lines] == told[: len(lines)], lines


def test_pictures_that_are_missing_or_new_are_named(measured, capsys):
    pictures = measured.parents[1] / "mine"
    (pictures / "0.png").rename(pictures / "new.png")
    assert verify(measured, capsys) == (1, ["new: the results have no such picture", "0: no such picture in mine"])


def test_results_without_hashes_are_refused(measured, capsys):
    Results("JPEG", "", "mine", []).write(measured.with_suffix(""))
    status, (line,) = verify(measured, capsys)
    assert status == 2 and "without hashes of what they were measured on" in line


def test_a_set_of_ones_own_wants_to_be_told_its_place(measured, capsys):
    assert main(["verify", str(measured)]) == 2
    assert "the pictures of mine, a set of your own" in capsys.readouterr().err
